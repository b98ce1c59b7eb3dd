"""The ranks agree on a call before any data moves, and learn from each other what they need to receive it.

All functions are steps (generators): they yield a test wherever they wait, so that the same code serves
blocking and non-blocking calls.
"""

import json
import pickle
from collections.abc import Callable
from math import prod

import numpy as np
from mpi4py import MPI

from .. import _checks
from .._buffers import check_out_layout
from .._calls import Agreed, Call, Terms, call_site, located, with_length
from .._checks import FAULTY, NONE, Claim, Header
from .._explain import Testimony, explain
from .._layout import block_counts
from .._table import Shape
from . import pieces
from .channel import Channel, Steps


def agree(channel: Channel, call: Call, verdict: bytes) -> Steps:
    """What this rank needs to know of a call on which the ranks gave `verdict`: `Agreed`, and whether the verdict
    alone told it, so that the next call on the same terms and with the same verdict needs to ask nothing.

    Raises
    ------
    CollectiveMismatchError, or this rank's own fault     On every rank, if the calls do not fit together.
    """
    terms, problem = call.terms, "call"
    if terms is not None:
        problem = _checks.judge(terms.row, terms.size, terms.axis, verdict) or ""
        if not problem:
            try:
                return (yield from _LEARN[terms.row.shape](channel, terms, verdict))
            except _Misfit as misfit:
                problem, call.fault = misfit.problem, misfit.fault
    yield from _accuse(channel, call, problem)


