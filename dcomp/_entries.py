"""Entries of distributed vectors, brought to the ranks that need them, and back to be added up.

Who needs which entries of whom is known before, and stays. So it is an exchange between neighbours, which the ranks
that share a node know by a number after the first time, as those of ghost layers (see `_halo`).
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ._calls import call_site, located
from ._checks import FAULTY, Claim, dtype_text, is_agreed, simple_claim
from ._explain import Testimony
from .engine import neighbours
from .engine.agreement import accuse
from .engine.channel import Steps, abandon
from .engine.requests import MISSED, run

_KEPT = 32  # exchanges of one matrix


class Move(NamedTuple):
    """One exchange of entries, as this rank asks for it."""

    function: str
    is_back: bool  # the entries that came from others go back to them
    dtype: np.dtype
    columns: tuple[int, ...]  # of an entry: none, or those of a block of vectors
    fault: Exception | None  # what is wrong with this rank's arguments
    fill: Callable[[np.ndarray], None]  # writes what this rank sends
    meanwhile: Callable[[], None]  # what can be done until all has come


class Paths(NamedTuple):
    """How many entries go from this rank to each other, and come, and where they are in the buffers of both."""

    sends: dict[int, neighbours.Block]
    receives: dict[int, neighbours.Block]
    most_sent: int  # by one rank, of all
    most_received: int

    def back(self) -> "Paths":
        """The way back."""
        return Paths(self.receives, self.sends, self.most_received, self.most_sent)

    def of_bytes(self, each: int) -> "Paths":
        """The same in bytes, of which an entry has so many."""
        sends, receives = (
            {rank: neighbours.Block(*(each * n for n in block)) for rank, block in some.items()}
            for some in (self.sends, self.receives)
        )
        return Paths(sends, receives, each * self.most_sent, each * self.most_received)


class _Way:
    """One exchange, as this rank knows it.

    Attributes
    ----------
    made     How it is known by the ranks' tokens; None where it is not.
    sent, received     The buffers, an entry in each row.
    """

    def __init__(self, channel: Any, key: tuple, move: Move, paths: Paths) -> None:
        self._key, here = key, None
        self.made: Any = None
        in_bytes = paths.of_bytes(move.dtype.itemsize * prod(move.columns))
        if channel.meeting is not None and in_bytes.most_sent:
            from .engine.neighbours_here import make_neighbours_here  # where memory is shared numba has been started

            here = make_neighbours_here(channel, move.function, *in_bytes[:3])
        self._is_here = here is not None
        self.way: Any = here or neighbours.Neighbours(channel, move.function, in_bytes.sends, in_bytes.receives)
        self.sent, self.received = (
            np.ndarray((sum(block.nbytes for block in some.values()), *move.columns), move.dtype, one)
            for some, one in ((paths.sends, self.way.sent), (paths.receives, self.way.received))
        )

    def note_agreement(self, claim: bytes) -> None:
        """All ranks have made this claim: the next time their tokens tell."""
        if self._is_here:
            from .engine.known import Made

            self.way.note_agreement(claim)
            self.made = Made(self._key, self.way, self.way.entry, None, None, None, False, False)


class Entries:
    """Who needs which entries of whom; `number` tells it from others, on all ranks alike."""

    def __init__(self, comm: Any, number: int, forth: Paths) -> None:
        self._channel, self._known = comm._channel, comm._known
        self._number, self._paths = number, (forth, forth.back())
        self._ways: dict[tuple, _Way] = {}

    def exchange(self, move: Move) -> np.ndarray:
        """The entries that come to this rank, or, on the way back, what others have for its own; collective."""
        if self._channel.size == 1:
            return self._alone(move)
        key = (self._number, move.is_back, move.dtype, move.columns)
        way = self._ways.get(key)
        if way is not None and move.fault is None and self._has_made_again(way, move):
            move.meanwhile()
            return way.received
        claim = self._claim(move)

        def conclude(verdict: bytes | None) -> np.ndarray:
            return run(channel, move.function, self._carry_out(key, move, claim, verdict))

        channel, known = self._channel, self._known
        if known is not None and move.fault is None and known.have_met_for(key):
            return known.take_up(move.function, claim.packed, conclude)
        with channel.turn(move.function):
            return conclude(self._ask(move, claim))

    def _alone(self, move: Move) -> np.ndarray:
        if move.fault is not None:
            raise located(move.fault, self._channel)
        move.meanwhile()
        return np.empty((0, *move.columns), move.dtype)

    def _claim(self, move: Move) -> Claim:
        if move.fault is not None:
            return Claim(FAULTY, ())
        facts = {"matrix": self._number, "dtype": dtype_text(move.dtype), "shape of rows": move.columns}
        return simple_claim(move.function, **facts)

    def _has_made_again(self, way: _Way, move: Move) -> bool:
        """Make the exchange if the ranks know it by their tokens: whether it was made."""
        channel, known, made = self._channel, self._known, way.made
        if made is None or channel.unstarted:
            return False
        sent, received = way.way.sent, way.way.received
        move.fill(way.sent)
        try:
            said = known.call(made.entry, sent, received, None)
            return not (said and known.go_on(said, made, sent, received) is MISSED)
        except BaseException:  # on this rank alone: whether the others have met it is not known
            channel.interrupt(move.function)
            abandon(sent, received)
            raise

    def _ask(self, move: Move, claim: Claim) -> bytes | None:
        """The ranks' verdict; None where it is not asked for. The caller has the turn."""
        channel = self._channel
        if channel.is_checked:
            channel.count_call()
            return run(channel, move.function, channel.exchange(claim.packed))
        if move.fault is not None:
            raise located(move.fault, channel)
        return None

    def _carry_out(self, key: tuple, move: Move, claim: Claim, verdict: bytes | None) -> Steps:
        """From the verdict to the end."""
        channel = self._channel
        if verdict is not None and not is_agreed(verdict):
            yield from accuse(channel, Testimony(move.function, claim.facts, call_site(), None), move.fault, "call")
        way = self._ways.get(key)
        if way is None:
            if len(self._ways) >= _KEPT:
                self._ways.clear()
            way = self._ways[key] = _Way(channel, key, move, self._paths[move.is_back])
        move.fill(way.sent)
        if verdict is not None:
            way.note_agreement(claim.packed)
        yield from way.way.move(move.meanwhile)
        return way.received
