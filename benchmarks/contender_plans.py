"""How dcomp's plans are called: set up once with the input only, the result being dcomp's own array.

Every function sets the plan up, which is collective, and returns it: it is the call.
"""

from cases import Case

import dcomp as dc


def barrier(comm: dc.Communicator, case: Case) -> dc.Plan:
    """barrier_init."""
    return comm.barrier_init()


def bcast(comm: dc.Communicator, case: Case) -> dc.Plan:
    """bcast_init of the root's array."""
    return comm.bcast_init(case.x)


def scatter(comm: dc.Communicator, case: Case) -> dc.Plan:
    """scatter_init of the root's array."""
    return comm.scatter_init(case.x)


def gather(comm: dc.Communicator, case: Case) -> dc.Plan:
    """gather_init."""
    return comm.gather_init(case.x)


def allgather(comm: dc.Communicator, case: Case) -> dc.Plan:
    """allgather_init."""
    return comm.allgather_init(case.x)


def alltoall(comm: dc.Communicator, case: Case) -> dc.Plan:
    """alltoall_init."""
    return comm.alltoall_init(case.x)


def reduce(comm: dc.Communicator, case: Case) -> dc.Plan:
    """reduce_init."""
    return comm.reduce_init(case.x)


def allreduce(comm: dc.Communicator, case: Case) -> dc.Plan:
    """allreduce_init."""
    return comm.allreduce_init(case.x)


def reduce_scatter(comm: dc.Communicator, case: Case) -> dc.Plan:
    """reduce_scatter_init."""
    return comm.reduce_scatter_init(case.x)


def scan(comm: dc.Communicator, case: Case) -> dc.Plan:
    """scan_init."""
    return comm.scan_init(case.x)


def exscan(comm: dc.Communicator, case: Case) -> dc.Plan:
    """exscan_init."""
    return comm.exscan_init(case.x)
