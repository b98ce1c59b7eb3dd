"""Messages of 2**31 elements and more, for an MPI whose counts are C ints (before MPI-4).

They are cut into pieces that MPI can count. What is elementwise is cut along the elements, each piece a
collective of its own; blocks go point to point, each in pieces, since displacements would overflow as well.
All functions here return what makes, of the bytes of the buffers, a function that starts the pieces.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI

from .._layout import displacements

if TYPE_CHECKING:
    from .mpi import Route

LIMIT = 2**31 - 1  # elements in one MPI call; tests make it small
force = False  # tests cut even where the MPI could count
_HAS_LARGE_COUNTS = MPI.Get_version() >= (4, 0)
_TAG = 32000  # of pieces on `sync`, where no user's message travels

Starter = Callable[[], list[MPI.Request]]


def too_many(elements: int) -> bool:
    """Whether this many elements must go in pieces."""
    return elements > LIMIT and (force or not _HAS_LARGE_COUNTS)


def too_many_to_reduce(elements: int) -> bool:
    """The same for reductions: MPICH 5.0 takes large counts there, and then stops at an assertion."""
    return elements > LIMIT


def spans(elements: int) -> Iterator[tuple[int, int]]:
    """Start and length of the pieces of `elements`, in order; nothing is one empty piece."""
    size = min(LIMIT, 2**30)
    for start in range(0, max(elements, 1), size):
        yield start, min(size, elements - start)


def bcast(route: "Route") -> Callable[[np.ndarray], Starter]:
    """The pieces of a broadcast."""
    count, datatype = route.receives or (0, MPI.BYTE)
    itemsize = route.dtype.itemsize

    def bind(buffer: np.ndarray) -> Starter:
        raw = buffer.reshape(-1).view(np.uint8)

        def start() -> list[MPI.Request]:
            return [
                route.comm.Ibcast([raw[at * itemsize : (at + n) * itemsize], n, datatype], route.terms.root)
                for at, n in spans(count)
            ]

        return start

    return bind


def reduction(route: "Route", operation: MPI.Op, datatype: MPI.Datatype) -> Callable[[Any, Any], Starter]:
    """The pieces of a reduction; reduce_scatter becomes a reduce to every rank of its block."""
    terms, data, itemsize = route.terms, route.comm, route.native.itemsize
    name = terms.row.name
    count = prod(terms.x_shape or ())

    def bind(send: np.ndarray, received: np.ndarray | None) -> Starter:
        in_place = send is not None and received is not None and send.ctypes.data == received.ctypes.data

        def one(at: int, n: int, into: np.ndarray | None, into_at: int, root: int) -> MPI.Request:
            source: Any = [send[at * itemsize : (at + n) * itemsize], n, datatype]
            target = None
            if into is not None:
                target = [into[into_at * itemsize : (into_at + n) * itemsize], n, datatype]
            if in_place and name != "reduce_scatter":
                source = MPI.IN_PLACE
            if name in ("reduce", "reduce_scatter"):
                return data.Ireduce(source, target, operation, root)
            method = {"allreduce": data.Iallreduce, "scan": data.Iscan, "exscan": data.Iexscan}[name]
            return method(source, target, operation)

        def start() -> list[MPI.Request]:
            if name != "reduce_scatter":
                return [one(at, n, received, at, terms.root) for at, n in spans(count)]
            step = count // max(sum(route.agreed.counts), 1)
            counts = [n * step for n in route.agreed.counts]
            requests = []
            for rank, (first, length) in enumerate(zip(displacements(counts), counts, strict=True)):
                into = received if rank == terms.rank else None
                requests += [one(first + at, n, into, at, rank) for at, n in spans(length) if n]
            return requests

        return start

    return bind


def blocks(route: "Route", sent: list[int], got: list[int], datatype: MPI.Datatype) -> Callable[[Any, Any], Starter]:
    """The pieces of scatter, gather, allgather and alltoall, point to point; counts are in elements."""
    terms, sync, itemsize = route.terms, route.channel.sync, route.dtype.itemsize
    name, size = terms.row.name, terms.size
    # (rank, start, count) of each block sent and received.
    if name == "gather":
        outgoing = [(terms.root, 0, sent[0])]
    elif name == "allgather":
        outgoing = [(rank, 0, sent[0]) for rank in range(size)]
    else:
        outgoing = list(zip(range(size), displacements(sent), sent, strict=False))
    if name == "scatter":
        incoming = [(terms.root, 0, got[0])]
    else:
        incoming = list(zip(range(size), displacements(got), got, strict=False))

    def parts(raw: np.ndarray, first: int, count: int) -> Iterator[list]:
        for at, n in spans(count):
            start = (first + at) * itemsize
            yield [raw[start : start + n * itemsize], n, datatype]

    def bind(send: np.ndarray | None, received: np.ndarray | None) -> Starter:
        def start() -> list[MPI.Request]:
            requests = []
            if received is not None:
                for rank, first, count in incoming:
                    requests += [sync.Irecv(part, rank, _TAG) for part in parts(received, first, count)]
            if send is not None:
                for rank, first, count in outgoing:
                    requests += [sync.Isend(part, rank, _TAG) for part in parts(send, first, count)]
            return requests

        return start

    return bind
