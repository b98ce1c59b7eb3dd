"""Collectives of ranks that share a node: calls that have been made before, from Python in one step.

These take the place of a communicator's methods; see `engine/known.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import _table as table
from ._calls import describe, told_of
from ._ops import SUM
from .engine.channel import abandon
from .engine.requests import MISSED


def use_shared_calls(comm: Any) -> None:
    """Put quick calls in the place of the methods of a communicator whose ranks meet in shared memory."""
    # Only here, for where ranks share memory numba has been started.
    from .engine.inline import Inline
    from .engine.known import KnownCalls
    from .engine.known_requests import start_known, start_the_ordinary_way

    channel = comm._channel
    known, requests = (KnownCalls(channel, channel.meeting) for _ in range(2))
    calls = _calls(channel, "{}", known.find, _blocking(channel, known), known.go_the_ordinary_way)
    calls["barrier"] = _barrier(channel, known)
    calls["_combine"] = _combine(channel, known, _blocking(channel, known))
    start, start_ordinarily = partial(start_known, requests), partial(start_the_ordinary_way, requests)
    comm._known, comm._inline = known, Inline(known)
    comm._record = comm._inline.record
    for name, call in (calls | _calls(channel, "i{}", requests.find, start, start_ordinarily)).items():
        setattr(comm, name, call)


# Closures and repeated conditions: a call at 8 bytes takes a microsecond, of which each step here is a tenth.


@dataclass(slots=True)  # whose fields are read faster than a tuple's
class _Last:
    """The last call of a method: the call as it was made before, and what it was given besides its arrays.

    One object, replaced as a whole: another thread may make a call that it must not.
    """

    made: Any = None
    op: Any = None
    root: Any = None
    axis: Any = None
    concat_axis: Any = None
    counts: Any = None
    recv_counts: Any = None
    is_new: bool = True  # no `out` was given; asked where the claim tells of it: those that cut and join, and bcast


_NONE = _Last()


def _last(made: Any, **given: Any) -> _Last:
    """What to keep of a call; nothing of one that has not been made before, and may be wrong."""
    return _NONE if made is None else _Last(made, **given)


def _blocking(channel: Any, known: Any) -> Callable:
    """What makes a blocking call that has been made before."""
    from .engine.known import CARRIED

    go, go_on, is_shared, unstarted, copyto = known.call, known.go_on, known.is_shared, channel.unstarted, np.copyto

    def attempt(made: Any, x: Any, out: Any) -> Any:
        """The result; MISSED if the call has to go the ordinary way.

        That x is such an array as before, and that `out` can take the result, is seen by compiled code.
        """
        if made is None or unstarted:
            return MISSED
        _, _, entry, make, shape, dtype, returns_x, copies = made
        y: Any = None
        try:
            if make is None:
                if out is not None:
                    return MISSED
                said = go(entry, x, None, None)
            else:
                y = make(shape, dtype) if out is None or (copies and not is_shared(entry, out)) else out
                said = go(entry, x, y, out)
            if said:
                result = go_on(said, made, x, out)
                if result is not CARRIED:
                    return result
        except BaseException:  # on this rank alone: whether the others have met it is not known
            channel.interrupt(made.route.terms.function)
            abandon(x, y)
            raise
        if copies and out is not None and out is not y:
            copyto(out, y)
            return out
        return x if returns_x else y

    return attempt


def _barrier(channel: Any, known: Any) -> Callable:
    """As `attempt`, for a call without arrays."""
    go, go_on, unstarted, key = known.call, known.go_on, channel.unstarted, ("barrier",)
    made: Any = None

    def barrier() -> None:
        nonlocal made
        if made is not None and not unstarted:
            try:
                said = go(made.entry, None, None, None)
                if not said or go_on(said, made, None, None) is not MISSED:
                    return
            except BaseException:
                channel.interrupt("barrier")
                raise
        known.go_the_ordinary_way(key, describe(channel, table.BARRIER))
        made = known.find(key, None)

    return barrier


def _combine(channel: Any, known: Any, attempt: Callable) -> Callable:
    """As `_calls` makes them, for `Communicator._combine`, which is given arrays only."""

    of_combine = _NONE

    def combine(x: np.ndarray, function: str, told: str, out: np.ndarray | None = None) -> Any:
        nonlocal of_combine
        last = of_combine
        if function is last.op and told is last.root and (result := attempt(last.made, x, out)) is not MISSED:
            return result
        key = ("_combine", function, told, x.dtype, x.shape)
        made = known.find(key, x)
        of_combine = _last(made, op=function, root=told)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        call = describe(channel, table.ALLREDUCE, x, out, form=function, told=told_of(told))
        return known.go_the_ordinary_way(key, call)

    return combine


def _calls(channel: Any, form: str, find: Callable, attempt: Callable, finish: Callable) -> dict[str, Callable]:
    """Methods by name. Each first tries with `attempt` whether the call is the last one again, then, by a key that
    tells the call, whether it was made before, and at last goes the ordinary way with `finish`.
    """
    ndarray, plain = np.ndarray, {int}

    def barrier() -> Any:
        key = ("barrier",)
        if (result := attempt(find(key, None), None, None)) is not MISSED:
            return result
        return finish(key, describe(channel, table.BARRIER, form=form))

    of_bcast = of_scatter = of_gather = of_allgather = of_alltoall = _NONE
    of_reduce = of_allreduce = of_reduce_scatter = of_scan = of_exscan = _NONE

    def bcast(x: Any = None, *, root: int = 0, out: Any = None) -> Any:
        nonlocal of_bcast
        last = of_bcast
        if (
            root is last.root
            and (out is None) is last.is_new
            and (out is not x or x is None or (type(x) is ndarray and x.flags.writeable))
            and (result := attempt(last.made, x, None if out is x else out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(root) is int:
            if x is None:
                key = ("bcast", root) if out is None else ("bcast", root, layout(out))
            elif type(x) is ndarray and (out is None or (out is x and x.flags.writeable)):  # not a copy on the root
                key = ("bcast", root, x.dtype, x.shape, "root")
        made = find(key, x)
        of_bcast = _last(made, root=root, is_new=out is None)
        if (result := attempt(made, x, out if x is None else None)) is not MISSED:
            return result
        return finish(key, describe(channel, table.BCAST, x, out, form=form, root=root))

    def scatter(x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        nonlocal of_scatter
        last = of_scatter
        if (
            root is last.root
            and axis is last.axis
            and counts is last.counts
            and (out is None) is last.is_new
            and (result := attempt(last.made, x, out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(root) is type(axis) is int:
            if x is None:
                key = ("scatter", axis, root) if out is None else ("scatter", axis, root, layout(out))
            elif type(x) is ndarray:
                key = ("scatter", axis, root, x.dtype, x.shape, "root")
            if key is not None and counts is not None:
                key = (*key, given(counts))
        made = find(key, x)
        of_scatter = _last(made, root=root, axis=axis, counts=lasting(counts), is_new=out is None)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        call = describe(channel, table.SCATTER, x, out, form=form, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def gather(x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        nonlocal of_gather
        last = of_gather
        if (
            root is last.root
            and axis is last.axis
            and counts is last.counts
            and (out is None) is last.is_new
            and (result := attempt(last.made, x, out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(x) is ndarray and type(root) is type(axis) is int:
            key = ("gather", axis, root, x.dtype, x.shape, out is None)  # for the claim tells the length of out
            if counts is not None:
                key = (*key, given(counts))
        made = find(key, x)
        of_gather = _last(made, root=root, axis=axis, counts=lasting(counts), is_new=out is None)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        call = describe(channel, table.GATHER, x, out, form=form, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def allgather(x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        nonlocal of_allgather
        last = of_allgather
        if (
            axis is last.axis
            and counts is last.counts
            and (out is None) is last.is_new
            and (result := attempt(last.made, x, out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("allgather", axis, x.dtype, x.shape, out is None)
            if counts is not None:
                key = (*key, given(counts))
        made = find(key, x)
        of_allgather = _last(made, axis=axis, counts=lasting(counts), is_new=out is None)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.ALLGATHER, x, out, form=form, axis=axis, counts=counts))

    def alltoall(
        x: Any,
        *,
        split_axis: int = 0,
        concat_axis: int = 0,
        send_counts: Any = None,
        recv_counts: Any = None,
        out: Any = None,
    ) -> Any:
        nonlocal of_alltoall
        last = of_alltoall
        if (
            split_axis is last.axis
            and concat_axis is last.concat_axis
            and send_counts is last.counts
            and recv_counts is last.recv_counts
            and (result := attempt(last.made, x, out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(x) is ndarray and type(split_axis) is type(concat_axis) is int:
            key = ("alltoall", split_axis, concat_axis, x.dtype, x.shape)
            if send_counts is not None or recv_counts is not None:
                key = (*key, given(send_counts), given(recv_counts))
        made = find(key, x)
        of_alltoall = _last(
            made, axis=split_axis, concat_axis=concat_axis,
            counts=lasting(send_counts), recv_counts=lasting(recv_counts),
        )  # fmt: skip
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        call = describe(
            channel, table.ALLTOALL, x, out, form=form,
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return finish(key, call)

    def reduce(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Any:
        nonlocal of_reduce
        last = of_reduce
        if op is last.op and root is last.root and (result := attempt(last.made, x, out)) is not MISSED:
            return result
        key = ("reduce", op, root, x.dtype, x.shape) if type(x) is ndarray and type(root) is int else None
        made = find(key, x)
        of_reduce = _last(made, op=op, root=root)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.REDUCE, x, out, form=form, op=op, root=root))

    def allreduce(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        nonlocal of_allreduce
        last = of_allreduce
        if op is last.op and (result := attempt(last.made, x, out)) is not MISSED:
            return result
        key = ("allreduce", op, x.dtype, x.shape) if type(x) is ndarray else None
        made = find(key, x)
        of_allreduce = _last(made, op=op)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.ALLREDUCE, x, out, form=form, op=op))

    def reduce_scatter(x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        nonlocal of_reduce_scatter
        last = of_reduce_scatter
        if (
            op is last.op
            and axis is last.axis
            and counts is last.counts
            and (result := attempt(last.made, x, out)) is not MISSED
        ):
            return result
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("reduce_scatter", op, axis, x.dtype, x.shape)
            if counts is not None:
                key = (*key, given(counts))
        made = find(key, x)
        of_reduce_scatter = _last(made, op=op, axis=axis, counts=lasting(counts))
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.REDUCE_SCATTER, x, out, form=form, op=op, axis=axis, counts=counts))

    def scan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        nonlocal of_scan
        last = of_scan
        if op is last.op and (result := attempt(last.made, x, out)) is not MISSED:
            return result
        key = ("scan", op, x.dtype, x.shape) if type(x) is ndarray else None
        made = find(key, x)
        of_scan = _last(made, op=op)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.SCAN, x, out, form=form, op=op))

    def exscan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        nonlocal of_exscan
        last = of_exscan
        if op is last.op and (result := attempt(last.made, x, out)) is not MISSED:
            return result
        key = ("exscan", op, x.dtype, x.shape) if type(x) is ndarray else None
        made = find(key, x)
        of_exscan = _last(made, op=op)
        if (result := attempt(made, x, out)) is not MISSED:
            return result
        return finish(key, describe(channel, table.EXSCAN, x, out, form=form, op=op))

    def layout(out: Any) -> tuple:
        """What of `out` belongs to a key where there is no x; unhashable if it is no array."""
        return (out.dtype, out.shape) if type(out) is ndarray else ([],)

    def given(counts: Any) -> Any:
        """Counts as they belong to a key; unhashable if they are none: 1.0 and True would find the calls of 1."""
        if counts is None:
            return None
        kind = type(counts)
        if (kind is not tuple and kind is not list) or not plain.issuperset(map(type, counts)):
            return ([],)
        return tuple(counts)

    def lasting(counts: Any) -> Any:
        """Counts that are the same when they are given again; a list may have been changed."""
        return counts if counts is None or type(counts) is tuple else MISSED

    calls = (barrier, bcast, scatter, gather, allgather, alltoall, reduce, allreduce, reduce_scatter, scan, exscan)
    for call in calls:
        call.__name__ = form.format(call.__name__)
    return {call.__name__: call for call in calls}
