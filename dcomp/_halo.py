"""Ghost layers from the neighbours of a grid of ranks.

Layers are packed into one buffer, the ranks exchange theirs, and what has come is unpacked. The ranks learn each
other's blocks when one of them brings arrays that it has not brought before; from then on they know the exchange by a
number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _checks
from ._buffers import as_array, check_out
from ._calls import call_site
from ._checks import FAULTY
from ._errors import ShapeMismatchError
from ._exchanges import Exchange, ask, make_the_ordinary_way
from ._explain import Testimony
from ._ghosts import Block, Ghosts
from ._layers import make_layers
from .engine import neighbours
from .engine.agreement import accuse, gather_integers
from .engine.channel import Channel, Steps
from .engine.plans import Plan
from .engine.requests import run

_KEPT = 64  # exchanges of one grid
_INTEGERS = (int, np.integer)


class _Given:
    """The arrays of one call.

    Attributes
    ----------
    key     What tells the exchange on this rank.
    facts     What must be the same on all ranks.
    lengths     Of this rank's blocks: for each array, along each axis of the grid.
    cells     For each array: the bytes that one cell of the grid has.
    """

    def __init__(self, arrays: Sequence[np.ndarray], width: int, axes: int) -> None:
        self.arrays, self.width = arrays, width
        self.key = ("halo", width, *((one.dtype, one.shape, one.strides) for one in arrays))
        self.facts = (
            ("arrays", str(len(arrays))),
            ("width", str(width)),
            ("dtype", str([_checks.dtype_text(one.dtype) for one in arrays])),
            ("shape beyond the grid", str([one.shape[axes:] for one in arrays])),
        )
        self.lengths = [n - 2 * width for one in arrays for n in one.shape[:axes]]
        self.cells = tuple(one.dtype.itemsize * int(np.prod(one.shape[axes:])) for one in arrays)


class _Exchange(Exchange):
    """One exchange of layers.

    Attributes
    ----------
    number : int     By which the ranks know it.
    """

    def __init__(self, channel: Channel, function: str, number: int, given: _Given, ghosts: Ghosts) -> None:
        self.number, self.width = number, given.width
        self._sent, self._received = ghosts.sent(channel.rank), ghosts.received(channel.rank)
        sends = {
            rank: neighbours.Block(block.start, ghosts.received(rank)[channel.rank].start, block.nbytes)
            for rank, block in self._sent.items()
        }
        receives = {
            rank: neighbours.Block(block.start, ghosts.sent(rank)[channel.rank].start, block.nbytes)
            for rank, block in self._received.items()
        }
        super().__init__(channel, function, given.key, sends, receives, ghosts.most_sent())
        self.layers = [self._layers_of(index, one) for index, one in enumerate(given.arrays)]

    def _layers_of(self, index: int, array: np.ndarray) -> Any:
        buffers = (self.way.sent, self.way.received) if self.is_here else None
        return make_layers(array, _parts(self._sent, index, array), _parts(self._received, index, array), buffers)

    def fits(self, arrays: Sequence[Any]) -> bool:
        """Whether these are arrays such as it was made for; then what they send is in the buffer."""
        if len(arrays) != len(self.layers):
            return False
        sent = self.way.sent
        return all(layers.pack(sent, one) for layers, one in zip(self.layers, arrays, strict=True))

    def pack(self, arrays: Sequence[np.ndarray]) -> None:
        """Gather what these arrays send, whose dtypes may be equal to the former and not the same objects."""
        if not self.fits(arrays):
            self.layers = [self._layers_of(index, one) for index, one in enumerate(arrays)]
            self.fits(arrays)

    def unpack(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill their ghost layers with what has come."""
        for layers, one in zip(self.layers, arrays, strict=True):
            layers.unpack(one, self.way.received)


def _parts(blocks: dict[int, Block], index: int, array: np.ndarray) -> list:
    """The boxes of one array, and where each is in the buffer."""
    parts = []
    for block in blocks.values():
        start = block.start
        for of, nbytes, box in block.parts:
            if of == index:
                parts.append((start, box))
            start += nbytes
    return parts


