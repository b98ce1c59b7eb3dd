"""Ghost layers from the neighbours of a grid of ranks.

Axis after axis, each rank sends the layers at both ends of its block, ghost layers of the axes already done
included: so corners come with two messages per axis and no diagonal ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from . import _checks
from ._buffers import as_array, check_out
from ._calls import call_site, located
from ._checks import FAULTY
from ._errors import ShapeMismatchError
from ._explain import Testimony
from .engine.agreement import accuse, gather_integers
from .engine.channel import Channel, Steps
from .engine.requests import run

_TAG = 256  # on `sync`; one for each direction of each axis


class Halos:
    """The ghost layer exchange of one grid."""

    def __init__(
        self,
        channel: Channel,
        dims: tuple[int, ...],
        coords: tuple[int, ...],
        shift: Callable[[int, int], tuple[int | None, int | None]],
    ) -> None:
        self._channel, self._dims, self._coords = channel, dims, coords
        self._neighbours = [shift(axis, 1) for axis in range(len(dims))]  # (lower, upper)
        self._known: set[tuple] = set()  # layouts of which all ranks' shapes have been seen to fit

    def exchange(self, array: Any, width: Any) -> None:
        """Check, and fill the ghost layers of one array or several."""
        channel, fault = self._channel, None
        arrays: list[np.ndarray] = []
        try:
            given = list(array) if isinstance(array, list | tuple) else [array]
            arrays = [self._checked(one, width) for one in given]
        except (TypeError, ValueError) as error:
            fault = error
        with channel.turn("halo"):
            run(channel, "halo", self._agree(arrays, width, fault))
            for axis in range(len(self._dims)):
                run(channel, "halo", self._fill(arrays, axis, width))

    def _checked(self, array: Any, width: Any) -> np.ndarray:
        if not isinstance(width, int | np.integer) or width < 1:
            raise ValueError(f"halo: width must be an integer >= 1; got {width!r}.")
        check_out(array, None, "halo", "array")
        as_array(array, "halo", "array")
        if array.ndim < len(self._dims):
            raise ValueError(f"halo: array must have at least {len(self._dims)} axes; got shape {array.shape}.")
        for axis in range(len(self._dims)):
            if array.shape[axis] < 3 * width:
                raise ValueError(
                    f"halo: array must hold a block of at least width={width} and as many ghost layers on both sides "
                    f"along axis {axis}; got shape {array.shape}."
                )
        return array

    def _agree(self, arrays: Sequence[np.ndarray], width: int, fault: Exception | None) -> Steps:
        channel, n = self._channel, len(self._dims)
        if not channel.is_checked:
            if fault is not None:
                raise located(fault, channel)
            return
        channel.count_call()
        key = (width, *((one.dtype, one.shape) for one in arrays))
        facts = tuple(
            {
                "arrays": str(len(arrays)),
                "width": str(width),
                "dtype": str([_checks.dtype_text(one.dtype) for one in arrays]),
                "shape beyond the grid": str([one.shape[n:] for one in arrays]),
            }.items()
        )
        packed = FAULTY
        if fault is None:
            packed = _checks.pack(_checks.fingerprint(f"halo{facts}"), again=key not in self._known)
        verdict = yield from channel.exchange(packed)
        testimony = Testimony("halo", facts if fault is None else (), call_site(), None)
        if not _checks.is_agreed(verdict):
            yield from accuse(channel, testimony, fault, "call")
        if _checks.asked_again(verdict):
            extents = [extent for one in arrays for extent in one.shape[:n]]
            every = yield from gather_integers(channel, extents)
            self._compare(np.array(every).reshape(channel.size, len(arrays), n))
            self._known.add(key)

    def _compare(self, extents: np.ndarray) -> None:
        """Ranks at the same place along an axis must have the same length there; all ranks see all lengths."""
        places = np.indices(self._dims).reshape(len(self._dims), -1)
        for axis, place in ((axis, place) for axis, p in enumerate(self._dims) for place in range(p)):
            ranks = np.flatnonzero(places[axis] == place)
            lengths = extents[ranks, :, axis]
            if (lengths != lengths[0]).any():
                told = ", ".join(f"{tuple(extents[rank].ravel().tolist())} on rank {rank}" for rank in ranks)
                raise ShapeMismatchError(
                    f"halo: array must have the same length along axis {axis} on all ranks at the same place of that "
                    f"axis in the grid {self._dims}; got the lengths {told} of {self._channel.size}. No data was moved."
                )

    def _fill(self, arrays: Sequence[np.ndarray], axis: int, width: int) -> Steps:
        """Exchange both ends along one axis."""
        sync = self._channel.sync
        lower, upper = self._neighbours[axis]
        ends = (slice(width, 2 * width), slice(-2 * width, -width))  # sent to lower, to upper
        ghosts = (slice(0, width), slice(-width, None))  # received from lower, from upper
        requests, arriving = [], []
        for side, neighbour in enumerate((lower, upper)):
            if neighbour is not None:
                buffer = np.empty(sum(_layer(one, axis, ghosts[side]).nbytes for one in arrays), np.uint8)
                arriving.append((buffer, ghosts[side]))
                # What comes from below was sent upwards: direction 1.
                requests.append(sync.Irecv([buffer, MPI.BYTE], neighbour, _TAG + 2 * axis + 1 - side))
        for side, neighbour in enumerate((lower, upper)):
            if neighbour is not None:
                parts = [np.ascontiguousarray(_layer(one, axis, ends[side])) for one in arrays]
                packed = np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])
                requests.append(sync.Isend([packed, MPI.BYTE], neighbour, _TAG + 2 * axis + side))
        yield lambda: MPI.Request.Testall(requests)
        for buffer, where in arriving:
            start = 0
            for one in arrays:
                layer = _layer(one, axis, where)
                part = buffer[start : start + layer.nbytes]
                layer[...] = part.view(one.dtype).reshape(layer.shape)
                start += layer.nbytes


def _layer(array: np.ndarray, axis: int, where: slice) -> np.ndarray:
    return array[(slice(None),) * axis + (where,)]
