"""Loops of numba-mpi's calls in compiled code. It has no sendrecv: a send that does not wait, and a receive."""

import numba
import numba_mpi


@numba.njit
def barrier(rank, x, out, calls):
    """barrier."""
    for _ in range(calls):
        numba_mpi.barrier()


@numba.njit
def allreduce(rank, x, out, calls):
    """allreduce."""
    for _ in range(calls):
        numba_mpi.allreduce(x, out, numba_mpi.Operator.SUM)


@numba.njit
def allgather(rank, x, out, calls):
    """allgather."""
    for _ in range(calls):
        numba_mpi.allgather(x, out, x.size)


@numba.njit
def sendrecv(rank, x, out, calls):
    """isend, recv and wait round the ring."""
    to, back = (rank + 1) % numba_mpi.size(), (rank - 1) % numba_mpi.size()
    for _ in range(calls):
        _, request = numba_mpi.isend(x, to, 0)
        numba_mpi.recv(out, back, 0)
        numba_mpi.wait(request)
