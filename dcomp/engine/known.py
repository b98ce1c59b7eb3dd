"""Calls that have been made before on a communicator whose ranks share a node.

A call of the same collective on an array of the same shape and dtype as before needs nothing to be worked out: one
compiled function compares it with the other ranks' and, if it is small, carries it out. Any other call goes the
ordinary way, which then remembers it here.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from .._buffers import is_in_place
from .._calls import Call
from ..kernels import exchange, ready
from ..kernels import words as w
from .channel import Channel
from .meeting import Meeting
from .requests import MISSED, carry_out, conclude, run_route
from .shared import SharedRoute, carry, spoiled
from .waiting import wait

_KEPT = 1024  # calls per communicator
CARRIED = object()  # instead of a result


class Made(NamedTuple):
    """A call that has been made, as the next one like it needs it."""

    key: tuple | None  # None of a number
    route: Any
    entry: int
    make: Any  # makes the array of the result; None: this rank makes none
    shape: Any
    dtype: Any
    returns_x: bool  # the root of bcast
    copies: bool  # the result reaches `out` by way of an array of ours


class KnownCalls:
    """The calls of one communicator that have been made before."""

    def __init__(self, channel: Channel, meeting: Meeting) -> None:
        self.channel, self.meeting = channel, meeting
        self.made: dict[tuple, Made] = {}
        self._made_before: dict[tuple, Made] = {}  # when there were too many; those that are made again come back
        self.number: Made | None = None  # the last call on a single number
        # The ranks have met for a call of this thread, which is not the one made before; the thread has the turn.
        self.met: tuple[int, Made] | None = None
        self.call, self.is_shared = ready.entry_point(exchange.call), ready.entry_point(exchange.is_shared)

    def go_on(self, said: int, made: Made, x: Any, out: Any) -> Any:
        """Bring a call to its end that `exchange.call` could not end, and give the turn back.

        CARRIED, if the data is where it belongs. MISSED, if it was refused; also, and the turn is kept, if the ranks
        make another call than they did before. Else the result, which came through MPI. The caller closes the channel
        after an exception.
        """
        if said == w.REFUSED:
            return MISSED
        result = self._end(said, made, x, out)
        if self.met is None and self.channel.is_open:
            self.meeting.give_turn()
        return result

    def _end(self, said: int, made: Made, x: Any, out: Any) -> Any:
        channel, meeting, function = self.channel, self.meeting, made.route.terms.function
        if said == w.WAITING:

            def is_here() -> bool:
                nonlocal said
                said = exchange.resume(meeting.state)
                if said == w.WAITING:
                    channel.make_progress()
                return said != w.WAITING

            wait(is_here, channel, function)
        if said == w.WORKING:
            said = carry(channel, meeting, function)
        if said == w.DONE:
            return CARRIED
        if said == w.ELSEWHERE:
            return run_route(channel, made.route.mpi, out if is_in_place(x, out) else x, out)
        if said == w.SPOILED:
            raise spoiled(channel, function)
        self.met = get_ident(), made  # UNKNOWN or COLLIDING: the ordinary way tells what is wrong
        return MISSED

    def go_the_ordinary_way(self, key: tuple | None, call: Call) -> Any:
        """Carry a call out from the beginning, or from where the ranks have met; the next one like it is known."""
        if self.have_met_for(key):
            result = self.take_up(call.function, call.claim.packed, partial(conclude, self.channel, call))
        else:
            result = carry_out(self.channel, call)
        self.remember(key, call.route)
        return result

    def find(self, key: tuple | None, x: Any) -> Made | None:
        """The call of this key, which tells the shape and dtype of x, if it has been made before."""
        try:
            made = self.made.get(key)  # type: ignore[arg-type]
        except TypeError:  # an argument that cannot be one; the ordinary way says so
            return None
        if made is None and self._made_before:
            made = self._made_before.pop(key, None)  # type: ignore[arg-type]
            if made is not None:
                self._keep(made)
        if made is not None and x is not None and x.dtype is not made.route.x_dtype:
            made.route.recognise(x)
        return made

    def remember(self, key: tuple | None, route: Any) -> None:
        """The next call of this key goes by this route, if it can."""
        if not isinstance(route, SharedRoute) or not route.is_plain:
            return
        if route.scalar:
            self.number = self._made(None, route)
        if key is None or route.scalar:
            return
        with suppress(TypeError):  # counts of an odd kind are no key; they go the ordinary way again
            self._keep(self._made(key, route))

    def _keep(self, made: Made) -> None:
        if len(self.made) >= _KEPT:
            self._made_before, self.made = self.made, {}
        self.made[made.key] = made  # type: ignore[index]

    def _made(self, key: tuple | None, route: Any) -> Made:
        return Made(
            key, route, route.entry, self._maker(route), route.shape, route.dtype, route.sends_only,
            not route.takes_any_out,
        )  # fmt: skip

    def have_met_for(self, key: tuple | None) -> bool:
        """Whether the ranks have met for this call. If it was for another, that one was interrupted since."""
        if self.met is None or self.met[0] != get_ident():
            return False
        if self.met[1].key == key:
            return True
        self.met = None
        self.channel.close("a call in it was interrupted, so the ranks are out of step")
        return False

    def _maker(self, route: Any) -> Callable | None:
        """What makes the array of a result."""
        if not route.makes:
            return None
        return np.empty if route.is_small else self.meeting.segment.maker(route.result_bytes)

    def take_up(self, function: str, claim: bytes, conclude: Callable[[bytes | None], Any]) -> Any:
        """Where the ranks have met for a call: find their verdict, `conclude`, and give the turn back."""
        channel = self.channel
        self.met = None
        try:
            if self.meeting.verdict is None:
                wait(self.meeting.show(claim), channel, function)
            return conclude(self.meeting.verdict)
        except KeyboardInterrupt:
            channel.interrupt(function)
            raise
        finally:
            if channel.is_open:
                self.meeting.give_turn()
