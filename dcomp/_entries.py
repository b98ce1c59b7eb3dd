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
from ._exchanges import Exchange, make_the_ordinary_way
from ._explain import Testimony
from .engine import neighbours
from .engine.agreement import accuse
from .engine.channel import Steps
from .engine.requests import run

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


class _Way(Exchange):
    """One exchange of entries.

    Attributes
    ----------
    sent, received     The buffers, an entry in each row.
    """

    def __init__(self, channel: Any, key: tuple, move: Move, paths: Paths) -> None:
        in_bytes = paths.of_bytes(move.dtype.itemsize * prod(move.columns))
        super().__init__(channel, move.function, key, *in_bytes[:3])
        self.sent, self.received = (
            np.ndarray((sum(block.nbytes for block in some.values()), *move.columns), move.dtype, one)
            for some, one in ((paths.sends, self.way.sent), (paths.receives, self.way.received))
        )


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

        channel, known_key = self._channel, None if move.fault is not None else key
        function, fault = move.function, move.fault
        return make_the_ordinary_way(channel, self._known, function, known_key, claim.packed, fault, conclude)

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
        if not way.can_be_known():
            return False
        move.fill(way.sent)
        return way.make_again(self._known)

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
