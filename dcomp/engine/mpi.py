"""How MPI carries out a collective on which the ranks have agreed.

A `Route` holds what does not change from call to call on the same terms: MPI's method, counts and datatypes.
Bound to arrays it becomes a `Transfer`. mpi4py's blocking, non-blocking and persistent methods take the same
arguments, so one transfer serves all three.

Blocks are cut and joined along the first axis. For another axis x is packed with that axis in front, and the
result is unpacked. A message of 2**31 elements and more goes in pieces where the MPI's counts are C ints.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from mpi4py import MPI

from .._calls import Agreed, Terms
from .._layout import displacements
from .._table import Shape
from . import pieces
from .channel import Channel
from .operations import mpi_operation, unit

#: Persistent collectives that an MPI gets wrong. Intel MPI 2021.18 sends from the second start on, and gathers at every
#: start, what was in the arrays before; with counts for each rank (the "v" forms) it does not.
_BROKEN = {"Intel MPI": ("Scatter", "Gather", "Allgather")}.get(MPI.get_vendor()[0], ())
_KNOWN = frozenset("?bhilqBHILQfdgFDG")  # dtypes that mpi4py takes as they are; others go as bytes


class Transfer:
    """One rank's part in moving the data of one call.

    `pack` copies x into the send buffer where that is not x itself; `arguments` are mpi4py's, or `parts` starts
    the requests of a transfer in pieces; `finish` makes the result for the user.
    """

    __slots__ = ("route", "arguments", "finish", "pack", "parts")

    def __init__(
        self,
        route: "Route",
        arguments: tuple,
        finish: Callable[[], Any],
        pack: Callable[[], None] | None,
        parts: Callable[[], list[MPI.Request]] | None,
    ) -> None:
        self.route = route
        self.arguments = arguments
        self.finish = finish
        self.pack = pack
        self.parts = parts

    def run(self) -> Any:
        """Move the data and return the result."""
        if self.pack is not None:
            self.pack()
        if self.parts is not None:
            MPI.Request.Waitall(self.parts())
        else:
            self.route.method(*self.arguments)
        return self.finish()

    def start(self) -> list[MPI.Request]:
        """Begin to move the data."""
        if self.pack is not None:
            self.pack()
        if self.parts is not None:
            return self.parts()
        route = self.route
        return [getattr(route.comm, "I" + route.name.lower())(*self.arguments)]

    def prepare(self) -> MPI.Prequest | None:
        """A persistent request for it; None where there is none, and `start` serves every time."""
        if self.parts is not None or self.route.name in _BROKEN:
            return None
        try:
            return getattr(self.route.comm, self.route.name + "_init")(*self.arguments)
        except NotImplementedError:
            return None


class Route:
    """How one rank takes part in a collective that cuts, joins or combines arrays."""

    is_small = False  # in shared memory calls are, which need no one to go on

    def __init__(self, channel: Channel, terms: Terms, agreed: Agreed) -> None:
        self.channel, self.terms, self.agreed = channel, terms, agreed
        self.comm = channel.data
        self.shape, self.scalar = agreed.shape, agreed.scalar
        self.dtype = agreed.dtype or np.dtype(np.uint8)
        self.name = terms.row.mpi
        self.axis = self.join = terms.axis
        self.native = self.dtype  # in which MPI computes
        self.sends: tuple | None = None  # count, or (counts, displacements), and datatype
        self.receives: tuple | None = None
        self.extra: tuple = ()
        self.parts: Callable | None = None
        self.identity: Any = None
        _LAY[terms.row.shape](self)
        self.method = getattr(self.comm, self.name)
        swapped = self.native != self.dtype
        self.is_plain = not (self.axis or self.join or swapped or self.parts or self.identity is not None)
        self.is_known = self.native.char in _KNOWN
        # Where x is never received into: in alltoall MPI_IN_PLACE means blocks of the same lengths in both directions,
        # and all ranks have to pass it, as in reduce_scatter; in scatter it stands elsewhere.
        self.keeps_x = terms.row.shape in (Shape.TRANSPOSE, Shape.SPLIT, Shape.REDUCE_SPLIT)

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        """Move the data of a blocking call and return the result."""
        if not (
            self.is_plain
            and self.is_known
            and (x is None or x.flags.c_contiguous)
            and (out is None or out.flags.c_contiguous)
            and not (self.keeps_x and x is out)
        ):
            return self.bind(x, out).run()
        received = out
        if out is None and self.shape is not None:
            received = np.empty(self.shape, self.dtype)
        self.method(*self._arguments(x, received, x is out))
        return received[()] if self.scalar and out is None and received is not None else received

    def _arguments(self, send: Any, received: Any, in_place: bool) -> tuple:
        if self.terms.row.shape is Shape.NONE:
            return ()
        sent = None
        if self.sends is not None:
            sent = MPI.IN_PLACE if in_place else [send, *self.sends]
        got = None if self.receives is None else [received, *self.receives]
        return (sent, got, *self.extra)

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> Transfer:
        """The transfer of these arrays."""
        axis, join, native = self.axis, self.join, self.native
        send, pack = x, None
        if x is not None and (axis or native != x.dtype or not x.flags.c_contiguous or (self.keeps_x and x is out)):
            source = np.moveaxis(x, axis, 0) if axis else x
            send = np.empty(source.shape, native)

            def pack() -> None:
                np.copyto(send, source)

        received = None
        if self.shape is not None:
            front = (self.shape[join], *self.shape[:join], *self.shape[join + 1 :]) if join else self.shape
            usable = out is not None and not join and native == out.dtype and out.flags.c_contiguous
            received = out if usable else np.empty(front, native)
        arguments = self._arguments(_raw(send), _raw(received), x is out and send is received and x is not None)

        def finish() -> Any:
            return self.deliver(received, out)

        parts = None
        if self.parts is not None:
            parts = self.parts(_raw(send), _raw(received))
        return Transfer(self, arguments, finish, pack, parts)

    def deliver(self, received: np.ndarray | None, out: np.ndarray | None) -> Any:
        """The result for the user, from what has arrived."""
        if received is None:
            return None
        if self.identity is not None:
            received[...] = self.identity
        if received is out:
            return out
        result = np.moveaxis(received, 0, self.join) if self.join else received
        if out is not None:
            out[...] = result
            return out
        if self.scalar:
            return result.astype(self.dtype)[()] if self.native != self.dtype else result[()]
        return np.asarray(result, self.dtype, order="C")


class _BroadcastRoute(Route):
    """On the root the buffer is x itself where it can be."""

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        if x is None or out is None or x is out:
            buffer = out if x is None else x
            if buffer is None:
                buffer = np.empty(self.shape or (), self.dtype)
            is_plain = self.is_plain and self.is_known and not self.scalar
            if is_plain and buffer.flags.c_contiguous and buffer.dtype.isnative:
                self.method([buffer, *(self.receives or ())], *self.extra)
                return buffer
        return self.bind(x, out).run()

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> Transfer:
        pack = None
        if x is not None and x.flags.c_contiguous and (out is None or out is x):
            buffer = x
        elif out is not None and out.flags.c_contiguous:
            buffer = out
        else:
            buffer = np.empty(self.shape or (), self.dtype)
        if x is not None and buffer is not x:

            def pack() -> None:
                np.copyto(buffer, x)

        def finish() -> Any:
            if out is None or buffer is out:
                return buffer[()] if self.scalar and out is None else buffer
            out[...] = buffer
            return out

        raw = buffer if self.is_known and buffer.dtype.isnative else _raw(buffer)
        parts = self.parts(raw) if self.parts is not None else None
        return Transfer(self, ([raw, *(self.receives or ())], *self.extra), finish, pack, parts)


class _AcrossRoute(Route):
    """alltoall that cuts along one axis and joins along another: blocks arrive in a row, then find their place."""

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        return self.bind(x, out).run()

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> Transfer:
        axis, shape = self.terms.axis, self.shape or ()
        arriving = np.empty(prod(shape), self.dtype)
        plain = super().bind(x, arriving)

        def finish() -> Any:
            result = np.empty(shape, self.dtype) if out is None else out
            self._place(arriving, np.moveaxis(result, axis, 0))
            return result

        arguments = (plain.arguments[0], [_raw(arriving), *(self.receives or ())])
        parts = None if self.parts is None else self.parts(plain.arguments[0][0], _raw(arriving))
        return Transfer(self, arguments, finish, plain.pack, parts)

    def _place(self, arriving: np.ndarray, target: np.ndarray) -> None:
        """Put the blocks, each with the axis that was cut in front, side by side into `target`."""
        join, axis = self.terms.concat_axis, self.terms.axis
        place = join + (join < axis)  # in target, whose axes before the one cut have moved on
        start = offset = 0
        for n in self.agreed.recv_counts:
            where = [slice(None)] * target.ndim
            where[place] = slice(offset, offset + n)
            part = target[tuple(where)]
            part[...] = arriving[start : start + part.size].reshape(part.shape)
            start, offset = start + part.size, offset + n


def make_route(channel: Channel, terms: Terms, agreed: Agreed) -> Route:
    """The route of a call on which the ranks have agreed."""
    if terms.row.shape is Shape.BROADCAST:
        return _BroadcastRoute(channel, terms, agreed)
    if terms.row.shape is Shape.TRANSPOSE and terms.axis != terms.concat_axis:
        return _AcrossRoute(channel, terms, agreed)
    return Route(channel, terms, agreed)


def _lay_nothing(route: Route) -> None:
    """A barrier has no arguments."""


def _lay_broadcast(route: Route) -> None:
    size = prod(route.shape or ())
    route.receives = (size, unit(route.dtype.itemsize))
    route.extra = (route.terms.root,)
    route.axis = route.join = 0
    if pieces.too_many(size):
        route.parts = pieces.bcast(route)


def _lay_blocks(route: Route) -> None:
    """scatter, gather, allgather and alltoall: blocks of elements, moved as they are."""
    terms, agreed, name = route.terms, route.agreed, route.terms.row.name
    datatype = unit(route.dtype.itemsize)
    if name == "alltoall":
        route.join = terms.concat_axis
    if name == "scatter" and route.shape is not None:
        route.axis %= len(route.shape)
        route.join = 0 if route.axis == 0 else route.axis
    sent: list[int] = []
    got: list[int] = []
    if terms.x_shape is not None:
        step = _step(terms.x_shape, route.axis)
        lengths = agreed.counts if name in ("scatter", "alltoall") else (terms.x_shape[route.axis],)
        sent = [n * step for n in lengths]
    if route.shape is not None:
        step = _step(route.shape, route.join)
        if name == "scatter":
            lengths = (route.shape[route.axis],)
        else:
            lengths = agreed.recv_counts if name == "alltoall" else agreed.counts
        got = [n * step for n in lengths]
    # What all ranks know alike decides, for they must call the same function of MPI.
    even = agreed.even
    if even:
        route.name = route.name.removesuffix("v")
    cut = name in ("scatter", "alltoall")
    route.sends = None if terms.x_shape is None else _spec(sent, datatype, even or not cut)
    route.receives = None if route.shape is None else _spec(got, datatype, even or name == "scatter")
    if terms.row.rooted:
        route.extra = (terms.root,)
    if agreed.big:
        route.parts = pieces.blocks(route, sent, got, datatype)


def _spec(counts: list[int], datatype: MPI.Datatype, single: bool) -> tuple:
    if single:
        return (counts[0] if counts else 0, datatype)
    return ((counts, displacements(counts)), datatype)


def _lay_reduction(route: Route) -> None:
    """reduce, allreduce, scan, exscan and reduce_scatter."""
    terms, agreed = route.terms, route.agreed
    name, size = terms.row.name, prod(terms.x_shape or ())
    route.native = route.dtype.newbyteorder("=")
    operation, datatype = mpi_operation(terms.op, route.native)
    route.sends = (size, datatype)
    route.extra = (operation,)
    if route.shape is not None:
        route.receives = (prod(route.shape), datatype)
    if name == "reduce":
        route.extra = (operation, terms.root)
    elif name == "reduce_scatter":
        step = _step(terms.x_shape or (1,), route.axis)
        # Also for equal blocks: Open MPI's MPI_Reduce_scatter_block takes twice the time from 1 MiB on.
        route.extra = ([n * step for n in agreed.counts], operation)
    elif name == "exscan" and terms.rank == 0:
        route.identity = terms.op.identity_for(route.native)
    if pieces.too_many_to_reduce(size):
        route.parts = pieces.reduction(route, operation, datatype)


_LAY: dict[Shape, Callable[[Route], None]] = {
    Shape.NONE: _lay_nothing,
    Shape.BROADCAST: _lay_broadcast,
    Shape.SPLIT: _lay_blocks,
    Shape.CONCATENATE: _lay_blocks,
    Shape.TRANSPOSE: _lay_blocks,
    Shape.ELEMENTWISE: _lay_reduction,
    Shape.REDUCE_SPLIT: _lay_reduction,
}


def _step(shape: tuple[int, ...], axis: int) -> int:
    """Elements in one step along `axis`."""
    return prod(shape[:axis]) * prod(shape[axis + 1 :])


def _raw(array: np.ndarray | None) -> np.ndarray | None:
    """The bytes of a C-contiguous array: mpi4py must not look at a dtype that it may not know."""
    return None if array is None else array.reshape(-1).view(np.uint8)
