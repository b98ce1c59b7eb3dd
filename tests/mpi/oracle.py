"""What every collective must give, by NumPy on the data of all ranks; and one way to call them all.

A `Case` holds the arguments of every rank of a communicator and the results they must get. Every rank builds the
whole of it from one seed, calls the collective with its own arguments and compares with its own result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from arrays import assert_same, laid_out, out_like
from parallel import together

import dcomp as dc
from dcomp._table import COLLECTIVES

ROWS = {row.name: row for row in COLLECTIVES}
FORMS = ["method", "function", "non-blocking", "plan"]


@dataclass
class Case:
    """One call: for each rank its keyword arguments, `x` among them, and its result."""

    name: str
    arguments: list[dict[str, Any]]
    expected: list[Any]


def seed_of(comm: dc.Communicator, seed: int) -> int:
    """Another seed in each part of a split communicator, so that a message from outside would show."""
    group, world = comm.mpi.Get_group(), dc.COMM_WORLD.mpi.Get_group()
    first = group.Translate_ranks([0], world)[0]
    group.Free()
    world.Free()
    return 1000 * seed + first


def cut(x: np.ndarray, counts: Sequence[int], axis: int) -> list[np.ndarray]:
    """Blocks of these lengths."""
    return np.split(x, np.cumsum(counts)[:-1], axis)


def even(n: int, size: int) -> list[int]:
    """Lengths of the blocks that `numpy.array_split` makes."""
    return [len(block) for block in np.array_split(np.empty(n, np.uint8), size)]


def joined(blocks: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """NumPy's concatenation, which gives up byte order and padding, with the dtype of the blocks."""
    blocks = [np.atleast_1d(block) for block in blocks]
    return np.concatenate(blocks, axis).astype(blocks[0].dtype)


# A case from the data of all ranks. `options` (root, counts, axis, op) are passed on as they are.


def bcast(size: int, x: Any, *, root: int = 0) -> Case:
    arguments = [{"root": root, **({"x": x} if rank == root else {})} for rank in range(size)]
    return Case("bcast", arguments, [x] * size)


def scatter(size: int, x: np.ndarray, *, root: int = 0, axis: int = 0, counts: Any = None, told: str = "root") -> Case:
    """`told` says who passes counts: root or all."""
    arguments: list[dict] = []
    for rank in range(size):
        mine: dict[str, Any] = {"root": root, "axis": axis}
        if rank == root:
            mine["x"] = x
        if counts is not None and (rank == root or told == "all"):
            mine["counts"] = counts
        arguments.append(mine)
    return Case("scatter", arguments, cut(x, counts or even(x.shape[axis], size), axis))


def gather(xs: list[np.ndarray], *, root: int = 0, axis: int = 0, **options: Any) -> Case:
    whole = joined(xs, axis)
    expected = [whole if rank == root else None for rank in range(len(xs))]
    return Case("gather", [{"x": x, "root": root, "axis": axis, **options} for x in xs], expected)


def allgather(xs: list[np.ndarray], *, axis: int = 0, **options: Any) -> Case:
    whole = joined(xs, axis)
    return Case("allgather", [{"x": x, "axis": axis, **options} for x in xs], [whole] * len(xs))


def alltoall(
    xs: list[np.ndarray],
    *,
    split_axis: int = 0,
    concat_axis: int = 0,
    send_counts: list[list[int]] | None = None,
    tell_recv: bool = False,
) -> Case:
    """`send_counts` of each rank; `tell_recv`: pass what follows for the receivers as well."""
    size = len(xs)
    blocks = [
        cut(x, send_counts[rank] if send_counts else even(x.shape[split_axis], size), split_axis)
        for rank, x in enumerate(xs)
    ]
    arguments = []
    for rank, x in enumerate(xs):
        mine: dict[str, Any] = {"x": x, "split_axis": split_axis, "concat_axis": concat_axis}
        if send_counts:
            mine["send_counts"] = send_counts[rank]
        if tell_recv:
            mine["recv_counts"] = [blocks[source][rank].shape[concat_axis] for source in range(size)]
        arguments.append(mine)
    expected = [joined([blocks[source][rank] for source in range(size)], concat_axis) for rank in range(size)]
    return Case("alltoall", arguments, expected)


def _logical(function: np.ufunc) -> Callable:
    return lambda a, b: function(a != 0, b != 0).astype(a.dtype)


#: NumPy's functions for the predefined reductions.
TWINS: dict[str, Callable] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MIN": np.minimum,
    "MAX": np.maximum,
    "LAND": _logical(np.logical_and),
    "LOR": _logical(np.logical_or),
    "LXOR": _logical(np.logical_xor),
    "BAND": np.bitwise_and,
    "BOR": np.bitwise_or,
    "BXOR": np.bitwise_xor,
}


