"""How mpi4py's upper-case calls are made: the calls a careful user of mpi4py writes.

Every function prepares the arguments and returns the call that is timed. The blocks are equal, so the
calls without counts are used; the `_v` functions are the ones with counts, for comparison. Buffers are
given as plain arrays and the datatype is left to mpi4py, as it is to dcomp. The root is the default one.
Counts are lists: a tuple would be read as counts and displacements.
"""

from collections.abc import Callable

from cases import Case
from mpi4py import MPI

Call = Callable[[], object]


def barrier(comm: MPI.Comm, case: Case) -> Call:
    """Barrier."""

    def call():
        comm.Barrier()

    return call


def bcast(comm: MPI.Comm, case: Case) -> Call:
    """Bcast, in place as always in MPI."""
    out = case.out

    def call():
        comm.Bcast(out)

    return call


def scatter(comm: MPI.Comm, case: Case) -> Call:
    """Scatter."""
    x, out = case.x, case.out

    def call():
        comm.Scatter(x, out)

    return call


def scatter_v(comm: MPI.Comm, case: Case) -> Call:
    """Scatterv."""
    x, out = case.x, case.out
    blocks = [x, list(case.counts)] if case.is_root else None

    def call():
        comm.Scatterv(blocks, out)

    return call


def gather(comm: MPI.Comm, case: Case) -> Call:
    """Gather."""
    x, out = case.x, case.out

    def call():
        comm.Gather(x, out)

    return call


def gather_v(comm: MPI.Comm, case: Case) -> Call:
    """Gatherv."""
    x, out = case.x, case.out
    blocks = [out, list(case.counts)] if case.is_root else None

    def call():
        comm.Gatherv(x, blocks)

    return call


def allgather(comm: MPI.Comm, case: Case) -> Call:
    """Allgather."""
    x, out = case.x, case.out

    def call():
        comm.Allgather(x, out)

    return call


def allgather_v(comm: MPI.Comm, case: Case) -> Call:
    """Allgatherv."""
    x, blocks = case.x, [case.out, list(case.counts)]

    def call():
        comm.Allgatherv(x, blocks)

    return call


def alltoall(comm: MPI.Comm, case: Case) -> Call:
    """Alltoall."""
    x, out = case.x, case.out

    def call():
        comm.Alltoall(x, out)

    return call


def alltoall_v(comm: MPI.Comm, case: Case) -> Call:
    """Alltoallv."""
    x, out = [case.x, list(case.counts)], [case.out, list(case.counts)]

    def call():
        comm.Alltoallv(x, out)

    return call


def reduce(comm: MPI.Comm, case: Case) -> Call:
    """Reduce with the default operation, SUM."""
    x, out = case.x, case.out

    def call():
        comm.Reduce(x, out)

    return call


def allreduce(comm: MPI.Comm, case: Case) -> Call:
    """Allreduce with the default operation, SUM."""
    x, out = case.x, case.out

    def call():
        comm.Allreduce(x, out)

    return call


def reduce_scatter(comm: MPI.Comm, case: Case) -> Call:
    """Reduce_scatter, with counts."""
    x, out, counts = case.x, case.out, case.counts

    def call():
        comm.Reduce_scatter(x, out, counts)

    return call


def reduce_scatter_block(comm: MPI.Comm, case: Case) -> Call | None:
    """Reduce_scatter_block, where the blocks are equal."""
    x, out = case.x, case.out
    if len(set(case.counts)) > 1:
        return None

    def call():
        comm.Reduce_scatter_block(x, out)

    return call


def scan(comm: MPI.Comm, case: Case) -> Call:
    """Scan."""
    x, out = case.x, case.out

    def call():
        comm.Scan(x, out)

    return call


def exscan(comm: MPI.Comm, case: Case) -> Call:
    """Exscan."""
    x, out = case.x, case.out

    def call():
        comm.Exscan(x, out)

    return call
