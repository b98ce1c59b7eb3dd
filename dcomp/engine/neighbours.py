"""An exchange between neighbours: of one buffer, blocks go to some ranks, and into another come blocks of theirs.

Who sends how much to whom is known before, to both; it is made many times. A message goes to each neighbour; ranks of
a node do without, see `neighbours_here`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from .channel import Channel, Steps
from .waiting import wait

_TAG = 256  # on `sync`
_MOST = 1 << 30  # bytes of one message


class Block(NamedTuple):
    """What goes from one rank to another: where it is in this rank's buffer, and in the other's."""

    start: int
    there: int
    nbytes: int


class Terms(NamedTuple):
    """What is told of a call that went wrong, as of those of collectives."""

    function: str


class Neighbours:
    """This rank's side of such an exchange.

    Attributes
    ----------
    sent, received : array of uint8     The buffers.
    """

    def __init__(
        self, channel: Channel, function: str, sends: Mapping[int, Block], receives: Mapping[int, Block]
    ) -> None:
        self.terms = Terms(function)
        self.channel, self.sends, self.receives = channel, sends, receives
        self.sent, self.received = (
            self._buffer(sum(block.nbytes for block in some.values())) for some in (sends, receives)
        )

    def _buffer(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def move(self, meanwhile: Callable[[], None] | None = None) -> Steps:
        """Move what is in `sent`, on which the ranks have agreed, and do something `meanwhile`; steps."""
        requests = self.start()
        if meanwhile is not None:
            meanwhile()
        yield lambda: MPI.Request.Testall(requests)

    def start(self) -> list[MPI.Request]:
        """Begin to move it."""
        sync, rank = self.channel.sync, self.channel.rank
        requests = []
        for other, block in self.receives.items():
            if other != rank:
                for part in _pieces(self.received, block):
                    requests.append(sync.Irecv([part, MPI.BYTE], other, _TAG))
        for other, block in self.sends.items():
            parts = _pieces(self.sent, block)
            if other != rank:
                requests += [sync.Isend([part, MPI.BYTE], other, _TAG) for part in parts]
            else:
                for part, here in zip(parts, _pieces(self.received, self.receives[rank]), strict=True):
                    here[:] = part
        return requests

    def rounds(self) -> Any:
        """What plays it many times, beside other calls. Collective."""
        return _Rounds(self)


def _pieces(buffer: np.ndarray, block: Block) -> list[np.ndarray]:
    """A block in messages that every MPI can count."""
    whole = buffer[block.start : block.start + block.nbytes]
    return [whole[first : first + _MOST] for first in range(0, block.nbytes, _MOST)]


class _Rounds:
    """The rounds of a plan."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours, self._channel = neighbours, neighbours.channel
        self._requests: list[MPI.Request] = []

    def start(self) -> None:
        """Let the messages go."""
        with self._channel.turn(self._neighbours.terms.function):
            self._requests = self._neighbours.start()

    def wait(self) -> None:
        """Wait until they have come."""
        function, requests = self._neighbours.terms.function, self._requests
        with self._channel.turn(function):
            wait(lambda: MPI.Request.Testall(requests), self._channel, function)

    def play(self) -> None:
        """Both."""
        self.start()
        self.wait()

    def free(self, is_started: bool) -> None:
        """Nothing is kept for it."""
