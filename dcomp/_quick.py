"""Collectives of ranks that share a node: calls that have been made before, from Python in one step.

These take the place of a communicator's methods. A call of the same collective on an array of the same shape and
dtype as before needs nothing to be worked out: one compiled function compares it with the other ranks' and, if
it is small, carries it out. Any other call goes the ordinary way, which then remembers it here.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from . import _table as table
from ._calls import Call, describe
from ._ops import SUM
from .engine.requests import carry_out, conclude
from .engine.waiting import wait

_KEPT = 1024  # calls per communicator
MISSED, CARRIED = object(), object()  # instead of a result


class _Made(NamedTuple):
    """A call that has been made, as the next one like it needs it."""

    route: Any
    entry: int
    make: Any  # makes the array of the result; None: this rank makes none
    shape: Any
    dtype: Any
    returns_x: bool  # the root of bcast
    copies: bool  # the result reaches `out` by way of an array of ours
    identity: Any  # what the result is full of, if this rank receives nothing: rank 0 of exscan


class _Quick:
    """The calls of one communicator that have been made before."""

    def __init__(self, channel: Any) -> None:
        # Only here, for where ranks share memory numba has been started.
        from .engine.shared import SharedRoute, carry
        from .kernels import exchange, words

        self.channel, self.meeting = channel, channel.meeting
        self.made: dict[tuple, _Made] = {}
        # The ranks have met for a call of this thread, which is not the one made before; the thread has the turn.
        self.met: tuple[int, _Made] | None = None
        self.exchange, self._carry, self._kind = exchange, carry, SharedRoute
        self.words = words
        # What numba's dispatcher calls in the end; it itself takes as long as a small exchange.
        self.call = exchange.call.overloads[exchange.call.signatures[0]].entry_point

    def go_on(self, said: int, made: _Made, x: Any, out: Any) -> Any:
        """Bring a call to its end that `exchange.call` could not end, and give the turn back.

        CARRIED, if the data is where it belongs. MISSED, and the turn is kept, if the ranks make another call than
        they did before. Else the result, which came through MPI.
        """
        channel, meeting, exchange, w = self.channel, self.meeting, self.exchange, self.words
        function = made.route.terms.function
        with _TurnTaken(self, function):
            if said == w.WAITING:

                def is_here() -> bool:
                    nonlocal said
                    said = exchange.resume(meeting.state)
                    if said == w.WAITING:
                        channel.make_progress()
                    return said != w.WAITING

                wait(is_here, channel, function)
            if said == w.WORKING:
                said = self._carry(channel, meeting, function)
            if said == w.UNKNOWN:
                self.met = get_ident(), made
                return MISSED
            return made.route.mpi.run(x, out) if said == w.ELSEWHERE else CARRIED

    def go_the_ordinary_way(self, key: tuple | None, call: Call) -> Any:
        """Carry a call out from the beginning, or from where the ranks have met; the next one like it is known."""
        result = self._conclude(call) if self._have_met_for(key) else carry_out(self.channel, call)
        route = call.route
        if key is not None and isinstance(route, self._kind) and route.is_plain and not route.scalar:
            if len(self.made) >= _KEPT:
                self.made.clear()
            copies = not (route.takes_any_out or route.identity is not None)
            made = _Made(
                route, route.entry, self._maker(route), route.shape, route.dtype, route.sends_only, copies,
                route.identity,
            )  # fmt: skip
            with suppress(TypeError):  # counts of an odd kind are no key; they go the ordinary way again
                self.made[key] = made
        return result

    def _have_met_for(self, key: tuple | None) -> bool:
        """Whether the ranks have met for this call. If it was for another, that one was interrupted since."""
        if self.met is None or self.met[0] != get_ident():
            return False
        try:
            if self.made.get(key) is self.met[1]:  # type: ignore[arg-type]
                return True
        except TypeError:  # the key cannot be one
            pass
        self.met = None
        self.channel.close("a call in it was interrupted, so the ranks are out of step")
        return False

    def _maker(self, route: Any) -> Callable | None:
        """What makes the array of a result."""
        if not route.makes:
            return None
        return np.empty if route.is_small else self.meeting.segment.maker(route.result_bytes)

    def _conclude(self, call: Call) -> Any:
        channel = self.channel
        self.met = None
        with _TurnTaken(self, call.function):
            if self.meeting.verdict is None:
                wait(self.meeting.show(call.claim.packed), channel, call.function)
            return conclude(channel, call, self.meeting.verdict)


class _TurnTaken:
    """The turn that `exchange.call` has taken: given back at the end, unless the ranks have met for another call."""

    def __init__(self, quick: _Quick, function: str) -> None:
        self._quick, self._function = quick, function

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        channel = self._quick.channel
        if kind is KeyboardInterrupt:
            channel.interrupt(self._function)
        if self._quick.met is None and channel.is_open:
            channel.meeting.give_turn()


def use_shared_calls(comm: Any) -> None:
    """Put quick calls in the place of the methods of a communicator whose ranks meet in shared memory."""
    for call in _quick_calls(comm._channel, _Quick(comm._channel)):
        setattr(comm, call.__name__, call)


def _quick_calls(channel: Any, quick: _Quick) -> list[Callable]:
    # Closures and repeated conditions: a call at 8 bytes takes a microsecond, of which each step here is a tenth.
    known, ndarray, copyto, unstarted = quick.made, np.ndarray, np.copyto, channel.unstarted
    go, refused = quick.call, quick.words.REFUSED
    finish = quick.go_the_ordinary_way

    def attempt(key: tuple, x: Any, out: Any) -> Any:
        """The result of a call made before; MISSED if it has to go the ordinary way.

        The key tells x; `out` is compared in compiled code with the result that there was before.
        """
        try:
            made = known.get(key)
        except TypeError:  # an argument that cannot be one; the ordinary way says so
            return MISSED
        if made is None or unstarted:
            return MISSED
        y: Any = out
        try:
            _, entry, make, shape, dtype, returns_x, copies, identity = made
            if make is None:
                if out is not None:
                    return MISSED
                said = go(entry, 0 if x is None else id(x), 0, 0)
            elif out is None:
                y = make(shape, dtype)
                said = go(entry, 0 if x is None else id(x), id(y) if identity is None else 0, 0)
            elif copies:
                y = make(shape, dtype)
                said = go(entry, 0 if x is None else id(x), id(y), id(out))
            else:
                said = go(entry, 0 if x is None else id(x), id(y) if identity is None else 0, id(out))
        except KeyboardInterrupt:  # it may have come before the call or after
            channel.interrupt("a call")
            raise
        if said:
            if said == refused:
                return MISSED
            result = quick.go_on(said, made, x, out)
            if result is not CARRIED:
                return result
        if identity is not None:
            y[...] = identity
        elif copies and out is not None:
            copyto(out, y)
            return out
        return x if returns_x else y

    fence = ("barrier",)

    def barrier() -> None:
        made = known.get(fence)
        if made is not None and not unstarted:  # as in `attempt`, whose arrays it has none of
            try:
                said = go(made.entry, 0, 0, 0)
            except KeyboardInterrupt:
                channel.interrupt("a call")
                raise
            if not said:
                return
            if said != refused and quick.go_on(said, made, None, None) is not MISSED:
                return
        finish(fence, describe(channel, table.BARRIER))

    def bcast(x: Any = None, *, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(root) is int:
            if x is None:
                key = ("bcast", root) if out is None else ("bcast", root, layout(out))
            elif type(x) is ndarray and (out is None or out is x):  # a copy, on the root, takes the ordinary way
                key = ("bcast", root, x.dtype, x.shape, "root")
            if key is not None and (result := attempt(key, x, out if x is None else None)) is not MISSED:
                return result
        return finish(key, describe(channel, table.BCAST, x, out, root=root))

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
        call = describe(channel, table.SCATTER, x, out, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def gather(x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(root) is type(axis) is int:
            key = ("gather", axis, root, x.dtype, x.shape)
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        call = describe(channel, table.GATHER, x, out, axis=axis, counts=counts, root=root)
        return finish(key, call)

    def allgather(x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("allgather", axis, x.dtype, x.shape)
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.ALLGATHER, x, out, axis=axis, counts=counts))

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
            channel, table.ALLTOALL, x, out,
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return finish(key, call)

    def reduce(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(root) is int:
            key = ("reduce", op, root, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.REDUCE, x, out, op=op, root=root))

    def allreduce(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("allreduce", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.ALLREDUCE, x, out, op=op))

    def reduce_scatter(x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray and type(axis) is int:
            key = ("reduce_scatter", op, axis, x.dtype, x.shape)
            if counts is not None:
                key = (*key, given(counts))
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.REDUCE_SCATTER, x, out, op=op, axis=axis, counts=counts))

    def scan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("scan", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.SCAN, x, out, op=op))

    def exscan(x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        key: tuple | None = None
        if type(x) is ndarray:
            key = ("exscan", op, x.dtype, x.shape)
            if (result := attempt(key, x, out)) is not MISSED:
                return result
        return finish(key, describe(channel, table.EXSCAN, x, out, op=op))

    def layout(out: Any) -> tuple:
        """What of `out` belongs to a key where there is no x; unhashable if it is no array."""
        return (out.dtype, out.shape) if type(out) is ndarray else ([],)

    def given(counts: Any) -> Any:
        """Counts as they belong to a key; unhashable if they are none."""
        return counts if counts is None or type(counts) is tuple else tuple(counts) if type(counts) is list else ([],)

    return [
        barrier, bcast, scatter, gather, allgather, alltoall, reduce, allreduce, reduce_scatter, scan, exscan
    ]  # fmt: skip
