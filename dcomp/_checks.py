"""What a rank says of its call before any data moves, and the verdict on what all ranks said.

Pure functions: no MPI here. An engine takes each rank's `Claim` -- sixteen 64-bit integers -- and finds the
smallest of every entry over the ranks; `judge` looks at the sixteen results, the same on every rank. A value
and its negative side by side give the smallest and the greatest of it, so that equality, and bounds, are seen
by everyone without anyone's list of all ranks. Whatever decides whether a call is right is in these numbers,
so all ranks come to the same verdict. `dcomp._explain` turns a bad verdict into a message.

Entries of a claim (NONE where a rank has nothing to say):

====== ===========================================================================================
0, 1   fingerprint of function, root, op, axes, counts; FAULT if this rank's own arguments are wrong
2, 3   fingerprint of dtype and of the extents that must be equal
4, 5   a length that may differ: of the block joined or cut; in scatter, bounds that `out` sets
6, 7   a second one: the concatenation axis in alltoall, the length of `out` in gather and allgather,
       the fingerprint of counts in scatter
8      -1 if this rank must be asked again once the lengths are known
9-15   from the root: dtype, number of dimensions and flags, extents
====== ===========================================================================================
"""

import hashlib
import struct
from functools import lru_cache
from operator import index
from typing import Any, NamedTuple

import numpy as np

from ._layout import block_bounds, block_counts
from ._table import Collective, Shape

NONE = 2**63 - 1
FAULT = 0
SIZE = 16
BYTES = 8 * SIZE
_DIMS = 5  # extents that fit into a claim
_SCALAR, _COUNTS, _LONG = 256, 512, 1024  # flags beside the number of dimensions
_FORMAT = struct.Struct(f"{SIZE}q")


class Claim(NamedTuple):
    """What a rank says of its call, and how it tells people."""

    packed: bytes
    facts: tuple[tuple[str, str], ...]  # (argument, value), in the order in which differences are named


class Header(NamedTuple):
    """What the root of bcast and scatter tells the others."""

    dtype: np.dtype
    shape: tuple[int, ...]
    scalar: bool
    counts_given: bool


@lru_cache(4096)
def fingerprint(text: str) -> int:
    """A positive 62-bit number, the same in every process."""
    return 1 + int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % (2**62)


@lru_cache(1024)
def dtype_text(dtype: np.dtype) -> str:
    """Name of a dtype that tells all that matters: byte order, fields, padding."""
    if dtype.names is None:
        return dtype.name if dtype.isnative else dtype.str
    return str(dtype)


def pack(
    call: int = NONE,
    *,
    layout: int = NONE,
    a: tuple[int, int] | None = None,
    b: tuple[int, int] | None = None,
    again: bool = False,
    header: tuple[int, ...] = (),
) -> bytes:
    """A claim's entries; `a` and `b` are (greatest allowed, least allowed), equal for an exact value."""
    high_a, low_a = a if a else (NONE, -NONE)
    high_b, low_b = b if b else (NONE, -NONE)
    entries = (call, -call, layout, NONE if layout == NONE else -layout, high_a, -low_a, high_b, -low_b, -again)
    return _FORMAT.pack(*entries, *header, *(NONE,) * (7 - len(header)))


#: The claim of a rank whose own arguments are wrong.
FAULTY = pack(FAULT)


def simple_claim(function: str, **facts: object) -> Claim:
    """The claim of a call on which all ranks agree in `facts` and nothing else."""
    told = tuple((name, str(value)) for name, value in facts.items() if value is not None)
    return Claim(pack(fingerprint(f"{function}{told}")), told)


