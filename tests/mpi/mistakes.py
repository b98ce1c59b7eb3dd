"""One right call of each collective, and everything that can be wrong with it on one rank.

A `Mistake` changes the arguments of the culprit's right call. It is either *common* -- the arguments are right by
themselves, and differ from the other ranks': the same class of error on every rank -- or *local*: the culprit gets
Python's own class, and the others `CollectiveMismatchError` that quotes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from arrays import laid_out
from oracle import ROWS

import dcomp as dc
from dcomp._table import Shape

ALL = tuple(ROWS)
REDUCING = tuple(name for name, row in ROWS.items() if row.reduces)
ELEMENTWISE = tuple(name for name, row in ROWS.items() if row.shape is Shape.ELEMENTWISE)
ROOTED = tuple(name for name, row in ROWS.items() if row.rooted)
FROM_ROOT = tuple(name for name, row in ROWS.items() if row.from_root)
JOINING = ("gather", "allgather")
GIVING = tuple(name for name in ALL if name not in FROM_ROOT and name != "barrier")  # every rank gives an x
WITH_AXIS = ("scatter", "gather", "allgather", "reduce_scatter")


@dataclass
class Setting:
    """Where a mistake is made."""

    name: str
    size: int
    culprit: int
    root: int

    def right(self, rank: int, shape: tuple[int, ...] | None = None) -> dict[str, Any]:
        """The arguments of a right call."""
        if self.name == "barrier":
            return {}
        p = self.size
        shape = shape or ((2 * p, 2 * p) if self.name in ("scatter", "alltoall", "reduce_scatter") else (4, 4))
        x = np.arange(np.prod(shape), dtype="f8").reshape(shape) + rank
        arguments: dict[str, Any] = {}
        if self.name in ROOTED:
            arguments["root"] = self.root
        if self.name not in FROM_ROOT or rank == self.root:
            arguments["x"] = x
        return arguments

    def result_shape(self, rank: int) -> tuple[int, ...] | None:
        """Shape of what a rank gets."""
        p = self.size
        if self.name == "barrier" or (self.name in ("gather", "reduce") and rank != self.root):
            return None
        return {
            "scatter": (2, 2 * p),
            "gather": (4 * p, 4),
            "allgather": (4 * p, 4),
            "alltoall": (2 * p, 2 * p),
            "reduce_scatter": (2, 2 * p),
        }.get(self.name, (4, 4))


@dataclass
class Mistake:
    """What is wrong.

    names        the collectives with which it can be made
    change       (setting, right arguments) -> the culprit's arguments
    error        the class on every rank (common), or on the culprit (local)
    told         what all messages must contain; may use {culprit}, {size}
    is_local     see the module
    others       (setting, rank) -> the right arguments, where those of `Setting.right` do not do
    culprit_is   "any", "root" (the culprit is made the root) or "not root"
    """

    title: str
    names: tuple[str, ...]
    change: Callable[[Setting, dict[str, Any]], dict[str, Any]]
    error: type[Exception]
    told: tuple[str, ...]
    is_local: bool = False
    others: Callable[[Setting, int], dict[str, Any]] | None = None
    culprit_is: str = "any"
    in_short_list: bool = False


def _with(**changes: Any) -> Callable[[Setting, dict[str, Any]], dict[str, Any]]:
    return lambda setting, right: {**right, **changes}


def _on_x(function: Callable[[np.ndarray], Any]) -> Callable[[Setting, dict[str, Any]], dict[str, Any]]:
    return lambda setting, right: {**right, "x": function(right["x"])}


def _counts(setting: Setting, right: dict[str, Any], shift: int = 0) -> list[int]:
    """Counts that are right for this rank's x and, by `shift`, other than those of its neighbours."""
    if setting.name in JOINING:
        counts = [4] * setting.size
    else:
        counts = [2] * setting.size
    if shift and setting.size > 1:
        a, b = (setting.culprit + 1) % setting.size, setting.culprit
        if setting.name in JOINING:
            counts[a] += shift  # its own entry must be right
        else:
            counts[a] += shift
            counts[b] -= shift
    return counts


def _with_counts(shift: int = 0, argument: str = "counts") -> Callable:
    return lambda setting, right: {**right, argument: _counts(setting, right, shift)}


def _all_with_counts(setting: Setting, rank: int) -> dict[str, Any]:
    right = setting.right(rank)
    argument = "send_counts" if setting.name == "alltoall" else "counts"
    return {**right, argument: _counts(setting, right)}


def _bad_counts(change: Callable[[list[int]], Any], argument: str = "counts") -> Callable:
    return lambda setting, right: {**right, argument: change(_counts(setting, right))}


