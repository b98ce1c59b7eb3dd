"""How dcomp is called: with everything given, and (`_inferred`) with everything left to dcomp.

Every function prepares the arguments and returns the call that is timed. The root is the default one.
"""

from collections.abc import Callable

from cases import Case

import dcomp as dc

Call = Callable[[], object]


def barrier(comm: dc.Communicator, case: Case) -> Call:
    """barrier."""

    def call():
        return comm.barrier()

    return call


def bcast(comm: dc.Communicator, case: Case) -> Call:
    """bcast into `out`; on the root, where the array is already, in place."""
    x, out = case.x, case.out

    def call_on_root():
        return comm.bcast(x, out=out)

    def call_elsewhere():
        return comm.bcast(out=out)

    return call_on_root if case.is_root else call_elsewhere


def bcast_inferred(comm: dc.Communicator, case: Case) -> Call:
    """bcast of the root's array alone."""
    x = case.x

    def call():
        return comm.bcast(x)

    return call


def scatter(comm: dc.Communicator, case: Case) -> Call:
    """scatter with counts everywhere."""
    x, out, counts = case.x, case.out, case.counts

    def call_on_root():
        return comm.scatter(x, counts=counts, out=out)

    def call_elsewhere():
        return comm.scatter(counts=counts, out=out)

    return call_on_root if case.is_root else call_elsewhere


def scatter_inferred(comm: dc.Communicator, case: Case) -> Call:
    """scatter of the root's array alone."""
    x = case.x

    def call():
        return comm.scatter(x)

    return call


def gather(comm: dc.Communicator, case: Case) -> Call:
    """gather with counts everywhere and `out` on the root."""
    x, out, counts = case.x, case.out, case.counts

    def call_on_root():
        return comm.gather(x, counts=counts, out=out)

    def call_elsewhere():
        return comm.gather(x, counts=counts)

    return call_on_root if case.is_root else call_elsewhere


def gather_inferred(comm: dc.Communicator, case: Case) -> Call:
    """gather of the blocks alone."""
    x = case.x

    def call():
        return comm.gather(x)

    return call


def allgather(comm: dc.Communicator, case: Case) -> Call:
    """allgather with counts."""
    x, out, counts = case.x, case.out, case.counts

    def call():
        return comm.allgather(x, counts=counts, out=out)

    return call


def allgather_inferred(comm: dc.Communicator, case: Case) -> Call:
    """allgather of the blocks alone."""
    x = case.x

    def call():
        return comm.allgather(x)

    return call


def alltoall(comm: dc.Communicator, case: Case) -> Call:
    """alltoall with both counts."""
    x, out, counts = case.x, case.out, case.counts

    def call():
        return comm.alltoall(x, send_counts=counts, recv_counts=counts, out=out)

    return call


def alltoall_inferred(comm: dc.Communicator, case: Case) -> Call:
    """alltoall of the arrays alone."""
    x = case.x

    def call():
        return comm.alltoall(x)

    return call


def reduce(comm: dc.Communicator, case: Case) -> Call:
    """reduce into the root's `out`."""
    x, out = case.x, case.out

    def call_on_root():
        return comm.reduce(x, out=out)

    def call_elsewhere():
        return comm.reduce(x)

    return call_on_root if case.is_root else call_elsewhere


def reduce_inferred(comm: dc.Communicator, case: Case) -> Call:
    """reduce to a new array."""
    x = case.x

    def call():
        return comm.reduce(x)

    return call


def allreduce(comm: dc.Communicator, case: Case) -> Call:
    """allreduce into `out`."""
    x, out = case.x, case.out

    def call():
        return comm.allreduce(x, out=out)

    return call


def allreduce_inferred(comm: dc.Communicator, case: Case) -> Call:
    """allreduce to a new array."""
    x = case.x

    def call():
        return comm.allreduce(x)

    return call


def reduce_scatter(comm: dc.Communicator, case: Case) -> Call:
    """reduce_scatter with counts."""
    x, out, counts = case.x, case.out, case.counts

    def call():
        return comm.reduce_scatter(x, counts=counts, out=out)

    return call


def reduce_scatter_inferred(comm: dc.Communicator, case: Case) -> Call:
    """reduce_scatter of the arrays alone."""
    x = case.x

    def call():
        return comm.reduce_scatter(x)

    return call


def scan(comm: dc.Communicator, case: Case) -> Call:
    """scan into `out`."""
    x, out = case.x, case.out

    def call():
        return comm.scan(x, out=out)

    return call


def scan_inferred(comm: dc.Communicator, case: Case) -> Call:
    """scan to a new array."""
    x = case.x

    def call():
        return comm.scan(x)

    return call


def exscan(comm: dc.Communicator, case: Case) -> Call:
    """exscan into `out`."""
    x, out = case.x, case.out

    def call():
        return comm.exscan(x, out=out)

    return call


def exscan_inferred(comm: dc.Communicator, case: Case) -> Call:
    """exscan to a new array."""
    x = case.x

    def call():
        return comm.exscan(x)

    return call
