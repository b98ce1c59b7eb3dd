"""Large collectives of ranks on several nodes: shared memory within a node, and between nodes MPI by all ranks at once.

A *lane* is a communicator of the ranks that have the same place on their nodes. The ranks of a node share the work:
each takes a slice through its lane, so all of them keep the network busy, and a byte enters or leaves a node once.

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
from .._errors import DeadlockError, UsageError
from .._layout import block_counts, displacements
from .._table import Collective
from . import mpi
from .channel import Channel
from .choose import Rule
from .operations import fold_function, mpi_operation, unit
from .requests import carry_out


class Levels:
    """Where the ranks of a communicator are: nodes of equally many ranks.

    Attributes
    ----------
    node : Channel               Of this rank's node; its ranks meet in shared memory.
    lane : MPI.Intracomm         The ranks of this place on all nodes, in the order of the nodes.
    place, width : int           Of this rank on its node, and how many there are.
    places : list of (int, int)     Node and place of every rank.
    """

    def __init__(
        self,
        node: Channel,
        of_node: MPI.Intracomm,
        lane: MPI.Intracomm,
        places: list[tuple[int, int]],
        rank: int,
    ) -> None:
        self.node, self.lane, self.places = node, lane, places
        self._of_node = of_node  # on which the node's channel drives MPI
        self.index, self.place = places[rank]
        self.width = node.size
        # Then combining nodes in their order combines ranks in theirs.
        self.is_in_order = places == sorted(places)

    def call(self, row: Collective, x: Any = None, out: Any = None, **arguments: Any) -> Any:
        """A collective of the node."""
        return carry_out(self.node, describe(self.node, row, x, out, **arguments))

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

    def free(self) -> None:
        """Free the communicators; collective."""
        self.node.enter("free")
        self.node.free()
        self._of_node.Free()
        self.lane.Free()


def make_levels(comm: MPI.Intracomm, nodes: Sequence[int], make_node: Callable) -> Levels | None:
    """The levels of a communicator; None if its nodes are one, or of different widths, or a node's ranks cannot meet.

    Collective over `comm`. `nodes` tells the node of every rank; `make_node` makes a channel of a node's ranks, or
    None.
    """
    order = list(dict.fromkeys(nodes))
    width = len(nodes) // len(order)
    if len(order) == 1 or width == 1 or any(nodes.count(one) != width for one in order):
        return None
    seen = dict.fromkeys(order, 0)
    places = []
    for one in nodes:
        places.append((order.index(one), seen[one]))
        seen[one] += 1
    index, place = places[comm.rank]
    of_node: Any = comm.Split(index, comm.rank)
    node = make_node(of_node)
    if not comm.allreduce(node is not None, MPI.LAND):
        if node is not None:
            node.enter("free")
            node.free()
        of_node.Free()
        return None
    lane: Any = comm.Split(place, index)
    return Levels(node, of_node, lane, places, comm.rank)


class LanesRoute:
    """How one rank takes part in a large bcast, reduce or allreduce of several nodes."""

    is_small = False

    def __init__(self, levels: Levels, route: mpi.Route) -> None:
        self.levels, self.mpi = levels, route
        self.terms, self.shape, self.scalar, self.dtype = route.terms, route.shape, route.scalar, route.dtype
        shape = route.shape if route.terms.x_shape is None else route.terms.x_shape
        self._counts = block_counts(prod(shape or ()), levels.width)
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
            whole = _RUN[self.terms.row.name](self, flat, target)
        except BaseException as error:  # on this rank or node alone: the others do not know of it
            kind = DeadlockError if isinstance(error, DeadlockError) else UsageError
            self.mpi.channel.interrupt(self.terms.function, kind)
            self.levels.node.interrupt(self.terms.function, kind)
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
        levels.lane.Allreduce(MPI.IN_PLACE, self._slice_of(part), self._operation)
        return levels.call(table.ALLGATHER, part, target, counts=self._counts)

    def _reduce(self, flat: Any, target: Any) -> Any:
        levels, op = self.levels, self.terms.op
        part = levels.call(table.REDUCE_SCATTER, flat, op=op, counts=self._counts)
        if not self._is_root_node:
            levels.lane.Reduce(self._slice_of(part), None, self._operation, self._root[0])
            return None
        levels.lane.Reduce(MPI.IN_PLACE, self._slice_of(part), self._operation, self._root[0])
        return levels.call(table.GATHER, part, target, counts=self._counts, root=self._root[1])

    def _bcast(self, flat: Any, target: Any) -> Any:
        levels, root = self.levels, self._root
        if self._is_root_node:
            whole = levels.call(table.BCAST, flat, None if self.terms.is_root else target, root=root[1])
            part = whole[self._start : self._start + self._counts[levels.place]]
            levels.lane.Bcast(self._slice_of(part), root[0])
            return whole
        part = np.empty(self._counts[levels.place], self.dtype)
        levels.lane.Bcast(self._slice_of(part), root[0])
        return levels.call(table.ALLGATHER, part, target, counts=self._counts)


_RUN: dict[str, Callable] = {
    "bcast": LanesRoute._bcast, "reduce": LanesRoute._reduce, "allreduce": LanesRoute._allreduce
}  # fmt: skip