def combine(xs: Sequence[np.ndarray], op: Any, twin: Callable | None = None) -> Any:
    """The arrays one after the other under the twin of `op`; the kind and dtype of the first."""
    twin = twin or TWINS[op.name]
    with np.errstate(all="ignore"):
        result = reduce(twin, xs)
    first = xs[0]
    if isinstance(first, np.generic):
        return np.asarray(result).astype(first.dtype)[()]
    return np.asarray(result).astype(first.dtype)


def reduction(
    name: str, xs: list[Any], op: Any = dc.SUM, *, identity: Any = 0, twin: Any = None, **options: Any
) -> Case:
    """reduce, allreduce, reduce_scatter, scan and exscan."""
    size = len(xs)
    arguments = [{"x": x, "op": op, **options} for x in xs]
    if name == "reduce":
        whole = combine(xs, op, twin)
        expected = [whole if rank == options.get("root", 0) else None for rank in range(size)]
    elif name == "allreduce":
        expected = [combine(xs, op, twin)] * size
    elif name == "reduce_scatter":
        whole = combine(xs, op, twin)
        axis = options.get("axis", 0)
        expected = cut(whole, options.get("counts") or even(whole.shape[axis], size), axis)
    elif name == "scan":
        expected = [combine(xs[: rank + 1], op, twin) for rank in range(size)]
    else:
        nothing = np.full_like(xs[0], identity)
        first = nothing[()] if isinstance(xs[0], np.generic) else nothing
        expected = [first, *(combine(xs[:rank], op, twin) for rank in range(1, size))]
    return Case(name, arguments, expected)


def invoke(comm: dc.Communicator, name: str, form: str, arguments: dict[str, Any]) -> Any:
    """Call a collective in one of `FORMS`; a plan is called once."""
    if form == "function":
        return getattr(dc, name)(**arguments, comm=comm)
    if form == "non-blocking":
        return getattr(comm, f"i{name}")(**arguments).wait()
    if form == "plan":
        plan = getattr(comm, f"{name}_init")(**arguments)
        try:
            return plan()
        finally:
            plan.free()
    return getattr(comm, name)(**arguments)


def arranged(arguments: dict[str, Any], layout: str) -> dict[str, Any]:
    """The arguments with `x` in another memory layout."""
    x = arguments.get("x")
    return {**arguments, "x": laid_out(x, layout)} if isinstance(x, np.ndarray) else dict(arguments)


def check(
    comm: dc.Communicator, case: Case, form: str = "method", *, layout: str = "C", out: str | None = None
) -> None:
    """Make the call of a case and compare: result, `out`, and that `x` is as it was.

    `out`: None, a layout for all ranks that get an array, or "in place" for all that get a result.
    """
    with together():
        arguments = arranged(case.arguments[comm.rank], layout)
        expected = case.expected[comm.rank]
        x = arguments.get("x")
        before = x.copy() if isinstance(x, np.ndarray) else x
        in_place = out == "in place" and expected is not None
        if in_place:
            arguments["out"] = x
        elif out is not None and isinstance(expected, np.ndarray):
            arguments["out"] = out_like(expected.shape, expected.dtype, out)
        result = invoke(comm, case.name, form, arguments)
        assert_same(result, expected)
        if arguments.get("out") is not None:
            assert result is arguments["out"]
        elif isinstance(result, np.ndarray):
            assert result.flags.c_contiguous
            assert result is x or result.flags.writeable
        if not in_place and isinstance(x, np.ndarray):
            assert_same(x, before)


def check_plan(comm: dc.Communicator, first: Case, second: Case, *, layout: str = "C", out: str | None = None) -> None:
    """One plan, called with the data of two cases in turn: x is refilled in place, the result is the same array."""
    with together():
        arguments = arranged(first.arguments[comm.rank], layout)
        x = arguments.get("x")
        expected = first.expected[comm.rank]
        if out is not None and expected is not None:
            arguments["out"] = out_like(expected.shape, expected.dtype, out)
        plan = getattr(comm, f"{first.name}_init")(**arguments)
        results = []
        for case in (first, second, first):
            if x is not None:
                x[...] = case.arguments[comm.rank]["x"]
            results.append(plan())
            assert_same(results[-1], case.expected[comm.rank])
            assert arguments.get("out") is None or results[-1] is arguments["out"]
        assert results[0] is results[1] is results[2]
        plan.free()