def _out(make: Callable[[tuple[int, ...], np.ndarray | None], Any]) -> Callable:
    """An `out` made from the right shape, and from x."""

    def change(setting: Setting, right: dict[str, Any]) -> dict[str, Any]:
        return {**right, "out": make(setting.result_shape(setting.culprit) or (), right.get("x"))}

    return change


def _longer(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0] + 1, *shape[1:])


def _wider(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], shape[-1] + 1)


def _overlapping(setting: Setting, right: dict[str, Any]) -> dict[str, Any]:
    shape, x = setting.result_shape(setting.culprit), right["x"]
    memory = np.zeros(np.prod(shape) + x.size)
    mine = memory[: x.size].reshape(x.shape)
    mine[...] = x
    out = memory[x.size - 1 :][: np.prod(shape)].reshape(shape)
    return {**right, "x": mine, "out": out}


COMMON = [
    Mistake("dtype", GIVING, _on_x(lambda x: x.astype("f4")), dc.CollectiveMismatchError,
            ("dtype", "float64", "float32"), in_short_list=True),
    Mistake("byte order", GIVING, _on_x(lambda x: x.astype(">f8")), dc.CollectiveMismatchError,
            ("dtype", "float64", ">f8")),
    Mistake("fields", ("gather", "allgather", "alltoall"), _on_x(lambda x: x.view([("v", "f8")])),
            dc.CollectiveMismatchError, ("dtype", "float64", "'v'")),
    Mistake("shape", (*ELEMENTWISE, "reduce_scatter"), _on_x(lambda x: np.zeros(_longer(x.shape))),
            dc.ShapeMismatchError, ("shape",), in_short_list=True),
    Mistake("transposed shape", (*ELEMENTWISE, "reduce_scatter"), _on_x(lambda x: np.zeros((*x.shape, 1))),
            dc.ShapeMismatchError, ("shape",)),
    Mistake("trailing shape", ("gather", "allgather", "alltoall"), _on_x(lambda x: np.zeros(_wider(x.shape))),
            dc.ShapeMismatchError, ("shape",), in_short_list=True),
    Mistake("dimensions", ("gather", "allgather", "alltoall"), _on_x(lambda x: np.zeros((*x.shape, 2))),
            dc.ShapeMismatchError, ("shape",)),
    Mistake("axis", WITH_AXIS, _with(axis=1), dc.CollectiveMismatchError, ("axis", "0 on", "1 on")),
    Mistake("axis that only the root could judge", ("scatter",), _with(axis=2), dc.CollectiveMismatchError,
            ("axis", "0 on", "2 on"), culprit_is="not root"),
    Mistake("split_axis", ("alltoall",), _with(split_axis=1), dc.CollectiveMismatchError, ("split_axis",)),
    Mistake("concat_axis", ("alltoall",), _with(concat_axis=1), dc.CollectiveMismatchError, ("concat_axis",)),
    Mistake("counts", (*JOINING, "reduce_scatter"), _with_counts(1), dc.CollectiveMismatchError, ("counts",),
            others=_all_with_counts, in_short_list=True),
    Mistake("counts on one rank only", JOINING, _with_counts(), dc.CollectiveMismatchError, ("counts", "None")),
    Mistake("no counts on one rank", JOINING, lambda setting, right: setting.right(setting.culprit),
            dc.CollectiveMismatchError, ("counts", "None"), others=_all_with_counts),
    Mistake("send_counts on one rank only", ("alltoall",), _with_counts(argument="send_counts"),
            dc.CollectiveMismatchError, ("send_counts", "None")),
    Mistake("other counts than the root", ("scatter",), _with_counts(1), dc.CollectiveMismatchError, ("counts",),
            others=_all_with_counts, culprit_is="not root"),
    Mistake("counts that the root has not", ("scatter",), _with_counts(), dc.CollectiveMismatchError, ("counts",),
            culprit_is="not root"),
    Mistake("reduction", REDUCING, _with(op=dc.MAX), dc.CollectiveMismatchError, ("op", "SUM", "MAX"),
            in_short_list=True),
    Mistake("shape of out", FROM_ROOT, _out(lambda shape, x: np.zeros(_longer(shape))), dc.ShapeMismatchError,
            ("out",), culprit_is="not root", in_short_list=True),
    Mistake("trailing shape of out", FROM_ROOT, _out(lambda shape, x: np.zeros(_wider(shape))),
            dc.ShapeMismatchError, ("out",), culprit_is="not root"),
    Mistake("dimensions of out", FROM_ROOT, _out(lambda shape, x: np.zeros((*shape, 1))),
            dc.ShapeMismatchError, ("out",), culprit_is="not root"),
    Mistake("dtype of out", FROM_ROOT, _out(lambda shape, x: np.zeros(shape, "f4")), dc.CollectiveMismatchError,
            ("dtype of out", "float32", "float64"), culprit_is="not root"),
    Mistake("byte order of out", FROM_ROOT, _out(lambda shape, x: np.zeros(shape, ">f8")),
            dc.CollectiveMismatchError, ("dtype of out", ">f8", "float64"), culprit_is="not root"),
]  # fmt: skip