def claim(terms: Any) -> Claim:
    """The claim of a call that is right by itself; `terms` as in `_calls`, all but its claim."""
    row, axis, concat_axis = terms.row, terms.axis, terms.concat_axis
    counts, shape, out_shape = terms.counts, terms.x_shape, terms.out_shape
    facts = list(terms.told) or _own_facts(terms)
    call = fingerprint(f"{terms.function}{facts}")
    layout, a, b, again = NONE, None, None, False
    header: tuple[int, ...] = ()
    if shape is not None:
        if not terms.told:
            facts += [("dtype", dtype_text(terms.x_dtype)), ("shape", str(shape))]
        layout = _layout_fingerprint(row, terms.x_dtype, shape, axis, concat_axis)
        if row.shape is Shape.CONCATENATE:
            a = (shape[axis], shape[axis])
            if out_shape is not None:
                b = (out_shape[axis], out_shape[axis])
                facts.append(("shape of out", str(out_shape)))
        elif row.shape is Shape.TRANSPOSE:
            a = (shape[axis], shape[axis])
            if axis != concat_axis:
                b = (shape[concat_axis], shape[concat_axis])
            # Where all ranks pass the same shape, cut evenly, nothing more is needed; else lengths must be exchanged.
            result, received = alltoall_result(shape, axis, concat_axis, None, None, terms.size, terms.rank)
            again = counts not in (None, block_counts(shape[axis], terms.size))
            again = again or terms.recv_counts not in (None, received)
            again = again or (out_shape is not None and (out_shape, terms.out_dtype) != (result, terms.x_dtype))
        elif row.from_root:
            header = _header(terms.x_dtype, shape, terms.scalar, counts is not None)
    elif out_shape is not None:  # not the root: `out` is an opinion on what comes
        facts += [("dtype of out", dtype_text(terms.out_dtype)), ("shape of out", str(out_shape))]
        layout = _layout_fingerprint(row, terms.out_dtype, out_shape, axis, concat_axis)
        if row.shape is Shape.SPLIT:
            least, greatest = block_bounds(out_shape[axis], terms.size, terms.rank)
            a = (greatest, least)
    if row.shape is Shape.SPLIT and counts is None:
        again = True  # if the root gives counts, this rank must be told
    if row.shape is Shape.SPLIT and (shape is not None or counts is not None):
        told = fingerprint(f"{counts}")
        facts.append(("counts", str(counts)))
        b = (told, told)
    return Claim(pack(call, layout=layout, a=a, b=b, again=again, header=header), tuple(facts))


def _own_facts(terms: Any) -> list[tuple[str, str]]:
    """What must be the same on all ranks, apart from the arrays."""
    row, counts = terms.row, terms.counts
    facts: list[tuple[str, str]] = []
    if row.reduces:
        op = terms.op
        facts.append(("op", op.name if op.name == op.key else f"{op!r} [{op.key.rpartition(':')[2][:6]}]"))
    if row.rooted:
        facts.append(("root", str(terms.root)))
    if row.shape is Shape.TRANSPOSE:
        facts += [("split_axis", str(terms.axis)), ("concat_axis", str(terms.concat_axis))]
        # Blocks that are joined along another axis than the one cut must be cut alike on all ranks.
        alike = terms.axis != terms.concat_axis
        facts.append(("send_counts", str(counts if alike or counts is None else "given")))
        facts.append(("recv_counts", str(None if terms.recv_counts is None else "given")))
    elif row.shape in (Shape.SPLIT, Shape.CONCATENATE, Shape.REDUCE_SPLIT):
        facts.append(("axis", str(terms.axis_given if row.shape is Shape.SPLIT else terms.axis)))
        if row.shape is not Shape.SPLIT:
            facts.append(("counts", str(counts if terms.counts_given else None)))
    return facts


def _layout_fingerprint(row: Collective, dtype: np.dtype, shape: tuple[int, ...], axis: int, concat_axis: int) -> int:
    """Of the dtype and of the extents that all ranks must share."""
    free: tuple[int, ...] = ()
    if row.shape in (Shape.SPLIT, Shape.CONCATENATE):
        free = (axis,)
    elif row.shape is Shape.TRANSPOSE:
        free = (axis, concat_axis)
    fixed = tuple(-1 if i in free else n for i, n in enumerate(shape))
    return fingerprint(f"{dtype_text(dtype)}{fixed}")


