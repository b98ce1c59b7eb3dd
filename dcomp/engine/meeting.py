"""Where the ranks of one node meet: a place in shared memory for each communicator.

Here the ranks compare what they call. Every rank shows a token of its claim; only the tokens of all ranks together
that were not seen before make the ranks show the claims themselves.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from mpi4py import MPI

from .. import _checks
from ..kernels import exchange, ready
from ..kernels import words as w
from .segment import Segment, address_of

# How often a wait looks, and then gives its core away, before it returns to Python: some 30 us where ranks have
# a core each; where they share cores, looking keeps the rank away that is waited for.
_APART, _CROWDED = (2000, 0), (20, 50)
_READERS = 8  # of one copy of a rank's line: each has to fetch it when it changes, one after the other
_VERDICTS = 4096  # kept per communicator
DATA = object.__basicsize__  # where an array object has the address of its data, behind its type


class Meeting:
    """A rank's side of the meeting place of a communicator whose ranks share a node; collective over `comm`.

    Attributes
    ----------
    state : int          Address of what the compiled functions keep.
    segment : Segment    Where results come from.
    """

    def __init__(
        self, comm: MPI.Intracomm, segment: Segment, block: np.ndarray, is_crowded: bool, has_mail: bool
    ) -> None:
        self.segment = segment
        self._is_crowded = is_crowded
        self._block = block
        segment.pin(block)
        block[: w.RING] = 0
        if has_mail:
            block[w.MAIL : w.MAIL + w.MAIL_BYTES] = 0
        offsets = np.empty(comm.size, np.int64)
        comm.Allgather(np.array([address_of(block) - segment.base]), offsets)
        self._blocks = offsets + segment.base
        places = offsets // segment.heap  # of the ranks on their node
        self._heaps, self._pids = places * segment.heap, segment.pids[places]
        self._scratch = np.empty(w.PIECE_ACROSS, np.uint8)
        state = self._words = np.zeros(w.STATE, np.int64)
        state[w.BASE] = segment.base
        state[w.RANK], state[w.SIZE] = comm.rank, comm.size
        readers = max(_READERS, -(-comm.size // ((w.RING - w.LINES) // w.PAIR)))
        state[w.GROUPS], state[w.GROUP] = -(-comm.size // readers), comm.rank // readers
        state[w.SPINS], state[w.YIELDS] = _CROWDED if is_crowded else _APART
        state[w.BLOCKS] = address_of(self._blocks)
        state[w.SEGMENT] = segment.nbytes
        state[w.PIDS] = address_of(self._pids) if self._pids.all() else 0
        state[w.HEAPS], state[w.HEAP] = address_of(self._heaps), segment.heap
        state[w.SCRATCH] = address_of(self._scratch)
        state[w.SINCE] = 1 << 62  # the first call that is not small probes
        self.state = address_of(state)
        if has_mail:
            exchange.look_at_cores(self.state)  # messages alone never have all ranks together
        self._size, self._make_progress = comm.size, comm.Iprobe
        self._take = ready.entry_point(exchange.take)
        self._nbytes = 0  # of a plan's place, the same on all ranks
        self._places: list[Meeting] = []  # of plans, in the same order on all ranks
        self._free: set[int] = set()  # of those, which this rank does not use any more
        self._shown = 0  # exchanges in which claims were shown
        self._verdicts: dict[int, bytes] = {}  # the same on all ranks, since each is learnt by all at once

    def put(self, call: Any) -> None:
        """Claims alone are compared here."""

    def begin(self, claim: bytes) -> Callable[[], bool]:
        """Arrive with a claim; what is returned is true when the verdict of all ranks is known."""
        exchange.post(self.state, token_of(claim))
        learns: Callable[[], bool] | None = None

        def is_known() -> bool:
            nonlocal learns
            if learns is not None:
                return learns()
            if not self._all_are_here():
                return False
            if self.verdict is None:
                learns = self.show(claim)
                return False
            return True

        return is_known

    def show(self, claim: bytes) -> Callable[[], bool]:
        """After an arrival without a verdict, which all ranks find alike: show the claim; true when all have."""
        parity = int(self._words[w.EPOCH] + 1) & 1
        self._place(int(self._words[w.RANK]), parity)[:] = np.frombuffer(claim, np.uint8)
        self._shown += 1
        exchange.post(self.state, token_of(claim))

        def is_known() -> bool:
            if not self._all_are_here():
                return False
            claims = [self._place(rank, parity).view(np.int64) for rank in range(self._size)]
            self._verdicts[self.combined] = np.minimum.reduce(claims).tobytes()
            if len(self._verdicts) > _VERDICTS:
                self._forget()
            return True

        return is_known

    def _forget(self) -> None:
        """Keep the last verdict only; all ranks do so at once.

        From now on tokens combine to other numbers. So no call is taken for known that some rank still remembers,
        while another waits for the claims of all.
        """
        self._verdicts = {self.combined: self._verdicts[self.combined]}
        self._words[w.AGE] += 1

    def _all_are_here(self) -> bool:
        if exchange.arrived(self.state) == w.DONE:
            return True
        self._make_progress()
        return False

    def take_turn(self) -> bool:
        """Whether this thread has the turn now; the compiled `call` takes it in the same way."""
        return self._take(self.state)

    def give_turn(self) -> None:
        """Give the turn back."""
        self._words[w.BUSY] = 0

    @property
    def calls(self) -> int:
        """How many collective calls have begun here."""
        return int(self._words[w.EPOCH]) - self._shown

    @property
    def combined(self) -> int:
        """What tells all ranks' tokens, of the exchange that has ended."""
        return int(self._words[w.COMBINED])

    @property
    def collision(self) -> tuple[int, int, str]:
        """After COLLIDING: a rank that would receive into the array of another, and which of that."""
        ranks, sends = divmod(int(self._words[w.COLLISION]), 2)
        return *divmod(ranks, self._size), "sends" if sends else "receives"

    @property
    def reaches_across(self) -> bool:
        """Whether the ranks can reach each other's own memory."""
        return bool(self._words[w.PIDS])

    @property
    def is_far(self) -> bool:
        """Whether the ranks' cores share no cache, as rank 0 has found for all."""
        return exchange.is_far(self.state)

    @property
    def verdict(self) -> bytes | None:
        """The verdict of the exchange that has ended; None if these tokens have not been seen together before."""
        return self._verdicts.get(self.combined)

    def _place(self, rank: int, parity: int) -> np.ndarray:
        """The claim that a rank shows in even or odd exchanges."""
        start = int(self._blocks[rank]) - self.segment.base + w.CLAIM + _checks.BYTES * parity
        return self.segment.bytes[start : start + _checks.BYTES]

    def place_for_plan(self, comm: MPI.Intracomm, fits: bool, nbytes: int) -> "Meeting | None":
        """A place of so many bytes, ring included, in which the ranks meet for the rounds of a plan; None if it does
        not fit on some rank, or a heap is full. Collective over `comm`.

        A rank may be done with a plan while another still reads, so a place is used again when all have given it back.
        """
        told = comm.allgather((fits, sorted(self._free)))
        if not all(one for one, _ in told):
            return None
        free = set.intersection(*(set(indices) for _, indices in told))
        fitting = [(self._places[index]._nbytes, index) for index in free if self._places[index]._nbytes >= nbytes]
        if fitting:
            _, index = min(fitting)
            self._free.discard(index)
            return self._places[index]
        place = make_meeting(comm, self.segment, self._is_crowded, nbytes)
        if place is not None:
            place._words[w.OWNER], place._nbytes = self.state, nbytes
            self._places.append(place)
        return place

    def give_back(self, place: "Meeting") -> None:
        """This rank does not use the place of a plan any more."""
        self._free.add(self._places.index(place))

    def receives_at(self, address: int) -> bool:
        """Whether that is where the result of the call under way comes."""
        return int(self._words[w.Y]) == address

    def prepare_rounds(self, entry: int, x: np.ndarray | None, y: np.ndarray | None) -> None:
        """What the compiled rounds of a plan read."""
        state = self._words
        state[w.ENTRY] = entry
        state[w.X] = 0 if x is None else address_of(x)
        state[w.Y] = 0 if y is None else address_of(y)

    def free(self) -> None:
        """Give the place back, and those of plans, when no rank looks at them any more."""
        for place in self._places:
            place.free()
        self.segment.unpin(self._block)


