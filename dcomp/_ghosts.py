"""Which layers of a rank's blocks are ghost layers of which other ranks: pure arithmetic, no MPI.

Every rank has a block of each array, with `width` ghost layers on both sides of every axis of the grid. It sends the
layers inside its faces, edges and corners, each straight to the rank that lies there, so all messages can go at once.
Ranks whose block is empty are passed over: their neighbours are each other's.
"""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

#: The first and the last index, one more than that, along every axis of the grid.
Box = tuple[tuple[int, int], ...]


class Block(NamedTuple):
    """What goes from one rank to another: its place in the buffer of either, and its parts in order."""

    start: int
    nbytes: int
    parts: list[tuple[int, int, Box]]  # array, bytes, and box


class Ghosts(NamedTuple):
    """One exchange, as all ranks know it.

    Attributes
    ----------
    lengths     For each array, axis of the grid and place along it: the length of the blocks there.
    cells       For each array: the bytes that one cell of the grid has.
    """

    dims: tuple[int, ...]
    periods: tuple[bool, ...]
    width: int
    lengths: tuple[tuple[tuple[int, ...], ...], ...]
    cells: tuple[int, ...]

    def sent(self, rank: int) -> dict[int, Block]:
        """What a rank sends, by the rank that gets it."""
        return self._blocks(rank, 1)

    def received(self, rank: int) -> dict[int, Block]:
        """What a rank receives, by the rank that it comes from."""
        return self._blocks(rank, -1)

    def most_sent(self) -> int:
        """Bytes that the rank sends that sends most."""
        return max(sum(block.nbytes for block in self.sent(rank).values()) for rank in range(prod(self.dims)))

    def _blocks(self, rank: int, way: int) -> dict[int, Block]:
        """Both ends of a block have its parts in one order: by array, and by the direction in which they go."""
        coords = tuple(int(one) for one in np.unravel_index(rank, self.dims))
        parts: dict[int, list[tuple[int, int, Box]]] = {}
        for array, direction in product(range(len(self.cells)), _directions(len(self.dims))):
            other = self._beside(array, coords, tuple(way * step for step in direction))
            if other is not None:
                box = self._box(array, coords, direction, is_sent=way > 0)
                nbytes = self.cells[array] * prod(last - first for first, last in box)
                parts.setdefault(other, []).append((array, nbytes, box))
        blocks, start = {}, 0
        for other in sorted(parts):
            nbytes = sum(nbytes for _, nbytes, _ in parts[other])
            blocks[other] = Block(start, nbytes, parts[other])
            start += nbytes
        return blocks

    def _beside(self, array: int, coords: tuple[int, ...], direction: tuple[int, ...]) -> int | None:
        """The rank in a direction; None beyond an edge, and of an empty block."""
        place = []
        for axis, (coord, step) in enumerate(zip(coords, direction, strict=True)):
            if self.lengths[array][axis][coord] == 0:
                return None
            coordinate = coord if step == 0 else self._next(array, axis, coord, step)
            if coordinate is None:
                return None
            place.append(coordinate)
        return int(np.ravel_multi_index(place, self.dims))

    def _next(self, array: int, axis: int, coord: int, step: int) -> int | None:
        """The place along an axis of the next block that is not empty: on a closed axis in the end its own."""
        lengths, n = self.lengths[array][axis], self.dims[axis]
        for _ in range(n):
            coord += step
            if not (self.periods[axis] or 0 <= coord < n):
                return None
            coord %= n
            if lengths[coord]:
                return coord
        return None

    def _box(self, array: int, coords: tuple[int, ...], direction: tuple[int, ...], *, is_sent: bool) -> Box:
        """Layers of a block that are sent in a direction, or its ghost layers that come from where others send so.

        At an edge of the grid ghost layers belong to the block: they are boundary values, which go along.
        """
        width, box = self.width, []
        for axis, (coord, step) in enumerate(zip(coords, direction, strict=True)):
            n = self.lengths[array][axis][coord]
            if step == 0:
                lower, upper = (self._next(array, axis, coord, side) for side in (-1, 1))
                box.append((0 if lower is None else width, n + (2 * width if upper is None else width)))
            elif is_sent:
                box.append((width, 2 * width) if step < 0 else (n, n + width))
            else:
                box.append((n + width, n + 2 * width) if step < 0 else (0, width))
        return tuple(box)


def _directions(axes: int) -> Iterator[tuple[int, ...]]:
    return (steps for steps in product((-1, 0, 1), repeat=axes) if any(steps))