def alltoall_result(
    shape: tuple[int, ...],
    axis: int,
    concat_axis: int,
    counts: tuple[int, ...] | None,
    recv_counts: tuple[int, ...] | None,
    size: int,
    rank: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape of alltoall's result, and the lengths along `concat_axis` of the blocks joined in it.

    Where `recv_counts` is not known, every rank's array is taken to have this `shape`.
    """
    mine = (counts or block_counts(shape[axis], size))[rank]
    if recv_counts is None:
        recv_counts = (mine if axis == concat_axis else shape[concat_axis],) * size
    result = list(shape)
    result[axis] = mine
    result[concat_axis] = sum(recv_counts)
    return tuple(result), recv_counts


def _header(dtype: np.dtype, shape: tuple[int, ...], scalar: bool, counts_given: bool) -> tuple[int, ...]:
    flags = (_SCALAR if scalar else 0) | (_COUNTS if counts_given else 0)
    text = dtype.str.encode()
    if dtype.names is not None or dtype.subdtype is not None or len(text) > 8 or len(shape) > _DIMS:
        return (0, flags | _LONG)
    return (int.from_bytes(text, "little"), flags | len(shape), *shape)


@lru_cache(1024)
def read_header(verdict: bytes) -> Header | None:
    """What the root says in an agreed claim; None if it did not fit and follows by itself."""
    code, flags, *dims = _FORMAT.unpack(verdict)[9:]
    if flags & _LONG:
        return None
    dtype = np.dtype(code.to_bytes(8, "little").rstrip(b"\0").decode())
    return Header(dtype, tuple(dims[: flags % _SCALAR]), bool(flags & _SCALAR), bool(flags & _COUNTS))


def header_flags(verdict: bytes) -> tuple[bool, bool]:
    """(scalar, counts given) from an agreed claim of a call in which the root tells the layout."""
    flags = _FORMAT.unpack(verdict)[10]
    return bool(flags & _SCALAR), bool(flags & _COUNTS)


def is_agreed(verdict: bytes) -> bool:
    """Whether all ranks made the same, correct call, as far as the call's own fingerprint tells."""
    least, negative = _FORMAT.unpack(verdict)[:2]
    return least != FAULT and least == -negative


@lru_cache(1024)
def judge(row: Collective, size: int, axis: int, verdict: bytes) -> str | None:
    """None if the ranks' calls fit together, else what differs: call, layout, counts, length or out."""
    v = _FORMAT.unpack(verdict)
    if v[0] == FAULT or v[0] != -v[1]:
        return "call"
    if v[2] != v[3] and v[2] != -v[3]:
        return "layout"
    least_a, greatest_a = v[4], -v[5]
    if row.shape is Shape.SPLIT:
        if v[6] != -v[7]:
            return "counts"
        header = read_header(verdict)
        if header is not None and not header.counts_given and not greatest_a <= header.shape[axis] <= least_a:
            return "out"
    elif row.shape is Shape.TRANSPOSE:
        # Cut along one axis and joined along another.
        return "length" if v[6] != NONE and least_a != greatest_a else None
    elif row.shape is Shape.CONCATENATE and v[6] != NONE:
        fits = v[6] == -v[7] and (least_a != greatest_a or v[6] == size * least_a)
        return None if fits else "out"
    return None


class Lengths(NamedTuple):
    """The ranks' lengths along an axis, as far as an agreed claim tells them."""

    least: int
    greatest: int

    @property
    def even(self) -> bool:
        return self.least == self.greatest


def lengths(verdict: bytes, entry: int) -> Lengths:
    """The least and the greatest of the value in `entry` (4 or 6) of an agreed claim."""
    v = _FORMAT.unpack(verdict)
    return Lengths(v[entry], -v[entry + 1])


def asked_again(verdict: bytes) -> bool:
    """Whether a rank must check its arguments once more when the lengths are known."""
    return _FORMAT.unpack(verdict)[8] < 0


def normalise_axis(axis: Any, ndim: int, function: str, argument: str = "axis") -> int:
    """`axis` as a number from 0 to `ndim` - 1."""
    i = _integer(axis, function, argument)
    if not -ndim <= i < ndim:
        raise ValueError(f"{function}: {argument} must lie in the array's {ndim} dimension{'s' * (ndim != 1)}; got {i}")
    return i % ndim


def normalise_rank(rank: Any, size: int, function: str, argument: str) -> int:
    """A rank given by the user, checked."""
    i = _integer(rank, function, argument)
    if not 0 <= i < size:
        raise ValueError(f"{function}: {argument} must be a rank from 0 to {size - 1}; got {i}")
    return i


def _integer(value: Any, function: str, argument: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{function}: {argument} must be an integer; got {value!r}") from None


def normalise_counts(
    counts: Any, size: int, total: int | None, function: str, argument: str = "counts"
) -> tuple[int, ...]:
    """Lengths of the blocks of all ranks, checked; they add up to `total` where that is known."""
    try:
        result = None if any(isinstance(n, bool) for n in counts) else tuple(map(index, counts))
    except TypeError:
        result = None
    if result is None or len(result) != size:
        raise ValueError(f"{function}: {argument} must be {size} integers, one for each rank; got {counts!r}")
    if min(result) < 0:
        raise ValueError(f"{function}: {argument} must not be negative; got {list(result)}")
    if total is not None and sum(result) != total:
        raise ValueError(
            f"{function}: {argument} must add up to the length of the axis, {total}; got {list(result)}, "
            f"which is {sum(result)}"
        )
    return result
