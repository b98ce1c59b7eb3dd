"""One rank's call of a collective, its arguments checked as far as one rank can check them.

What a call says apart from the contents of its arrays -- its `Terms` -- is worked out once and kept: a program
makes the same few calls over and over.
"""

import os
import sys
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from . import _checks
from ._buffers import as_array, check_memory, check_out, check_out_layout, is_same_memory
from ._checks import FAULTY, Claim, normalise_axis, normalise_counts, normalise_rank
from ._layout import block_counts
from ._ops import SUM, Op
from ._table import Collective, Shape

_FOLDER = os.path.dirname(__file__) + os.sep
_KEPT = 1024  # terms per communicator

_INTEGERS = (int, np.integer)


class Terms:
    """What a call says: arguments, shapes and dtypes, on this rank of this communicator."""

    __slots__ = (
        "row", "function", "size", "rank", "x_shape", "x_dtype", "out_shape", "out_dtype", "scalar", "op", "root",
        "axis", "axis_given", "concat_axis", "counts_given", "counts", "recv_counts", "shape",
        "needs_layout", "told", "claim", "routes",
    )  # fmt: skip

    row: Collective
    function: str
    size: int
    rank: int
    x_shape: Any  # tuple of int; None, as the next three, where this rank passes no such array
    x_dtype: Any
    out_shape: Any
    out_dtype: Any
    scalar: bool
    op: Op
    root: int
    axis: int
    axis_given: int  # in scatter, others than the root cannot tell -1 from the last axis
    concat_axis: int
    counts_given: bool
    counts: tuple[int, ...] | None  # of the blocks sent (scatter, alltoall), joined, or cut
    recv_counts: tuple[int, ...] | None  # of the blocks received (alltoall)
    shape: tuple[int, ...] | None  # of this rank's result, where it is known before the ranks agree
    needs_layout: bool  # what is received depends on the root's layout, or on others' lengths
    told: tuple[tuple[str, str], ...]  # by a function that is built on this collective, in place of arguments
    claim: Claim
    routes: dict  # how the engine carries the call out, by the verdict of the ranks

    @property
    def is_root(self) -> bool:
        """Whether this rank is the root of a rooted call."""
        return self.rank == self.root

    @property
    def receives(self) -> bool:
        """Whether this rank gets a result."""
        return not self.row.rooted or self.row.from_root or self.is_root


class Given(NamedTuple):
    """The arguments of a call besides its arrays, as the user has passed them."""

    op: Any
    root: Any
    axis: Any
    concat_axis: Any
    counts: Any
    recv_counts: Any


class Agreed(NamedTuple):
    """What a rank knows once the ranks have agreed: its result, and how long all blocks are."""

    shape: tuple[int, ...] | None  # of the result; None where there is none
    dtype: np.dtype | None
    scalar: bool
    counts: tuple[int, ...] = ()
    recv_counts: tuple[int, ...] = ()
    even: bool = False  # all blocks of all ranks are known, by all ranks, to be equal
    big: bool = False  # all ranks know that the blocks together are too many elements for MPI's counts


class Call:
    """The terms of a call with its arrays.

    `fault` is what is wrong with this rank's own arguments. It is not raised when found but when the ranks agree,
    so that the other ranks hear of it instead of waiting.
    """

    __slots__ = ("function", "terms", "x", "out", "fault", "site", "route")

    def __init__(self, function: str, terms: Terms | None, x: Any, out: Any, fault: Exception | None = None) -> None:
        self.function = function
        self.terms = terms
        self.x = x
        self.out = out
        self.fault = fault
        self.site: str | None = None
        self.route: Any = None  # how it was carried out, if the next call with the same verdict goes the same way

    @property
    def claim(self) -> Claim:
        """What this rank says of the call."""
        return Claim(FAULTY, ()) if self.terms is None else self.terms.claim


def describe(
    channel: Any,
    row: Collective,
    x: Any = None,
    out: Any = None,
    *,
    form: str = "{}",
    op: Any = SUM,
    root: Any = 0,
    axis: Any = 0,
    concat_axis: Any = 0,
    counts: Any = None,
    recv_counts: Any = None,
    told: tuple[tuple[str, str], ...] = (),
) -> Call:
    """This rank's call, checked by itself; never raises for what the user passed.

    `form` makes the function's name out of the collective's: ``"i{}"``, ``"{}_init"``. A function that is built on the
    collective gives its own name, and in `told` what must be the same on all ranks, as (name, value).
    """
    scalar = False
    try:
        if x is not None and type(x) is not np.ndarray:
            x, scalar = as_array(x, form.format(row.name))
        if type(root) is not int or type(axis) is not int or type(concat_axis) is not int:
            raise TypeError  # 0.0 would find the terms of 0
        for lengths in (counts, recv_counts):
            if lengths is not None and not all(type(n) is int or isinstance(n, np.integer) for n in lengths):
                raise TypeError
        key: tuple | None = (
            row.name, form, scalar,
            None if x is None else (x.dtype, x.shape),
            None if out is None else (out.dtype, out.shape),
            op, root, axis, concat_axis,
            None if counts is None else tuple(counts),
            None if recv_counts is None else tuple(recv_counts),
            told,
        )  # fmt: skip
        terms = channel.terms.get(key)
        if terms is not None:
            if out is not None and check_memory(out, x, terms.function):
                x = out
            return Call(terms.function, terms, x, out)
    except (TypeError, ValueError, AttributeError):
        key = None  # something is wrong; below, it gets its name
    function = form.format(row.name)
    try:
        given = Given(op, root, axis, concat_axis, counts, recv_counts)
        terms = _work_out(channel.size, channel.rank, row, function, x, out, scalar, given, told)
    except (TypeError, ValueError) as fault:
        return Call(function, None, None, None, fault)
    if key is not None:
        if len(channel.terms) >= _KEPT:
            channel.terms.clear()
        channel.terms[key] = terms
    if x is not None and out is not None and is_same_memory(out, x):
        x = out
    return Call(function, terms, x, out)


