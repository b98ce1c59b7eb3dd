"""An exchange between neighbours on one node: one of the calls that have been made before, see `known`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mpi4py import MPI

from ..kernels import exchange
from ..kernels import words as w
from .channel import Channel, Steps, abandon
from .meeting import DATA, layout_of, token_of
from .neighbours import Block, Neighbours
from .rounds import Rounds
from .segment import address_of
from .shared import apply_rules, entry_for_rounds, fits_slots, lay_rings, place_bytes


class NeighboursHere(Neighbours):
    """The buffers are in the heap: who sends writes into the other's.

    Attributes
    ----------
    entry : int     Address of what the compiled functions read.
    """

    sends_only = False  # a route says so of the root of bcast

    def __init__(self, channel: Channel, entry: np.ndarray, *rest: Any) -> None:
        self._meeting: Any = channel.meeting
        super().__init__(channel, *rest)
        self.mpi = self  # where shared memory cannot move it
        self._layouts = [layout_of(one.shape, one.dtype) for one in (self.sent, self.received)]
        entry[w.X_LAYOUT], entry[w.LAYOUT] = map(address_of, self._layouts)
        entry[w.X_BYTES], entry[w.Y_BYTES] = self.sent.size, self.received.size
        self.is_small = bool(entry[w.IS_SMALL])
        if self.is_small:
            entry[w.PAYLOAD] = self.sent.size
        self._entry, self.entry = entry, address_of(entry)

    def _buffer(self, nbytes: int) -> np.ndarray:
        return self._meeting.segment.maker(nbytes)((nbytes,), np.dtype(np.uint8))

    def note_agreement(self, claim: bytes) -> None:
        """The next time it is known by the ranks' tokens."""
        self._entry[w.TOKEN], self._entry[w.EXPECTED] = token_of(claim), self._meeting.combined

    def move(self, meanwhile: Callable[[], None] | None = None) -> Steps:
        """Move what is in `sent`, on which the ranks have agreed, and do something `meanwhile`; steps."""
        state, said = self._meeting.state, w.WORKING

        def is_carried() -> bool:
            nonlocal said
            said = exchange.carry(state)
            if said == w.WORKING:
                self.channel.make_progress()
            return said != w.WORKING

        exchange.tell(self.entry, id(self.sent), id(self.received))
        try:
            yield is_carried
        except BaseException:
            abandon(self.sent, self.received)
            raise
        if said == w.ELSEWHERE:
            yield from super().move(meanwhile)
        elif meanwhile is not None:
            meanwhile()

    def run(self, x: Any, out: Any) -> None:
        """The same through MPI, as routes do it for `known`."""
        MPI.Request.Waitall(self.start())

    def rounds(self) -> Any:
        """What plays it many times, beside other calls. Collective."""
        entry = entry_for_rounds(self._entry, self._meeting)
        nbytes = place_bytes(entry, self.channel.size)
        place = self._meeting.place_for_plan(self.channel.sync, True, nbytes)
        return (
            super().rounds()
            if place is None
            else Rounds(self.channel, place, self, entry, self.sent, self.received, None)
        )


def make_neighbours_here(
    channel: Channel, function: str, sends: Mapping[int, Block], receives: Mapping[int, Block], longest: int
) -> NeighboursHere | None:
    """None if too many ranks meet here."""
    entry = np.zeros(w.ROWS + w.ROW * channel.size, np.int64)
    rows = entry[w.ROWS :].reshape(channel.size, w.ROW)
    for rank, block in sends.items():
        rows[rank, [w.FROM, w.TO, w.LENGTH]] = block
    for rank, block in receives.items():
        rows[rank, [w.HERE, w.THERE, w.ARRIVING]] = block
    entry[w.KIND], entry[w.ITEM], entry[w.WEIGHT] = w.MOVE, 1, longest
    if not lay_rings(entry, channel.size, longest):
        return None
    if fits_slots("alltoall", w.MOVE, longest, channel.size):
        entry[w.IS_SMALL], entry[w.CHUNK] = 1, longest
    apply_rules(entry, channel.rules.of("alltoall", channel.size))
    meeting: Any = channel.meeting
    entry[w.DATA], entry[w.ARRAY_TYPE], entry[w.OF_STATE] = DATA, id(np.ndarray), meeting.state
    return NeighboursHere(channel, entry, function, sends, receives)
