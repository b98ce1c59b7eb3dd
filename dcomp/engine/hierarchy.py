"""Large collectives of ranks on several nodes: shared memory within a node, and between nodes MPI by all ranks at once.

A *lane* is a communicator of the ranks that have the same place on their nodes. The ranks of a node share the work:
each takes a slice through its lane, so all of them keep the network busy, and a byte enters or leaves a node once.
There are as many lanes as the smallest node has ranks; on larger ones the last ranks have none, and no slice.

References
----------
Traeff and Hunold, "Decomposing MPI collectives for exploiting multi-lane communication", CLUSTER 2020.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from mpi4py import MPI

from .. import _table as table
from .._calls import describe
from .._errors import DcompError, DeadlockError, UsageError
from .._layout import block_counts, displacements
from .._table import Collective
from . import mpi
from .channel import Channel
from .choose import Rule
from .operations import fold_function, mpi_operation, unit
from .requests import carry_out


class Levels:
    """Where the ranks of a communicator are. How they reach each other is set up for the first call that needs it.

    Attributes
    ----------
    node : Channel               Of this rank's node, whose ranks meet in shared memory; None at first.
    lane : MPI.Intracomm         The ranks of this place on all nodes, in the order of the nodes; or MPI.COMM_NULL.
    lanes : int                  How many there are.
    index, place : int           Of this rank's node, and of the rank on it.
    width : int                  How many ranks are on its node.
    places : list of (int, int)     Node and place of every rank.
    """

    node: Channel | None = None
    lane: Any = MPI.COMM_NULL
    _of_node: Any = MPI.COMM_NULL  # on which the node's channel drives MPI
    _is_closed = False  # the ranks of some node cannot meet

    def __init__(self, places: list[tuple[int, int]], lanes: int, rank: int, make_node: Callable) -> None:
        self.places, self.lanes, self._make_node = places, lanes, make_node
        self.index, self.place = places[rank]
        self.width = sum(index == self.index for index, _ in places)
        # Then combining nodes in their order combines ranks in theirs.
        self.is_in_order = places == sorted(places)

    def open(self, comm: MPI.Intracomm) -> bool:
        """Set up the ways of a node's ranks and of a lane's, if it has not been done; whether there are any.

        Collective over `comm`, whose ranks these are.
        """
        if self.node is None and not self._is_closed:
            self._of_node = comm.Split(self.index, comm.rank)
            self.node = self._make_node(self._of_node)
            if comm.allreduce(self.node is not None, MPI.LAND):
                self.lane = comm.Split(self.place if self.place < self.lanes else MPI.UNDEFINED, self.index)
            else:
                self._is_closed = True
                self.free()
        return not self._is_closed

    @property
    def comms(self) -> list[MPI.Intracomm]:
        """What the ranks of a node, and of a lane, have of MPI."""
        return [comm for comm in (self._of_node, self.lane) if comm]

    def call(self, row: Collective, x: Any = None, out: Any = None, **arguments: Any) -> Any:
        """A collective of the node."""
        node: Any = self.node
        return carry_out(node, describe(node, row, x, out, **arguments))

    def spread(self, route: mpi.Route, rule: Rule) -> "LanesRoute | None":
        """The route by lanes; None where MPI's own is taken. All ranks come to the same answer."""
        terms = route.terms
        if terms.row.name not in _RUN or route.parts is not None or route.scalar:
            return None
        shape = route.shape if terms.x_shape is None else terms.x_shape
        if prod(shape or ()) * route.dtype.itemsize < rule.lanes:
            return None
        if terms.row.reduces:
            keeps_order = terms.op.commutative or self.is_in_order
            if not keeps_order or fold_function(terms.op, route.native) is None:
                return None
        return LanesRoute(self, route)

    def interrupt(self, function: str, kind: type[DcompError]) -> None:
        """A call has been left on this rank or node alone."""
        if self.node is not None:
            self.node.interrupt(function, kind)

    def free(self) -> None:
        """Free the communicators; collective."""
        if self.node is not None:
            self.node.enter("free")
            self.node.free()
            self.node = None
        for comm in (self._of_node, self.lane):
            if comm:
                comm.Free()


def find_levels(nodes: Sequence[int], rank: int, make_node: Callable) -> Levels | None:
    """The levels of a communicator; None if its nodes are one, or too different.

    `nodes` tells the node of every rank; `make_node` makes a channel of a node's ranks, which is collective over them,
    or None.
    """
    order = list(dict.fromkeys(nodes))
    widths = [nodes.count(one) for one in order]
    lanes = min(widths)
    if len(order) == 1 or lanes == 1 or 2 * lanes < max(widths):  # few ranks of a node would carry what all have
        return None
    seen = dict.fromkeys(order, 0)
    places = []
    for one in nodes:
        places.append((order.index(one), seen[one]))
        seen[one] += 1
    return Levels(places, lanes, rank, make_node)


