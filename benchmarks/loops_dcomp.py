"""Loops of dcomp's calls in compiled code."""

import numba

import dcomp  # noqa: F401


@numba.njit(cache=True)
def barrier(comm, x, out, calls):
    """barrier."""
    for _ in range(calls):
        comm.barrier()


@numba.njit(cache=True)
def allreduce(comm, x, out, calls):
    """allreduce."""
    for _ in range(calls):
        comm.allreduce(x, out=out)


@numba.njit(cache=True)
def allgather(comm, x, out, calls):
    """allgather."""
    for _ in range(calls):
        comm.allgather(x, out=out)


@numba.njit(cache=True)
def sendrecv(comm, x, out, calls):
    """sendrecv round the ring."""
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for _ in range(calls):
        comm.sendrecv(x, to, back, out=out)
