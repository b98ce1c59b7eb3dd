"""The rounds of a plan among the ranks of a node.

Each plan has a place of its own, so any other calls may come between its start and its wait. In a small one a rank
leaves its array there when it starts, and takes the others' when it waits: so none needs another to go on. In a large
one every rank has a part to do, which is done in its wait, and before that by whoever moves its messages on.
"""

from typing import Any

import numpy as np

from .._errors import DcompError, UsageError
from ..kernels import exchange, ready
from ..kernels import words as w
from .channel import Channel, Steps, abandon
from .meeting import Meeting
from .progress import helper
from .requests import Moving
from .segment import address_of
from .shared import SharedRoute, place_bytes
from .waiting import wait

_UNDER_WAY = (w.WAITING, w.WORKING)


class Rounds:
    """What a plan plays, round by round, through shared memory.

    `x` is sent, `y` receives, and `out` is what the user gave for the result.
    """

    _moving: Moving | None = None  # a large round that has been started and not waited for
    _said = w.DONE  # how far compiled code is
    _is_freed = False

    def __init__(
        self, channel: Channel, place: Meeting, route: Any, entry: np.ndarray, x: Any, y: Any, out: Any
    ) -> None:
        self._channel, self._function, self._place = channel, route.terms.function, place
        self._route = route  # to which the entry refers
        self._entry = entry
        self._x, self._y, self._out = x, y, out
        place.prepare_rounds(address_of(entry), x, y)
        self._result = self._x if route.sends_only else self._y if self._out is None else self._out
        self._copies = self._y is not None and self._result is not self._y
        self._play = ready.entry_point(exchange.play_round)

    def start(self) -> None:
        """Make this rank's array known."""
        with _Round(self):
            self._begin()
            if not self._route.is_small:
                with self._channel.turn(self._function):
                    self._moving = Moving(self._channel, self._steps())
                helper.notice(self._channel)

    def _begin(self) -> None:
        while exchange.begin_round(self._place.state) == w.REFUSED:
            with self._channel.turn(self._function):  # waits for the progress thread, or says whose turn it is
                pass

    def wait(self) -> Any:
        """Do this rank's part in the round, and return the result."""
        with _Round(self):
            if self._moving is not None:
                self._end_moving(self._moving)
            else:
                self._end(exchange.end_round(self._place.state))
        return self._deliver()

    def play(self) -> Any:
        """Both."""
        try:  # as `_Round` does, which would take as long as the round
            said = self._play(self._place.state)
        except BaseException:
            self.interrupt()
            raise
        if not said and not self._copies:
            return self._result
        with _Round(self):
            if said == w.REFUSED:
                self._begin()
                said = w.WAITING
            self._end(said)
        return self._deliver()

    @property
    def is_open(self) -> bool:
        """Whether the communicator can be used."""
        return self._channel.is_open

    def interrupt(self) -> None:
        """A round is left, on this rank alone: the ranks may be in different rounds."""
        self._channel.interrupt(self._function)
        if not self._route.is_small:
            abandon(self._x, self._y)

    def _end(self, said: int) -> None:
        """Bring a round to its end, of which compiled code has said how far it is."""
        self._said = said
        if said in _UNDER_WAY:
            with self._channel.turn(self._function):
                wait(self._has_ended, self._channel, self._function)

    def _end_moving(self, moving: Moving) -> None:
        """The same of what may be moved on meanwhile."""

        def has_ended() -> bool:
            moving.move()
            return moving.ended

        with self._channel.turn(self._function):
            self._moving = None
            wait(has_ended, self._channel, self._function)
        if moving.error is not None:
            raise self._channel.explain(self._function, moving.error)

    def _steps(self) -> Steps:
        yield self._has_ended

    def _has_ended(self) -> bool:
        self._said = exchange.end_round(self._place.state)
        if self._said == w.WORKING:
            self._said = exchange.carry(self._place.state)
        if self._said in _UNDER_WAY:
            self._channel.make_progress()
            return False
        return True

    def _deliver(self) -> Any:
        if self._said == w.COLLIDING:
            raise self._route.collision(self._place)
        if self._said in (w.ELSEWHERE, w.SPOILED):
            raise UsageError(
                f"{self._function}: the system does not let ranks reach x or out, as it did when the job started. Use "
                "arrays in ordinary memory, or DCOMP_ENGINE=mpi."
            )
        if self._copies:
            np.copyto(self._result, self._y)
        return self._result

    def free(self, is_started: bool) -> None:
        """Give the place back; not in a round, which others may be reading."""
        if not self._is_freed and not is_started and self._channel.meeting is not None:
            self._is_freed = True
            self._channel.meeting.give_back(self._place)


class _Round:
    """A part of a round, as a context: whatever leaves it but our own errors, which know better, closes the channel."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and (not issubclass(kind, DcompError) or not self._rounds.is_open):
            self._rounds.interrupt()


def shared_rounds(channel: Channel, route: Any, x: np.ndarray | None, out: np.ndarray | None) -> Rounds | None:
    """The rounds of a plan of a node's ranks; None where MPI has to play it. Collective over `channel`."""
    if channel.meeting is None or not isinstance(route, SharedRoute) or not route.is_plain:
        return None
    y = route.place_for_result(x, out)
    fits = not route.scalar and all(array is None or array.flags.c_contiguous for array in (x, y))
    fits = fits and not (route.sends_only and out is not None and out is not x)  # the root's copy
    entry = route.entry_for_plan()
    nbytes = place_bytes(entry, channel.size)
    place = channel.meeting.place_for_plan(channel.sync, fits and route.can_be_received(y), nbytes)
    return None if place is None else Rounds(channel, place, route, entry, x, y, out)