class _Misfit(Exception):
    """The calls turn out not to fit together; raised on every rank."""

    def __init__(self, problem: str, fault: Exception | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fault = fault


def agree_simply(channel: Channel, function: str, fault: Exception | None = None, **facts: object) -> Steps:
    """Agree on a call that moves no array through the table, such as `split`."""
    if not channel.is_checked:
        if fault is not None:
            raise located(fault, channel)
        return
    channel.count_call()
    claim = _checks.simple_claim(function, **facts) if fault is None else Claim(FAULTY, ())
    verdict = yield from channel.exchange(claim.packed)
    if not _checks.is_agreed(verdict):
        yield from accuse(channel, Testimony(function, claim.facts, call_site(), None), fault, "call")


def _accuse(channel: Channel, call: Call, problem: str) -> Steps:
    testimony = Testimony(call.function, call.claim.facts, call.site or call_site(), None)
    yield from accuse(channel, testimony, call.fault, problem)


def accuse(channel: Channel, testimony: Testimony, fault: Exception | None, problem: str) -> Steps:
    """Fetch every rank's account of a call that went wrong, and raise."""
    told = yield from _tell(channel, testimony._replace(fault=_quote(fault)))
    if fault is None:
        raise explain(told, problem)
    # Equal faults of all ranks stay equal, so that they are printed once.
    alike = channel.size > 1 and len({one.fault for one in told}) == 1
    raise fault if alike else located(fault, channel)


def _quote(fault: Exception | None) -> str | None:
    return None if fault is None else f"{type(fault).__name__}: {fault}"


def _tell(channel: Channel, testimony: Testimony) -> Steps:
    mine = np.frombuffer(json.dumps(testimony).encode(), np.uint8)
    lengths = yield from gather_integers(channel, [mine.size])
    texts = np.empty(sum(lengths), np.uint8)
    request = channel.sync.Iallgatherv(mine, [texts, (lengths, None), MPI.BYTE])
    yield request.Test
    told, start = [], 0
    for length in lengths:
        function, facts, site, fault = json.loads(texts[start : start + length].tobytes())
        told.append(Testimony(function, tuple((name, value) for name, value in facts), site, fault))
        start += length
    return told


def gather_integers(channel: Channel, mine: list[int]) -> Steps:
    """Every rank's integers, one after the other; 8 bytes each per rank."""
    sent = np.array(mine, np.int64)
    received = np.empty(channel.size * sent.size, np.int64)
    yield channel.sync.Iallgather(sent, received).Test
    return received.tolist()


def _learn_nothing(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    yield from ()
    counts = terms.counts or ()
    return Agreed(terms.shape, terms.x_dtype, terms.scalar, counts, (), len({*counts}) == 1), True


def _learn_broadcast(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    header = yield from _header(channel, terms, verdict)
    repeatable = _checks.read_header(verdict) is not None
    return Agreed(header.shape, header.dtype, header.scalar), repeatable


def _learn_split(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    header = yield from _header(channel, terms, verdict)
    whole = header.shape
    axis = terms.axis % len(whole)
    counts, fits = block_counts(whole[axis], terms.size), True
    ask = header.counts_given and _checks.asked_again(verdict)
    if ask:
        counts, fits = yield from _agree_on_counts(channel, terms, axis)
    elif header.counts_given:  # on all ranks, and the same
        counts = terms.counts or ()
    else:
        bounds = _checks.lengths(verdict, 4)
        fits = bounds.greatest <= whole[axis] <= bounds.least
    if not fits:
        raise _Misfit("out")
    repeatable = not ask and _checks.read_header(verdict) is not None
    shape = with_length(whole, axis, counts[terms.rank])
    big = pieces.too_many(prod(whole))
    return Agreed(shape, header.dtype, False, counts, (), len({*counts}) == 1, big), repeatable


def _agree_on_counts(channel: Channel, terms: Terms, axis: int) -> Steps:
    """The root's counts, and whether everyone's `out` has the length they say; cost: 16 bytes per rank."""
    mine = np.full((2, terms.size), NONE, np.int64)
    if terms.is_root:
        mine[0] = terms.counts or ()
        mine[1] = -mine[0]
    elif terms.out_shape is not None:
        length = terms.out_shape[axis]
        mine[:, terms.rank] = length, -length
    agreed = np.empty_like(mine)
    yield channel.sync.Iallreduce(mine, agreed, MPI.MIN).Test
    return tuple(agreed[0].tolist()), np.array_equal(agreed[0], -agreed[1])


def _header(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    """The root's description of its array; a long one (fields, many dimensions) costs two exchanges more."""
    header = _checks.read_header(verdict)
    if header is not None:
        return header
    scalar, counts_given = _checks.header_flags(verdict)
    text = pickle.dumps((terms.x_dtype, terms.x_shape)) if terms.is_root else b""
    length = np.array(len(text))
    yield channel.sync.Ibcast(length, terms.root).Test
    buffer = np.frombuffer(bytearray(text or int(length)), np.uint8)
    yield channel.sync.Ibcast(buffer, terms.root).Test
    dtype, shape = pickle.loads(buffer.tobytes())
    return Header(dtype, shape, scalar, counts_given)


def _learn_concatenate(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    counts, repeatable = terms.counts, True
    if counts is None:
        lengths = _checks.lengths(verdict, 4)
        if lengths.even:
            counts = (lengths.least,) * terms.size
        else:
            every = yield from gather_integers(channel, [terms.x_shape[terms.axis]])
            counts, repeatable = tuple(every), False
    total = sum(counts)
    if _checks.lengths(verdict, 6).least not in (NONE, total):
        raise _Misfit("out")
    whole = with_length(terms.x_shape, terms.axis, total)
    shape, big = (whole if terms.receives else None), pieces.too_many(prod(whole))
    return Agreed(shape, terms.x_dtype, False, counts, (), len({*counts}) == 1, big), repeatable


def _learn_transpose(channel: Channel, terms: Terms, verdict: bytes) -> Steps:
    shape, axis, concat_axis = terms.x_shape, terms.axis, terms.concat_axis
    cut, joined = _checks.lengths(verdict, 4), _checks.lengths(verdict, 6)
    alike = cut.even and (axis == concat_axis or joined.even) and not _checks.asked_again(verdict)
    counts = terms.counts or block_counts(shape[axis], terms.size)
    recv_counts = None
    if not alike and axis == concat_axis:
        sent, received = np.array(counts, np.int64), np.empty(terms.size, np.int64)
        yield channel.sync.Ialltoall(sent, received).Test
        recv_counts = tuple(received.tolist())
    elif not alike:
        every = yield from gather_integers(channel, [shape[concat_axis]])
        recv_counts = tuple(every)
    result, recv_counts = _checks.alltoall_result(shape, axis, concat_axis, counts, recv_counts, terms.size, terms.rank)
    big = pieces.too_many(max(prod(shape), prod(with_length(shape, axis, terms.size * max(counts)))))
    if not alike:
        # Only now could each rank check what the others' lengths decide: agree on that as well.
        fault = _fault_of_transpose(terms, result, recv_counts)
        here = pieces.too_many(max(prod(shape), prod(result)))
        claim = FAULTY if fault is not None else _checks.pack(_checks.fingerprint(terms.function), again=here)
        verdict = yield from channel.exchange(claim)
        if not _checks.is_agreed(verdict):
            raise _Misfit("out", fault)
        big = _checks.asked_again(verdict)
    even = alike and len({*counts}) == 1
    return Agreed(result, terms.x_dtype, False, counts, recv_counts, even, big), alike


def _fault_of_transpose(terms: Terms, result: tuple[int, ...], recv_counts: tuple[int, ...]) -> Exception | None:
    if terms.recv_counts not in (None, recv_counts):
        return ValueError(
            f"{terms.function}: recv_counts must be what the ranks send here, {list(recv_counts)}; got "
            f"{list(terms.recv_counts or ())}"
        )
    if terms.out_shape is not None:
        try:
            check_out_layout(terms.out_shape, terms.out_dtype, result, terms.x_dtype, terms.function)
        except (TypeError, ValueError) as fault:
            return fault
    return None


_LEARN: dict[Shape, Callable[[Channel, Terms, bytes], Steps]] = {
    Shape.NONE: _learn_nothing,
    Shape.ELEMENTWISE: _learn_nothing,
    Shape.REDUCE_SPLIT: _learn_nothing,
    Shape.BROADCAST: _learn_broadcast,
    Shape.SPLIT: _learn_split,
    Shape.CONCATENATE: _learn_concatenate,
    Shape.TRANSPOSE: _learn_transpose,
}


def assume(terms: Terms) -> Agreed:
    """Without an exchange: what `out` and counts say, and the usual cut where they say nothing.

    Raises
    ------
    TypeError, ValueError     Where that cannot be.
    """
    shape, dtype = terms.shape, terms.x_dtype
    counts, recv_counts = terms.counts or (), terms.recv_counts or ()
    even, big = len({*counts}) == 1, False
    if terms.row.from_root and not terms.is_root:
        shape, dtype = terms.out_shape, terms.out_dtype
    if terms.row.shape is Shape.TRANSPOSE:
        even = not counts and terms.x_shape[terms.axis] % terms.size == 0  # equal shapes, where no counts are given
        counts = counts or block_counts(terms.x_shape[terms.axis], terms.size)
        shape, recv_counts = _checks.alltoall_result(
            terms.x_shape, terms.axis, terms.concat_axis, counts, terms.recv_counts, terms.size, terms.rank
        )
        if terms.out_shape is not None:
            check_out_layout(terms.out_shape, terms.out_dtype, shape, dtype, terms.function)
        big = pieces.too_many(prod(with_length(terms.x_shape, terms.axis, terms.size * max(counts))))
    elif terms.row.shape is Shape.CONCATENATE:
        if not counts:
            shape = terms.out_shape
            counts = block_counts(shape[terms.axis], terms.size)
            even = len({*counts}) == 1
        if counts[terms.rank] != terms.x_shape[terms.axis]:
            raise ValueError(
                f"{terms.function}: counts must be given where blocks are not cut as numpy.array_split does and "
                f"DCOMP_CHECK is not collective; got a block of {terms.x_shape[terms.axis]} on rank {terms.rank}."
            )
        big = pieces.too_many(prod(with_length(terms.x_shape, terms.axis, sum(counts))))
    return Agreed(shape, dtype, terms.scalar, counts, recv_counts, even, big)