def make_meeting(
    comm: MPI.Intracomm, segment: Segment, is_crowded: bool, nbytes_of_plan: int | None = None
) -> Meeting | None:
    """The meeting place of a communicator, or of a plan; None if a rank's heap is full. Collective over `comm`."""
    block = segment.block(w.BLOCK + w.MAIL_BYTES if nbytes_of_plan is None else nbytes_of_plan)
    if not comm.allreduce(block is not None, MPI.LAND) or block is None:
        return None
    return Meeting(comm, segment, block, is_crowded, has_mail=nbytes_of_plan is None)


@lru_cache(4096)
def token_of(claim: bytes) -> int:
    """A claim as one number, the same in every process."""
    return int.from_bytes(hashlib.blake2b(claim, digest_size=8).digest(), "little", signed=True)


def layout_of(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """How the compiled functions know an array; they read what is returned, and `dtype`, as long as they use it."""
    return np.array([id(dtype), len(shape), *shape], np.int64)


def knows_arrays() -> bool:
    """Whether compiled code finds an array's type, data, shape, dtype and flags where it looks for them."""
    entry = np.zeros(w.ROWS, np.int64)
    array, masked, locked = np.empty((2, 3)), np.ma.zeros((2, 3)), np.empty((2, 3))
    locked.flags.writeable = False
    layout = layout_of(array.shape, array.dtype)
    entry[w.DATA], entry[w.ARRAY_TYPE] = DATA, id(np.ndarray)
    entry[w.X_LAYOUT] = entry[w.LAYOUT] = address_of(layout)
    turned, spread = np.empty((3, 2)).T, np.empty((2, 6))[:, ::2]
    others = (turned, spread, array.view(np.int64), array.reshape(3, 2), array.reshape(6), masked, 5)
    look = ready.entry_point(exchange.look)
    found = [look(address_of(entry), one) for one in (array, locked, *others)]
    return found == [address_of(array), -address_of(locked)] + [0] * len(others)
