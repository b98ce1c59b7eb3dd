"""How numba-mpi is called: from compiled code, which is what it is for; the compiled call is called from Python.

It has no alltoall, reduce_scatter, scan and exscan. It always uses MPI_COMM_WORLD. Its functions return MPI's code.
"""

from collections.abc import Callable

import numba_mpi
import numpy as np
from cases import ROOT, Case
from numba import njit

Call = Callable[[], object]

NOTHING = np.empty(0)  # what a rank without a result, or without an input, gives: numba wants an array


@njit
def _barrier():
    numba_mpi.barrier()


@njit
def _bcast(out):
    numba_mpi.bcast(out, ROOT)


@njit
def _scatter(x, out):
    numba_mpi.scatter(x, out, out.size, ROOT)


@njit
def _gather(x, out):
    numba_mpi.gather(x, out, x.size, ROOT)


@njit
def _allgather(x, out):
    numba_mpi.allgather(x, out, x.size)


@njit
def _reduce(x, out):
    numba_mpi.reduce(x, out, numba_mpi.Operator.SUM, ROOT)


@njit
def _allreduce(x, out):
    numba_mpi.allreduce(x, out, numba_mpi.Operator.SUM)


def _with_both(compiled: Callable[[np.ndarray, np.ndarray], None], case: Case) -> Call:
    x = NOTHING if case.x is None else case.x
    out = NOTHING if case.out is None else case.out

    def call():
        compiled(x, out)

    return call


def barrier(comm: None, case: Case) -> Call:
    """barrier."""

    def call():
        _barrier()

    return call


def bcast(comm: None, case: Case) -> Call:
    """bcast, in place."""
    out = case.out

    def call():
        _bcast(out)

    return call


def scatter(comm: None, case: Case) -> Call:
    """scatter."""
    return _with_both(_scatter, case)


def gather(comm: None, case: Case) -> Call:
    """gather."""
    return _with_both(_gather, case)


def allgather(comm: None, case: Case) -> Call:
    """allgather."""
    return _with_both(_allgather, case)


def reduce(comm: None, case: Case) -> Call:
    """reduce."""
    return _with_both(_reduce, case)


def allreduce(comm: None, case: Case) -> Call:
    """allreduce."""
    return _with_both(_allreduce, case)