class Halos:
    """The ghost layer exchanges of one grid; `known` are the calls that its ranks have made before."""

    def __init__(self, channel: Channel, dims: tuple[int, ...], periods: tuple[bool, ...], known: Any) -> None:
        self._channel, self._dims, self._periods, self._known = channel, dims, periods, known
        self._exchanges: dict[tuple, _Exchange] = {}
        self._last: _Exchange | None = None
        self._count = 0  # of exchanges that the ranks have learnt, the same on all

    def exchange(self, array: Any, width: Any) -> None:
        """Fill the ghost layers of one array or several."""
        arrays = array if type(array) is list or type(array) is tuple else (array,)
        if self._has_made_again(self._last, arrays, width):
            return
        given, fault = self._checked("halo", arrays, width)
        key = None if given is None else given.key
        exchange = self._exchanges.get(key) if key is not None else None
        if exchange is not self._last and self._has_made_again(exchange, arrays, width):
            self._last = exchange
            return
        packed = self._claim("halo", given, fault, exchange)

        def conclude(verdict: bytes | None) -> None:
            self._last = run(self._channel, "halo", self._carry_out(given, fault, packed, verdict))

        make_the_ordinary_way(self._channel, self._known, "halo", key, packed, fault, conclude)

    def plan(self, array: Any, width: Any) -> Plan:
        """The same as a plan."""
        function, channel = "halo_init", self._channel
        arrays = tuple(array) if isinstance(array, list | tuple) else (array,)
        given, fault = self._checked(function, arrays, width)
        packed = self._claim(function, given, fault, None)
        with channel.turn(function):
            verdict = ask(channel, function, packed, fault)
            exchange = run(channel, function, self._agree(function, given, fault, verdict))
            rounds = exchange.way.rounds()
        return Plan(function, _Rounds(exchange, arrays, rounds), None, gives_back=True)

    def _has_made_again(self, exchange: _Exchange | None, arrays: Sequence[Any], width: Any) -> bool:
        """Make the call if it has been made before, and the ranks know it by their tokens: whether it was made."""
        if exchange is None or not exchange.can_be_known():
            return False
        if not isinstance(width, _INTEGERS) or width != exchange.width:
            return False
        if not (exchange.fits(arrays) and exchange.make_again(self._known)):
            return False
        exchange.unpack(arrays)
        return True

    def _checked(self, function: str, arrays: Sequence[Any], width: Any) -> tuple[_Given | None, Exception | None]:
        try:
            if not isinstance(width, _INTEGERS) or width < 1:
                raise ValueError(f"{function}: width must be an integer >= 1; got {width!r}.")
            for one in arrays:
                self._check(function, one, width)
            return _Given(arrays, int(width), len(self._dims)), None
        except (TypeError, ValueError) as error:
            return None, error

    def _check(self, function: str, array: Any, width: Any) -> None:
        check_out(array, None, function, "array")
        as_array(array, function, "array")
        if array.ndim < len(self._dims):
            raise ValueError(f"{function}: array must have at least {len(self._dims)} axes; got shape {array.shape}.")
        for axis in range(len(self._dims)):
            if not (array.shape[axis] == 2 * width or array.shape[axis] >= 3 * width):
                raise ValueError(
                    f"{function}: array must hold a block of at least width={width}, or an empty one, and as many "
                    f"ghost layers on both sides along axis {axis}; got shape {array.shape}."
                )

    def _claim(self, function: str, given: _Given | None, fault: Exception | None, exchange: _Exchange | None) -> bytes:
        if fault is not None or given is None:
            return FAULTY
        number = 0 if exchange is None else exchange.number
        return _checks.pack(_checks.fingerprint(f"{function}{given.facts}"), a=(number, number))

    def _carry_out(self, given: Any, fault: Exception | None, packed: bytes, verdict: bytes | None) -> Steps:
        """From the verdict to the end."""
        exchange = yield from self._agree("halo", given, fault, verdict)
        if verdict is not None and packed == self._claim("halo", given, None, exchange):  # all have said its number
            exchange.note_agreement(packed)
        exchange.pack(given.arrays)
        yield from exchange.way.move()
        exchange.unpack(given.arrays)
        return exchange

    def _agree(self, function: str, given: Any, fault: Exception | None, verdict: bytes | None) -> Steps:
        """The exchange of these arrays; learnt by all ranks if one does not know it."""
        channel = self._channel
        if verdict is not None and not _checks.is_agreed(verdict):
            facts = () if given is None else given.facts
            yield from accuse(channel, Testimony(function, facts, call_site(), None), fault, "call")
        exchange = self._exchanges.get(given.key) if function == "halo" else None
        is_known = exchange is not None
        if verdict is not None:
            numbers = _checks.lengths(verdict, 4)
            is_known = numbers.even and numbers.least > 0
        if not is_known:
            every = given.lengths * channel.size  # unchecked, they are as long as here
            if verdict is not None:
                every = yield from gather_integers(channel, given.lengths)
            lengths = self._lengths(function, np.array(every, int).reshape(channel.size, -1, len(self._dims)), given)
            ghosts = Ghosts(self._dims, self._periods, given.width, lengths, given.cells)
            self._count += 1
            exchange = _Exchange(channel, function, self._count, given, ghosts)
            if function == "halo":
                if len(self._exchanges) >= _KEPT:
                    self._exchanges.clear()
                self._exchanges[given.key] = exchange
        return exchange

    def _lengths(self, function: str, every: np.ndarray, given: _Given) -> tuple:
        """Of the blocks, by array, axis and place; all ranks see all of them.

        Raises
        ------
        ShapeMismatchError     If ranks at the same place along an axis have others.
        """
        places = np.indices(self._dims).reshape(len(self._dims), -1)
        lengths: list[list[list[int]]] = [[[0] * p for p in self._dims] for _ in given.arrays]
        for axis, place in ((axis, place) for axis, p in enumerate(self._dims) for place in range(p)):
            ranks = np.flatnonzero(places[axis] == place)
            here = every[ranks, :, axis]
            if (here != here[0]).any():
                extents = every[:, :, axis] + 2 * given.width
                told = ", ".join(f"{tuple(extents[rank].tolist())} on rank {rank}" for rank in ranks)
                raise ShapeMismatchError(
                    f"{function}: array must have the same length along axis {axis} on all ranks at the same place of "
                    f"that axis in the grid {self._dims}; got the lengths {told} of {self._channel.size}. No data was "
                    "moved."
                )
            for index, length in enumerate(here[0].tolist()):
                lengths[index][axis][place] = length
        return tuple(tuple(map(tuple, one)) for one in lengths)


class _Rounds:
    """The rounds of a plan: layers are gathered when one begins, and are in their places when it has ended."""

    def __init__(self, exchange: _Exchange, arrays: Sequence[np.ndarray], rounds: Any) -> None:
        self._exchange, self._arrays, self._rounds = exchange, arrays, rounds

    def start(self) -> None:
        self._exchange.pack(self._arrays)
        self._rounds.start()

    def wait(self) -> None:
        self._rounds.wait()
        self._exchange.unpack(self._arrays)

    def play(self) -> None:
        self._exchange.pack(self._arrays)
        self._rounds.play()
        self._exchange.unpack(self._arrays)

    def free(self, is_started: bool) -> None:
        self._rounds.free(is_started)