@lru_cache(1024)
def told_of(text: str) -> tuple[tuple[str, str], ...]:
    """``"a: 1; b: 2"`` as pairs."""
    pairs = [one.partition(": ") for one in text.split("; ")]
    return tuple((name, value) for name, _, value in pairs)


def located(fault: Exception, channel: Any) -> Exception:
    """The same fault, with the rank in its message."""
    fault.args = (f"{str(fault).rstrip('.')} (on rank {channel.rank} of {channel.size}).",)
    return fault


def _work_out(
    size: int,
    rank: int,
    row: Collective,
    function: str,
    x: Any,
    out: Any,
    scalar: bool,
    given: Given,
    told: tuple[tuple[str, str], ...],
) -> Terms:
    """The terms of a call.

    Raises
    ------
    TypeError, ValueError     For what this rank alone can see to be wrong.
    """
    terms = Terms()
    terms.row, terms.function, terms.size, terms.rank, terms.told = row, function, size, rank, told
    terms.x_shape = terms.x_dtype = terms.out_shape = terms.out_dtype = terms.shape = None
    terms.counts = terms.recv_counts = None
    terms.counts_given = given.counts is not None
    terms.axis = terms.concat_axis = 0
    terms.scalar, terms.op, terms.needs_layout, terms.routes = scalar, given.op, False, {}
    terms.root = normalise_rank(given.root, size, function, "root") if row.rooted else 0
    if row.shape is not Shape.NONE:
        _take_arrays(terms, x, out)
        _RULES[row.shape](terms, given)
        if terms.out_shape is not None and terms.shape is not None:
            check_out_layout(terms.out_shape, terms.out_dtype, terms.shape, terms.x_dtype, function)
    terms.claim = _checks.claim(terms)
    return terms


def _take_arrays(terms: Terms, x: Any, out: Any) -> None:
    row, function = terms.row, terms.function
    array = None
    if row.from_root and not terms.is_root:
        if x is not None:
            raise ValueError(
                f"{function}: x must be given on the root only, rank {terms.root}; got one here. To receive into an "
                "array, pass it as out="
            )
    elif x is None:
        where = f"on the root, rank {terms.root}" if row.from_root else "on every rank"
        raise ValueError(f"{function}: x must be given {where}; got None")
    else:
        array, scalar = as_array(x, function)
        terms.scalar = terms.scalar or scalar
        terms.x_shape, terms.x_dtype = array.shape, array.dtype
    if out is not None:
        check_out(out, array, function)
        if not terms.receives:
            raise ValueError(f"{function}: out must be given on the root only, rank {terms.root}; got one here")
        terms.out_shape, terms.out_dtype = out.shape, out.dtype


def _elementwise(terms: Terms, given: Given) -> None:
    _check_op(terms)
    if terms.row.name == "exscan":
        terms.op.identity_for(_dtype(terms))
    if terms.receives:
        terms.shape = terms.x_shape


def _broadcast(terms: Terms, given: Given) -> None:
    terms.needs_layout = terms.out_shape is None
    terms.shape = terms.x_shape


def _split(terms: Terms, given: Given) -> None:
    """The root knows all; the others the counts if they are given, and what `out` tells."""
    like = terms.x_shape if terms.x_shape is not None else terms.out_shape
    if like is None:
        if not isinstance(given.axis, _INTEGERS):
            raise TypeError(f"{terms.function}: axis must be an integer; got {given.axis!r}")
        terms.axis = int(given.axis)  # made positive when the number of dimensions is known
    else:
        _require_dimension(terms, like, "x" if like is terms.x_shape else "out")
        terms.axis = normalise_axis(given.axis, len(like), terms.function)
    terms.axis_given = int(given.axis)
    length = None if terms.x_shape is None else terms.x_shape[terms.axis]
    if given.counts is not None:
        terms.counts = normalise_counts(given.counts, terms.size, length, terms.function)
        if terms.x_shape is None and terms.out_shape is not None:
            mine, got = terms.counts[terms.rank], terms.out_shape[terms.axis]
            if mine != got:
                raise ValueError(
                    f"{terms.function}: out must have length {mine} along axis {terms.axis}, as counts says; got {got}"
                )
    if terms.x_shape is not None:
        mine = (terms.counts or block_counts(length or 0, terms.size))[terms.rank]
        terms.shape = with_length(terms.x_shape, terms.axis, mine)
    terms.needs_layout = True  # the root may give counts, and no other rank knows


