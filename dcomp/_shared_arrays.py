"""Arrays in memory that the ranks of a node share."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from mpi4py import MPI

from . import _world_map
from ._buffers import layout_of
from ._calls import call_site
from ._checks import fingerprint
from ._explain import Testimony
from .engine.agreement import accuse, gather_integers
from .engine.channel import Channel, Steps
from .engine.requests import run
from .engine.segment import node_memory


class SharedArrays:
    """What a communicator has of them."""

    _channel: Channel
    _agree: Any
    node: Any
    _let_go: list[Callable[[], None]]  # of each array that this rank keeps, and of each window

    def shared_array(self, shape: int | Sequence[int], dtype: Any = float) -> np.ndarray:
        """One array per node, zero at first, which every rank of the node reads and writes; collective.

        Parameters
        ----------
        shape, dtype     The same on every rank of the node.

        Returns
        -------
        array, C-contiguous, the same memory on all ranks of `comm.node`

        Notes
        -----
        It lies in the memory that the node's ranks share (see `dcomp.empty`), on the part of the first, and lasts until
        the communicator has been freed and no rank has it or a view of it any more. Where there is none, or that is
        full, it is an MPI-3 shared window (MPI-4.1, 12.2.3), whose memory is gone when the communicator is freed.
        What one rank writes is seen by the others after ``comm.node.barrier()``.

        Raises
        ------
        MemoryError     On every rank, if it is larger than the node's memory.
        """
        fault: Exception | None = None
        extents: tuple[int, ...] = ()
        element = np.dtype(float)
        try:
            extents, element = layout_of(shape, dtype, "shared_array")
            nbytes, limit = prod(extents) * element.itemsize, node_memory()
            if nbytes > limit:
                fault = MemoryError(
                    f"shared_array: shape {extents} of {element}: {nbytes} bytes are more than the node's {limit}"
                )
        except (TypeError, ValueError) as error:
            fault = error
        channel = self._channel
        with channel.turn("shared_array"):
            self._agree("shared_array", fault, dtype=element)
            run(channel, "shared_array", self._compare_shapes(extents))
        node = self.node
        with node._channel.turn("shared_array"):
            array = self._array_for(node, extents, element)
        if node.rank == 0:
            array[...] = np.zeros((), element)
        node.barrier()
        return array

    def _array_for(self, node: Any, extents: tuple[int, ...], element: np.dtype) -> np.ndarray:
        segment = _world_map.segment()
        array = None if segment is None else segment.array_for_all(node._channel.sync, extents, element)
        if array is None:
            nbytes = prod(extents) * element.itemsize
            window = MPI.Win.Allocate_shared(nbytes if node.rank == 0 else 0, element.itemsize or 1, comm=node.mpi)
            self._let_go.append(window.Free)
            memory, _ = window.Shared_query(0)
            array = np.ndarray(extents, element, buffer=memory)  # type: ignore[arg-type]
        elif node.rank == 0:
            self._let_go.append(partial(segment.let_go, array, node.size))
        return array

    def _compare_shapes(self, extents: tuple[int, ...]) -> Steps:
        """The ranks of a node must ask for one shape; nodes may differ. Cost: 8 bytes per rank."""
        channel = self._channel
        shapes: dict[int, set[int]] = {}
        for member, shape in zip(
            channel.members, (yield from gather_integers(channel, [fingerprint(f"{extents}")])), strict=True
        ):
            shapes.setdefault(_world_map.node_of(member), set()).add(shape)
        if max(map(len, shapes.values())) > 1:
            testimony = Testimony("shared_array", (("shape", f"{extents}"),), call_site(), None)
            yield from accuse(channel, testimony, None, "call")

    def _free_shared_arrays(self) -> None:
        for let_go in self._let_go:
            let_go()
        self._let_go = []
