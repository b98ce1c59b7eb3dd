"""Arrays in the memory that the ranks of a node share."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from . import _world_map
from ._buffers import as_array, layout_of
from ._world import world

_SMALL = 8192  # bytes, up to which calls leave a copy with the others in any case


def empty(shape: int | Sequence[int], dtype: Any = float) -> np.ndarray:
    """A new array whose contents are not set, where the ranks of this node can read and write it.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : any of NumPy's of fixed size, but no strings and no Python objects

    Returns
    -------
    array, C-contiguous

    Raises
    ------
    TypeError, ValueError     As from `numpy.empty`, and for strings and Python objects.

    Notes
    -----
    Use it as any other array. As `x` of a collective, the other ranks of the node read it where it lies; as `out`, they
    write there: nothing is copied on the way. An ordinary array all the same where no memory is shared, where that is
    full (``DCOMP_HEAP``), or up to 8 KiB. The memory is used again when neither the array nor a view of it is left.

    Not collective, but for the first use of dcomp. Cost: some microseconds; none for touching pages, if such an array
    has been there before.
    """
    return _make(shape, dtype, "empty")


def zeros(shape: int | Sequence[int], dtype: Any = float) -> np.ndarray:
    """The same as `empty`, full of zeros."""
    array = _make(shape, dtype, "zeros")
    array[...] = np.zeros((), array.dtype)
    return array


def empty_like(x: Any) -> np.ndarray:
    """The same as `empty`, of the shape and dtype of `x`."""
    array, _ = as_array(x, "empty_like")
    return _make(array.shape, array.dtype, "empty_like")


def _make(shape: Any, dtype: Any, function: str) -> np.ndarray:
    world()
    extents, element = layout_of(shape, dtype, function)
    segment = _world_map.segment()
    is_small = prod(extents) * element.itemsize <= _SMALL
    made = None if segment is None or is_small else segment.empty(extents, element)
    return np.empty(extents, element) if made is None else made