LOCAL = [
    Mistake("axis too great", WITH_AXIS, _with(axis=2), ValueError, ("axis must lie", "2"), is_local=True,
            culprit_is="root", in_short_list=True),
    Mistake("axis too small", WITH_AXIS, _with(axis=-3), ValueError, ("axis must lie", "-3"), is_local=True,
            culprit_is="root"),
    Mistake("axis no number", WITH_AXIS, _with(axis="rows"), TypeError, ("axis must be an integer", "'rows'"),
            is_local=True),
    Mistake("axis is None", WITH_AXIS, _with(axis=None), TypeError, ("axis must be an integer", "None"),
            is_local=True),
    Mistake("split_axis too great", ("alltoall",), _with(split_axis=2), ValueError, ("split_axis must lie",),
            is_local=True),
    Mistake("concat_axis too great", ("alltoall",), _with(concat_axis=9), ValueError, ("concat_axis must lie", "9"),
            is_local=True),
    Mistake("no dimension", ("alltoall", "reduce_scatter"), _with(x=3.0), ValueError, ("dimension",), is_local=True),
    Mistake("no dimension on the root", ("scatter",), _with(x=3.0), ValueError, ("dimension",), is_local=True,
            culprit_is="root"),
    Mistake("objects", GIVING, _on_x(lambda x: np.array([{}, None])), TypeError, ("x must be numeric", "_object"),
            is_local=True),
    Mistake("a dict", GIVING, _with(x={"a": 1}), TypeError, ("x must be numeric", "dict"), is_local=True,
            in_short_list=True),
    Mistake("nothing", GIVING, _with(x=None), ValueError, ("x must be given on every rank",), is_local=True),
    Mistake("ragged lists", GIVING, _with(x=[[1, 2], [3]]), ValueError, ("x must",), is_local=True),
    Mistake("strings", GIVING, _with(x=["a", "b"]), TypeError, ("x must be numeric", "strings"), is_local=True),
    Mistake("bytes", GIVING, _on_x(lambda x: np.array([b"a"])), TypeError, ("x must be numeric", "strings"),
            is_local=True),
    Mistake("a masked array", GIVING, _on_x(np.ma.array), TypeError, ("x must be a plain array", "x.filled(value)"),
            is_local=True),
    Mistake("a masked array on the root", FROM_ROOT, _on_x(np.ma.array), TypeError,
            ("x must be a plain array", "x.filled(value)"), is_local=True, culprit_is="root"),
    Mistake("objects on the root", FROM_ROOT, _with(x=[{}, {}]), TypeError, ("x must be numeric", "_object"),
            is_local=True, culprit_is="root"),
    Mistake("strings on the root", FROM_ROOT, _with(x="text"), TypeError, ("x must be numeric", "strings"),
            is_local=True, culprit_is="root"),
    Mistake("root negative", ROOTED, _with(root=-1), ValueError, ("root must be a rank", "-1"), is_local=True),
    Mistake("root too great", ROOTED, _with(root=99), ValueError, ("root must be a rank", "99"), is_local=True,
            in_short_list=True),
    Mistake("root no number", ROOTED, _with(root=0.0), TypeError, ("root must be an integer", "0.0"), is_local=True),
    Mistake("x on a rank that is not the root", FROM_ROOT, _with(x=np.zeros(4)), ValueError,
            ("x must be given on the root only",), is_local=True, culprit_is="not root", in_short_list=True),
    Mistake("no x on the root", FROM_ROOT, _with(x=None), ValueError, ("x must be given on the root",),
            is_local=True, culprit_is="root"),
    Mistake("out on a rank that gets nothing", ("gather", "reduce"), _with(out=np.zeros((4, 4))), ValueError,
            ("out must be given on the root only",), is_local=True, culprit_is="not root"),
    Mistake("counts negative", ("reduce_scatter",), _bad_counts(lambda counts: [-1, *counts[1:]]), ValueError,
            ("counts must not be negative", "-1"), is_local=True, in_short_list=True),
    Mistake("counts negative on the root", ("scatter",), _bad_counts(lambda counts: [-1, *counts[1:]]), ValueError,
            ("counts must not be negative", "-1"), is_local=True, culprit_is="root"),
    Mistake("too many counts", (*JOINING, "reduce_scatter"), _bad_counts(lambda counts: [*counts, 0]), ValueError,
            ("counts must be {size} integers",), is_local=True),
    Mistake("too few counts", JOINING, _bad_counts(lambda counts: counts[:-1]), ValueError,
            ("counts must be {size} integers",), is_local=True),
    Mistake("counts one number", (*JOINING, "reduce_scatter"), _with(counts=4), ValueError,
            ("counts must be {size} integers",), is_local=True),
    Mistake("counts of fractions", (*JOINING, "reduce_scatter"),
            _bad_counts(lambda counts: [n + 0.5 for n in counts]), ValueError, ("counts must be {size} integers",),
            is_local=True),
    Mistake("too many counts on the root", ("scatter",), _bad_counts(lambda counts: [*counts, 0]), ValueError,
            ("counts must be {size} integers",), is_local=True, culprit_is="root"),
    Mistake("wrong sum", ("reduce_scatter",), _bad_counts(lambda counts: [counts[0] + 1, *counts[1:]]), ValueError,
            ("counts must add up",), is_local=True),
    Mistake("wrong sum on the root", ("scatter",), _bad_counts(lambda counts: [counts[0] + 1, *counts[1:]]),
            ValueError, ("counts must add up",), is_local=True, culprit_is="root"),
    Mistake("counts other than x", JOINING, _bad_counts(lambda counts: [n + 1 for n in counts]), ValueError,
            ("counts must be the lengths",), is_local=True),
    Mistake("send_counts negative", ("alltoall",), _bad_counts(lambda counts: [-1, *counts[1:]], "send_counts"),
            ValueError, ("send_counts must not be negative",), is_local=True),
    Mistake("wrong sum of send_counts", ("alltoall",),
            _bad_counts(lambda counts: [n + 1 for n in counts], "send_counts"), ValueError,
            ("send_counts must add up",), is_local=True),
    Mistake("too many recv_counts", ("alltoall",), _bad_counts(lambda counts: [*counts, 0], "recv_counts"),
            ValueError, ("recv_counts must be {size} integers",), is_local=True),
    Mistake("out no array", tuple(n for n in ALL if n != "barrier"), _with(out=[1, 2]), TypeError,
            ("out must be a NumPy array", "list"), is_local=True, culprit_is="root"),
    Mistake("out of another shape", tuple(n for n in ALL if n not in ("barrier", "gather", "allgather", "alltoall")),
            _out(lambda shape, x: np.zeros(_longer(shape))), ValueError, ("out must have shape",), is_local=True,
            culprit_is="root", in_short_list=True),
    Mistake("out of another trailing shape", JOINING, _out(lambda shape, x: np.zeros(_wider(shape))), ValueError,
            ("out must have shape",), is_local=True, culprit_is="root"),
    Mistake("out of another shape in alltoall", ("alltoall",), _out(lambda shape, x: np.zeros(_longer(shape))),
            ValueError, ("out must have shape",), is_local=True),
    Mistake("out of another dtype", tuple(n for n in ALL if n != "barrier"),
            _out(lambda shape, x: np.zeros(shape, "f4")), TypeError, ("out must have dtype float64", "float32"),
            is_local=True, culprit_is="root"),
    Mistake("out of another byte order", tuple(n for n in ALL if n != "barrier"),
            _out(lambda shape, x: np.zeros(shape, ">f8")), TypeError, ("out must have dtype float64", ">f8"),
            is_local=True, culprit_is="root"),
    Mistake("out read-only", tuple(n for n in ALL if n != "barrier"),
            _out(lambda shape, x: laid_out(np.zeros(shape), "read-only")), ValueError, ("out must be writable",),
            is_local=True, culprit_is="root"),
    Mistake("out that overlaps x", tuple(n for n in ALL if n != "barrier"), _overlapping, ValueError,
            ("overlap",), is_local=True, culprit_is="root"),
    Mistake("out that is x transposed", ELEMENTWISE, lambda setting, right: {**right, "out": right["x"].T}, ValueError,
            ("overlap",), is_local=True, culprit_is="root"),
    Mistake("bits of floats", REDUCING, _with(op=dc.BAND), TypeError, ("BAND is not defined for dtype float64",),
            is_local=True),
    Mistake("order of complex numbers", REDUCING,
            lambda setting, right: {**right, "op": dc.MIN, "x": right["x"].astype("c16")}, TypeError,
            ("MIN is not defined for dtype complex128",), is_local=True, in_short_list=True),
    Mistake("sum of dates", REDUCING,
            lambda setting, right: {**right, "x": right["x"].astype("i8").view("M8[s]")}, TypeError,
            ("SUM is not defined for dtype datetime64",), is_local=True),
    Mistake("sum of records", REDUCING, lambda setting, right: {**right, "x": right["x"].view([("v", "f8")])},
            TypeError, ("SUM is not defined for dtype",), is_local=True),
    Mistake("a function as op", REDUCING, _with(op=np.add), TypeError, ("op must be a reduction", "ufunc"),
            is_local=True),
    Mistake("a name as op", REDUCING, _with(op="sum"), TypeError, ("op must be a reduction", "'sum'"), is_local=True),
]  # fmt: skip
