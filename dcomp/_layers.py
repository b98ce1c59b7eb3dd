"""Boxes of an array in a buffer, and back: with NumPy, or, where numba has been started, compiled."""

from typing import Any

import numpy as np

from ._ghosts import Box

Part = tuple[int, Box]  # where a box begins in the buffer


class Layers:
    """What of one array goes into a buffer, and comes out of another.

    `pack` says whether it could: whether this is an array of the layout that this was made for.
    """

    def __init__(self, array: np.ndarray, packed: list[Part], unpacked: list[Part]) -> None:
        self._layout = array.dtype, array.shape, array.strides
        self._packed, self._unpacked = packed, unpacked

    def pack(self, buffer: np.ndarray, array: np.ndarray) -> bool:
        """Gather the boxes that are sent."""
        if (array.dtype, array.shape, array.strides) != self._layout:
            return False
        for start, box in self._packed:
            part = array[_slices(box)]
            buffer[start : start + part.nbytes].view(part.dtype).reshape(part.shape)[...] = part
        return True

    def unpack(self, array: np.ndarray, buffer: np.ndarray) -> None:
        """Put the boxes that were received where they belong."""
        for start, box in self._unpacked:
            part = array[_slices(box)]
            part[...] = buffer[start : start + part.nbytes].view(part.dtype).reshape(part.shape)


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(first, last) for first, last in box)


class CompiledLayers:
    """The same, of a table (see `kernels/boxes.py`) for buffers that stay where they are."""

    def __init__(
        self, array: np.ndarray, packed: list[Part], unpacked: list[Part], sent: np.ndarray, received: np.ndarray
    ) -> None:
        from .engine.meeting import DATA
        from .engine.segment import address_of
        from .kernels import boxes, ready
        from .kernels import words as w

        rows = [_row(array, *part) for part in (*packed, *unpacked)]
        loops = max((len(extents) for *_, extents, _ in rows), default=1)
        words = [DATA, id(np.ndarray), 0, len(packed), len(unpacked), loops]
        for in_array, in_buffer, run, extents, strides in rows:
            more = (1,) * (loops - len(extents)), (0,) * (loops - len(extents))
            words += [in_array, in_buffer, run, *more[0], *extents, *more[1], *strides]
        self._table = np.array(words, np.int64)
        self._dtype = array.dtype  # whose address is the layout's
        self._layout = np.array([id(array.dtype), array.ndim, *array.shape, *array.strides], np.int64)
        self._table[w.BOX_LAYOUT] = address_of(self._layout)
        self._pack, self._unpack = ready.entry_point(boxes.pack), ready.entry_point(boxes.unpack)
        self._sent, self._received = address_of(sent), address_of(received)
        self._address = address_of(self._table)

    def pack(self, buffer: np.ndarray, array: np.ndarray) -> bool:
        return self._pack(self._sent, self._address, array)

    def unpack(self, array: np.ndarray, buffer: np.ndarray) -> None:
        self._unpack(array, self._address, self._received)


def _row(array: np.ndarray, start: int, box: Box) -> tuple[int, int, int, tuple[int, ...], tuple[int, ...]]:
    """Where a box lies in the array and in the buffer, the bytes that lie together, and the loops around them."""
    part = array[_slices(box)]
    offset = sum(first * stride for (first, _), stride in zip(box, array.strides, strict=False))
    run = array.itemsize
    loops: list[tuple[int, int]] = []
    for extent, stride in zip(reversed(part.shape), reversed(part.strides), strict=True):  # the innermost first
        if extent == 1:
            continue
        if not loops and stride == run:
            run *= extent
        elif loops and stride == loops[-1][0] * loops[-1][1]:
            loops[-1] = loops[-1][0] * extent, loops[-1][1]
        else:
            loops.append((extent, stride))
    loops = loops[::-1] or [(1, 0)]
    return offset, start, run, tuple(extent for extent, _ in loops), tuple(stride for _, stride in loops)


def make_layers(array: np.ndarray, packed: list[Part], unpacked: list[Part], buffers: Any) -> Any:
    """Compiled, if there are `buffers` that stay: the one that is sent, and the one that receives."""
    return Layers(array, packed, unpacked) if buffers is None else CompiledLayers(array, packed, unpacked, *buffers)
