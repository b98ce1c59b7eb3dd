"""The rounds of a small plan among the ranks of a node.

Each plan has a place of its own, so any other calls may come between its start and its wait. A rank leaves its array
there when it starts, and takes the others' when it waits: so none needs another to go on.
"""

from typing import Any

import numpy as np

from .._errors import DcompError
from ..kernels import exchange
from ..kernels import words as w
from .channel import Channel
from .meeting import Meeting
from .segment import address_of
from .shared import SharedRoute
from .waiting import wait


class Rounds:
    """What a plan plays, round by round, through shared memory."""

    def __init__(self, channel: Channel, place: Meeting, route: SharedRoute, x: Any, y: Any) -> None:
        self._channel, self._function, self._place = channel, route.terms.function, place
        self._route = route  # to which the entry refers
        self._result = x if route.sends_only else y
        self._entry = route.entry_for_plan(place)
        self._keeps = x, y
        place.prepare_rounds(address_of(self._entry), x, y)
        self._play = exchange.entry_point(exchange.play_round)

    def start(self) -> None:
        """Make this rank's array known."""
        with _Round(self):
            while exchange.begin_round(self._place.state) == w.REFUSED:
                with self._channel.turn(self._function):  # waits for the progress thread, or says whose turn it is
                    pass

    def wait(self) -> Any:
        """Take the others' arrays, and return the result."""
        with _Round(self):
            if exchange.end_round(self._place.state) == w.WAITING:
                self._wait_long()
        return self._result

    def play(self) -> Any:
        """Both."""
        try:  # as `_Round` does, which would take as long as the round
            said = self._play(self._place.state)
        except BaseException:
            self.interrupt()
            raise
        if said:
            if said == w.REFUSED:
                self.start()
            with _Round(self):
                self._wait_long()
        return self._result

    def interrupt(self) -> None:
        """An interrupt, on this rank alone: the ranks may be in different rounds."""
        self._channel.interrupt(self._function)

    def _wait_long(self) -> None:
        channel = self._channel

        def has_ended() -> bool:
            if exchange.end_round(self._place.state) == w.WAITING:
                channel.make_progress()
                return False
            return True

        with channel.turn(self._function):
            wait(has_ended, channel, self._function)

    def free(self, is_started: bool) -> None:
        """Give the place back; not in a round, which others may be reading."""
        if not is_started and self._channel.meeting is not None:
            self._channel.meeting.give_back(self._place)


class _Round:
    """A part of a round, as a context: whatever leaves it but our own errors, which know better, closes the channel."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, DcompError):
            self._rounds.interrupt()


def shared_rounds(channel: Channel, route: Any, x: np.ndarray | None, y: np.ndarray | None) -> Rounds | None:
    """The rounds of a plan, if it is a small one of a node's ranks; else None. Collective over `channel`."""
    if channel.meeting is None or not isinstance(route, SharedRoute) or not (route.is_small and route.is_plain):
        return None
    fits = not route.scalar and all(array is None or array.flags.c_contiguous for array in (x, y))
    fits = fits and not (route.sends_only and y is not None and y is not x)  # the root's copy
    place = channel.meeting.place_for_plan(channel.sync, fits)
    return None if place is None else Rounds(channel, place, route, x, y)
