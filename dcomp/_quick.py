"""Collectives of ranks that share a node: calls that have been made before, from Python in one step.

These take the place of a communicator's methods; see `engine/known.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import _table as table
from ._calls import describe
from ._ops import SUM
from .engine.requests import MISSED

_KEPT = 256  # counts per communicator


def use_shared_calls(comm: Any) -> None:
    """Put quick calls in the place of the methods of a communicator whose ranks meet in shared memory."""
    # Only here, for where ranks share memory numba has been started.
    from .engine.known import KnownCalls
    from .engine.known_requests import start_known, start_the_ordinary_way

    channel = comm._channel
    known, requests = (KnownCalls(channel, channel.meeting) for _ in range(2))
    calls = _calls(channel, "{}", _blocking(channel, known), known.go_the_ordinary_way)
    calls["barrier"] = _barrier(channel, known)
    calls |= _calls(channel, "i{}", partial(start_known, requests), partial(start_the_ordinary_way, requests))
    for name, call in calls.items():
        setattr(comm, name, call)


# Closures and repeated conditions: a call at 8 bytes takes a microsecond, of which each step here is a tenth.


def _blocking(channel: Any, known: Any) -> Callable:
    """What makes a blocking call that has been made before."""
    from .engine.known import CARRIED

    find, go, go_on, unstarted, copyto = known.made.get, known.call, known.go_on, channel.unstarted, np.copyto

    def attempt(key: tuple, x: Any, out: Any) -> Any:
        """The result; MISSED if the call has to go the ordinary way.

        The key tells all that the claim tells of x and out. That `out` can take the result is seen by compiled code.
        """
        try:
            made = find(key)
        except TypeError:  # an argument that cannot be one; the ordinary way says so
            return MISSED
        if made is None or unstarted:
            return MISSED
        _, entry, make, shape, dtype, returns_x, copies, identity = made
        y: Any = None
        try:
            if make is None:
                if out is not None:
                    return MISSED
                said = go(entry, 0 if x is None else id(x), 0, 0)
            else:
                y = make(shape, dtype) if out is None or copies else out
                receiving = 0 if identity is not None else id(y)
                said = go(entry, 0 if x is None else id(x), receiving, 0 if out is None else id(out))
            if said:
                result = go_on(said, made, x, out)
                if result is not CARRIED:
                    return result
        except BaseException:  # on this rank alone: whether the others have met it is not known
            channel.interrupt("a call")
            raise
        if identity is not None:
            y[...] = identity
        elif copies and out is not None:
            copyto(out, y)
            return out
        return x if returns_x else y

    return attempt


def _barrier(channel: Any, known: Any) -> Callable:
    """As `attempt`, for a call without arrays."""
    find, go, go_on, unstarted, key = known.made.get, known.call, known.go_on, channel.unstarted, ("barrier",)

    def barrier() -> None:
        made = find(key)
        if made is not None and not unstarted:
            try:
                said = go(made.entry, 0, 0, 0)
                if not said or go_on(said, made, None, None) is not MISSED:
                    return
            except BaseException:
                channel.interrupt("barrier")
                raise
        known.go_the_ordinary_way(key, describe(channel, table.BARRIER))

    return barrier


def _calls(channel: Any, form: str, attempt: Callable, finish: Callable) -> dict[str, Callable]:
    """Methods by name: each tries `attempt` with a key that tells the call, and goes on with `finish`."""
    ndarray, plain = np.ndarray, {int}

    def barrier() -> Any:
        key = ("barrier",)
        if (result := attempt(key, None, None)) is not MISSED:
            return result
        return finish(key, describe(channel, table.BARRIER, form=form))

    def bcast(x: Any = None, *, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(root) is int:
            if x is None:
                key = ("bcast", root) if out is None else ("bcast", root, layout(out))
            elif type(x) is ndarray and (out is None or (out is x and x.flags.writeable)):  # not a copy on the root
                key = ("bcast", root, x.dtype, x.shape, "root")
            if key is not None and (result := attempt(key, x, out if x is None else None)) is not MISSED:
                return result
        return finish(key, describe(channel, table.BCAST, x, out, form=form, root=root))

    def scatter(x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(root) is type(axis) is int:
            if x is None:
                key = ("scatter", axis, root) if out is None else ("scatter", axis, root, layout(out))
            elif type(x) is ndarray:
                key = ("scatter", axis, root, x.dtype, x.shape, "root")
            if key is not None and counts is not None:
                key = (*key, given(counts))
            if key is not None and (result := attempt(key, x, out)) is not MISSED:
                return result
        call = describe(channel, table.SCATTER, x, out, form=form, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def gather(x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(root) is type(axis) is int:
            key = ("gather", axis, root, x.dtype, x.shape, out is None)  # for the claim tells the length of out
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        call = describe(channel, table.GATHER, x, out, form=form, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def allgather(x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("allgather", axis, x.dtype, x.shape, out is None)
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
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
        key: tuple | None = None
        if type(x) is ndarray and type(split_axis) is type(concat_axis) is int:
            key = ("alltoall", split_axis, concat_axis, x.dtype, x.shape)
            if send_counts is not None or recv_counts is not None:
                key = (*key, given(send_counts), given(recv_counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        call = describe(
            channel, table.ALLTOALL, x, out, form=form,
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return finish(key, call)

    def reduce(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(root) is int:
            key = ("reduce", op, root, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.REDUCE, x, out, form=form, op=op, root=root))

    def allreduce(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("allreduce", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.ALLREDUCE, x, out, form=form, op=op))

    def reduce_scatter(x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("reduce_scatter", op, axis, x.dtype, x.shape)
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.REDUCE_SCATTER, x, out, form=form, op=op, axis=axis, counts=counts))

    def scan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("scan", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.SCAN, x, out, form=form, op=op))

    def exscan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("exscan", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.EXSCAN, x, out, form=form, op=op))

    def layout(out: Any) -> tuple:
        """What of `out` belongs to a key where there is no x; unhashable if it is no array."""
        return (out.dtype, out.shape) if type(out) is ndarray else ([],)

    seen: dict[int, tuple] = {}  # counts that were found plain, by their address; kept, so that it stays theirs

    def given(counts: Any) -> Any:
        """Counts as they belong to a key; unhashable if they are none: 1.0 and True would find the calls of 1."""
        if counts is None or seen.get(id(counts)) is counts:
            return counts
        kind = type(counts)
        if (kind is not tuple and kind is not list) or not plain.issuperset(map(type, counts)):
            return ([],)
        if kind is list:
            return tuple(counts)
        if len(seen) >= _KEPT:
            seen.clear()
        seen[id(counts)] = counts
        return counts

    calls = (barrier, bcast, scatter, gather, allgather, alltoall, reduce, allreduce, reduce_scatter, scan, exscan)
    for call in calls:
        call.__name__ = form.format(call.__name__)
    return {call.__name__: call for call in calls}