def _concatenate(terms: Terms, given: Given) -> None:
    function = terms.function
    if terms.x_shape == ():
        terms.x_shape = (1,)
    terms.scalar = False
    shape = _shape(terms)
    terms.axis = normalise_axis(given.axis, len(shape), function)
    length = shape[terms.axis]
    if given.counts is not None:
        terms.counts = normalise_counts(given.counts, terms.size, None, function)
        if terms.counts[terms.rank] != length:
            raise ValueError(
                f"{function}: counts must be the lengths along axis {terms.axis}; got counts[{terms.rank}] = "
                f"{terms.counts[terms.rank]} for an x of length {length}"
            )
    if terms.counts is not None and terms.receives:
        terms.shape = with_length(shape, terms.axis, sum(terms.counts))
    elif terms.out_shape is not None:  # its length along the axis is judged together with the others' lengths
        out_shape = terms.out_shape
        if len(out_shape) != len(shape) or with_length(out_shape, terms.axis, length) != shape:
            told = str(with_length(shape, terms.axis, -1)).replace("-1", "any")
            raise ValueError(f"{function}: out must have shape {told}; got {out_shape}")
        check_out_layout(out_shape, terms.out_dtype, out_shape, terms.x_dtype, function)
    terms.needs_layout = terms.counts is None and (terms.row.rooted or terms.out_shape is None)


def _transpose(terms: Terms, given: Given) -> None:
    function, shape = terms.function, _shape(terms)
    _require_dimension(terms, shape, "x")
    terms.axis = normalise_axis(given.axis, len(shape), function, "split_axis")
    terms.concat_axis = normalise_axis(given.concat_axis, len(shape), function, "concat_axis")
    if given.counts is not None:
        terms.counts = normalise_counts(given.counts, terms.size, shape[terms.axis], function, "send_counts")
    if given.recv_counts is not None:
        terms.recv_counts = normalise_counts(given.recv_counts, terms.size, None, function, "recv_counts")
    missing = (terms.counts is None) + (terms.recv_counts is None)
    terms.needs_layout = missing == 1 or (missing == 2 and terms.out_shape is None)


def _reduce_split(terms: Terms, given: Given) -> None:
    shape = _shape(terms)
    _require_dimension(terms, shape, "x")
    _check_op(terms)
    terms.axis = normalise_axis(given.axis, len(shape), terms.function)
    length = shape[terms.axis]
    if given.counts is None:
        terms.counts = block_counts(length, terms.size)
    else:
        terms.counts = normalise_counts(given.counts, terms.size, length, terms.function)
    terms.shape = with_length(shape, terms.axis, terms.counts[terms.rank])


_RULES = {
    Shape.BROADCAST: _broadcast,
    Shape.SPLIT: _split,
    Shape.CONCATENATE: _concatenate,
    Shape.TRANSPOSE: _transpose,
    Shape.ELEMENTWISE: _elementwise,
    Shape.REDUCE_SPLIT: _reduce_split,
}


def _shape(terms: Terms) -> tuple[int, ...]:
    return terms.x_shape or ()


def _dtype(terms: Terms) -> np.dtype:
    return terms.x_dtype or np.dtype(float)


def _check_op(terms: Terms) -> None:
    if not isinstance(terms.op, Op):
        raise TypeError(f"{terms.function}: op must be a reduction such as dcomp.SUM, or a dcomp.Op; got {terms.op!r}")
    try:
        terms.op.check(_dtype(terms))
    except TypeError as error:
        raise TypeError(f"{terms.function}: {error}") from error.__cause__


def _require_dimension(terms: Terms, shape: tuple[int, ...], argument: str) -> None:
    if not shape:
        raise ValueError(f"{terms.function}: {argument} must have at least one dimension; got a scalar")


def with_length(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    """`shape` with another length along `axis`."""
    return (*shape[:axis], length, *shape[axis + 1 :])


def call_place(inside: int = 1) -> tuple[CodeType, int]:
    """Code and line of the innermost frame outside dcomp; at least so many frames are inside."""
    frame = sys._getframe(inside)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


def place_text(place: tuple[CodeType, int]) -> str:
    """A place as ``file:line in function``."""
    code, line = place
    return f"{code.co_filename}:{line} in {code.co_name}"


def call_site() -> str:
    """File, line and function of the innermost frame outside dcomp."""
    return place_text(call_place())