class LanesRoute:
    """How one rank takes part in a large bcast, reduce or allreduce of several nodes."""

    is_small = False

    def __init__(self, levels: Levels, route: mpi.Route) -> None:
        self.levels, self.mpi = levels, route
        self.terms, self.shape, self.scalar, self.dtype = route.terms, route.shape, route.scalar, route.dtype
        shape = route.shape if route.terms.x_shape is None else route.terms.x_shape
        self._counts = block_counts(prod(shape or ()), levels.lanes) + (0,) * (levels.width - levels.lanes)
        self._start = displacements(self._counts)[levels.place]
        self._root = levels.places[route.terms.root] if route.terms.row.rooted else (-1, -1)
        self._is_root_node = levels.index == self._root[0]
        if route.terms.row.reduces:
            self._operation, self._datatype = mpi_operation(route.terms.op, route.native)
        else:
            self._datatype = unit(route.dtype.itemsize)

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> mpi.Transfer:
        """MPI's transfer, for calls that do not block."""
        return self.mpi.bind(x, out)

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        """Move the data of a blocking call on which the ranks have agreed, and return the result."""
        flat = None if x is None else np.ascontiguousarray(x, self.mpi.native).reshape(-1)
        target = None
        if out is not None and out is not x and out.flags.c_contiguous and out.dtype == self.mpi.native:
            target = np.asarray(out).reshape(-1)
        try:
            if not self.levels.open(self.mpi.channel.sync):
                return self.mpi.run(x, out)
            whole = _RUN[self.terms.row.name](self, flat, target)
        except BaseException as error:  # on this rank or node alone: the others do not know of it
            self.mpi.channel.explain(self.terms.function, error)
            if self.mpi.channel.lost is not None:
                raise self.mpi.channel.failure(self.terms.function) from None
            kind = DeadlockError if isinstance(error, DeadlockError) else UsageError
            self.mpi.channel.interrupt(self.terms.function, kind)
            self.levels.interrupt(self.terms.function, kind)
            raise
        if self.terms.row.from_root and self.terms.is_root:
            return self.mpi.deliver(x, out)
        if whole is target and target is not None:
            return out
        return self.mpi.deliver(None if whole is None else whole.reshape(self.shape), out)

    def _slice_of(self, part: np.ndarray) -> list:
        """A slice as MPI takes it."""
        return [part.view(np.uint8), len(part), self._datatype]

    def _allreduce(self, flat: Any, target: Any) -> Any:
        levels, op = self.levels, self.terms.op
        part = levels.call(table.REDUCE_SCATTER, flat, op=op, counts=self._counts)
        if levels.lane:
            levels.lane.Allreduce(MPI.IN_PLACE, self._slice_of(part), self._operation)
        return levels.call(table.ALLGATHER, part, target, counts=self._counts)

    def _reduce(self, flat: Any, target: Any) -> Any:
        levels, op = self.levels, self.terms.op
        part = levels.call(table.REDUCE_SCATTER, flat, op=op, counts=self._counts)
        if not self._is_root_node:
            if levels.lane:
                levels.lane.Reduce(self._slice_of(part), None, self._operation, self._root[0])
            return None
        if levels.lane:
            levels.lane.Reduce(MPI.IN_PLACE, self._slice_of(part), self._operation, self._root[0])
        return levels.call(table.GATHER, part, target, counts=self._counts, root=self._root[1])

    def _bcast(self, flat: Any, target: Any) -> Any:
        levels, root = self.levels, self._root
        if self._is_root_node:
            whole = levels.call(table.BCAST, flat, None if self.terms.is_root else target, root=root[1])
            part = whole[self._start : self._start + self._counts[levels.place]]
            if levels.lane:
                levels.lane.Bcast(self._slice_of(part), root[0])
            return whole
        part = np.empty(self._counts[levels.place], self.dtype)
        if levels.lane:
            levels.lane.Bcast(self._slice_of(part), root[0])
        return levels.call(table.ALLGATHER, part, target, counts=self._counts)


_RUN: dict[str, Callable] = {
    "bcast": LanesRoute._bcast, "reduce": LanesRoute._reduce, "allreduce": LanesRoute._allreduce
}  # fmt: skip
