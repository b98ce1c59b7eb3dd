"""Collectives without checks: straight to MPI wherever a call leaves nothing to be worked out.

With ``DCOMP_CHECK=off`` these take the place of a communicator's methods. They serve plain arrays in C order
with `out=` given, and even blocks; any other call goes the ordinary way. All ranks must take the same way, so
what decides is what is the same on all ranks of a correct call. mpi4py refuses dtypes it does not know, and
counts that overflow, before it communicates.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from mpi4py import MPI

from ._collectives import Collectives
from ._ops import PREDEFINED, SUM, Op
from .engine.operations import own_operation

_REFUSED = (ValueError, TypeError, LookupError, AttributeError, BufferError, OverflowError)
_CODES = "?bhilqBHILQfdgFDG"


def use_direct_calls(comm: Any) -> None:
    """Put direct calls in the place of the methods of a communicator."""
    for call in _direct_calls(comm, comm._channel.data):
        setattr(comm, call.__name__, call)


def _direct_calls(comm: Any, data: MPI.Intracomm) -> list[Callable]:
    # Closures and repeated conditions: a call at 8 bytes leaves some 100 ns for all that is not MPI.
    size, rank, ndarray, in_place = comm.size, comm.rank, np.ndarray, MPI.IN_PLACE
    own: dict[Op, dict[str, MPI.Op]] = {op: _own_operations(op) for op in PREDEFINED}
    # An Op of the user's is a KeyError there: it goes the ordinary way.
    sums = own[SUM]

    def barrier() -> None:
        data.Barrier()

    def bcast(x: Any = None, *, root: int = 0, out: Any = None) -> Any:
        if (x is None or x is out) and type(out) is ndarray and (out.ndim < 2 or out.flags.c_contiguous):
            try:
                data.Bcast(out, root)
                return out
            except _REFUSED:
                pass  # the ordinary way can, or says why not
        return Collectives.bcast(comm, x, root=root, out=out)

    def scatter(x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        if (
            counts is not None
            and axis == 0
            and type(out) is ndarray
            and (out.ndim < 2 or out.flags.c_contiguous)
            and (x is None or (type(x) is ndarray and (x.ndim < 2 or x.flags.c_contiguous)))
        ):
            try:
                if counts.count(counts[0]) == len(counts) == size:
                    data.Scatter(x, out, root)
                    return out
            except _REFUSED:
                pass
        return Collectives.scatter(comm, x, axis=axis, counts=counts, root=root, out=out)

    def gather(x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        if (
            counts is not None
            and axis == 0
            and type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and (rank != root or (type(out) is ndarray and (out.ndim < 2 or out.flags.c_contiguous)))
        ):
            try:
                if counts.count(counts[0]) == len(counts) == size:
                    data.Gather(x, out, root)
                    return out
            except _REFUSED:
                pass
        return Collectives.gather(comm, x, axis=axis, counts=counts, root=root, out=out)

    def allgather(x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        if (
            axis == 0
            and type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and type(out) is ndarray
            and (out.ndim < 2 or out.flags.c_contiguous)
            and x.size * size == out.size
        ):
            try:
                data.Allgather(x, out)
                return out
            except _REFUSED:
                pass
        return Collectives.allgather(comm, x, axis=axis, counts=counts, out=out)

    def alltoall(
        x: Any,
        *,
        split_axis: int = 0,
        concat_axis: int = 0,
        send_counts: Any = None,
        recv_counts: Any = None,
        out: Any = None,
    ) -> Any:
        if (
            split_axis == 0 == concat_axis
            and type(x) is ndarray
            and type(out) is ndarray
            and (x.ndim < 2 or (x.flags.c_contiguous and out.flags.c_contiguous))
        ):
            try:
                if send_counts is None is recv_counts:
                    are_even = x.shape[0] % size == 0
                else:
                    are_even = send_counts == recv_counts
                    are_even = are_even and send_counts.count(send_counts[0]) == len(send_counts) == size
                if are_even:
                    data.Alltoall(x, out)
                    return out
            except _REFUSED:
                pass
        return Collectives.alltoall(
            comm,
            x,
            split_axis=split_axis,
            concat_axis=concat_axis,
            send_counts=send_counts,
            recv_counts=recv_counts,
            out=out,
        )

    def reduce(x: Any, op: Op = SUM, *, root: int = 0, out: Any = None) -> Any:
        if (
            type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and (rank != root or (type(out) is ndarray and (out.ndim < 2 or out.flags.c_contiguous)))
        ):
            try:
                data.Reduce(in_place if x is out else x, out, (sums if op is SUM else own[op])[x.dtype.char], root)
                return out
            except _REFUSED:
                pass
        return Collectives.reduce(comm, x, op, root=root, out=out)

    def allreduce(x: Any, op: Op = SUM, *, out: Any = None) -> Any:
        if (
            type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and type(out) is ndarray
            and (out.ndim < 2 or out.flags.c_contiguous)
        ):
            try:
                data.Allreduce(in_place if x is out else x, out, (sums if op is SUM else own[op])[x.dtype.char])
                return out
            except _REFUSED:
                pass
        return Collectives.allreduce(comm, x, op, out=out)

    def reduce_scatter(x: Any, op: Op = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        if (
            axis == 0
            and type(x) is ndarray
            and type(out) is ndarray
            and (x.ndim < 2 or (x.flags.c_contiguous and out.flags.c_contiguous))
        ):
            try:
                if counts is None:
                    are_even = x.shape[0] % size == 0
                else:
                    are_even = counts.count(counts[0]) == len(counts) == size
                if are_even:
                    data.Reduce_scatter(x, out, counts, (sums if op is SUM else own[op])[x.dtype.char])
                    return out
            except _REFUSED:
                pass
        return Collectives.reduce_scatter(comm, x, op, axis=axis, counts=counts, out=out)

    def scan(x: Any, op: Op = SUM, *, out: Any = None) -> Any:
        if (
            type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and type(out) is ndarray
            and (out.ndim < 2 or out.flags.c_contiguous)
        ):
            try:
                data.Scan(in_place if x is out else x, out, (sums if op is SUM else own[op])[x.dtype.char])
                return out
            except _REFUSED:
                pass
        return Collectives.scan(comm, x, op, out=out)

    def exscan(x: Any, op: Op = SUM, *, out: Any = None) -> Any:
        if (
            type(x) is ndarray
            and (x.ndim < 2 or x.flags.c_contiguous)
            and type(out) is ndarray
            and (out.ndim < 2 or out.flags.c_contiguous)
        ):
            try:
                data.Exscan(in_place if x is out else x, out, (sums if op is SUM else own[op])[x.dtype.char])
                if rank == 0:
                    out.fill(_identity(op, x.dtype.char))
                return out
            except _REFUSED:
                pass
        return Collectives.exscan(comm, x, op, out=out)

    return [
        barrier, bcast, scatter, gather, allgather, alltoall, reduce, allreduce, reduce_scatter, scan, exscan
    ]  # fmt: skip


@cache
def _identity(op: Op, code: str) -> Any:
    return op.identity_for(np.dtype(code))


def _own_operations(op: Op) -> dict[str, MPI.Op]:
    """By dtype code, the operations that are MPI's own."""
    found = {code: own_operation(op, np.dtype(code)) for code in _CODES}
    return {code: operation for code, operation in found.items() if operation is not None}
