"""Collectives in loops of compiled code; each function returns a tuple of sums over its turns."""

import numba
import numpy as np

import dcomp as dc


@numba.njit(cache=True)
def barrier(comm, x, turns, root):
    for _ in range(turns):
        comm.barrier()
    return (float(turns),)


@numba.njit(cache=True)
def bcast(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        total += comm.bcast(x if comm.rank == root else None, root=root)
    return (total,)


@numba.njit(cache=True)
def scatter(comm, x, turns, root):
    total = np.zeros(x.size // comm.size)
    for _ in range(turns):
        total += comm.scatter(x if comm.rank == root else None, root=root)
    return (total,)


@numba.njit(cache=True)
def gather(comm, x, turns, root):
    total = np.zeros(x.size * comm.size)
    for _ in range(turns):
        whole = comm.gather(x, root=root)
        if whole is not None:
            total += whole
    return (total,)


@numba.njit(cache=True)
def allgather(comm, x, turns, root):
    total = np.zeros((x.size * comm.size, 1))
    for _ in range(turns):
        total += comm.allgather(x.reshape((x.size, 1)), axis=0)
    return (total,)


@numba.njit(cache=True)
def alltoall(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        total += comm.alltoall(x, split_axis=0, concat_axis=0)
    return (total,)


@numba.njit(cache=True)
def reduce(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        result = comm.reduce(x, root=root, op=dc.MAX)
        if result is not None:
            total += result
    return (total,)


@numba.njit(cache=True)
def allreduce(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        total += comm.allreduce(x, dc.SUM)
    return (total,)


@numba.njit(cache=True)
def reduce_scatter(comm, x, turns, root):
    total = np.zeros(x.size // comm.size)
    for _ in range(turns):
        total += comm.reduce_scatter(x, axis=0)
    return (total,)


@numba.njit(cache=True)
def scan(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        total += comm.scan(x)
    return (total,)


@numba.njit(cache=True)
def exscan(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        total += comm.exscan(x)
    return (total,)


@numba.njit(cache=True)
def numbers(comm, x, turns, root):
    number, truth, on_root = 0.0, 0, 0
    for _ in range(turns):
        number += comm.allreduce(1.5) + comm.scan(np.float32(0.5)) + comm.exscan(2)
        truth += comm.allreduce(comm.rank == 0, dc.LOR)
        result = comm.reduce(3, root=root)
        if result is not None:
            on_root += result
    return number, truth, on_root


@numba.njit(cache=True)
def out_on_root(comm, x, turns, root):
    total, joined = np.zeros(x.size), np.zeros(x.size * comm.size)
    sums, blocks = np.empty(x.size), np.empty(x.size * comm.size)
    for _ in range(turns):
        if comm.rank == root:
            comm.reduce(x, root=root, out=sums)
            comm.gather(x, root=root, out=blocks)
            total += sums
            joined += blocks
        else:
            comm.reduce(x, root=root)
            comm.gather(x, root=root)
    return total, joined


@numba.njit(cache=True)
def into(comm, x, turns, root):
    total, out, blocks = np.zeros(x.size), np.empty(x.size), np.empty(x.size * comm.size)
    joined, copies = np.zeros(x.size * comm.size), np.empty(x.size)
    for _ in range(turns):
        total += comm.allreduce(x, out=out)
        joined += comm.allgather(x, out=blocks)
        if comm.rank != root:
            total += comm.bcast(None, root=root, out=copies)
        else:
            total += comm.bcast(x, root=root)
    return total, joined


@numba.njit(cache=True)
def in_place(comm, x, turns, root):
    total = np.zeros(x.size)
    for _ in range(turns):
        y = x.copy()
        comm.allreduce(y, out=y)
        comm.scan(y, out=y)
        total += y
    return (total,)


@numba.njit(cache=True)
def with_errors(comm, x, wrong, turns):
    """Of three calls in a turn the second fails; a number of failures is returned with the sum."""
    total = 0.0
    for _ in range(turns):
        total += comm.allreduce(x)[0]
        y = np.zeros(1)
        try:
            y = comm.allreduce(wrong)
            total -= 1000
        except Exception:
            total += comm.size
        total += y.size * 0.0 + comm.allreduce(x)[0]
    return total


@numba.njit(cache=True)
def joined_into(comm, x, out):
    comm.allgather(x, out=out)


@numba.njit(cache=True)
def caught(comm, x, op):
    y = np.full(1, -1.0)
    try:
        y = comm.allreduce(x, op)
    except Exception:
        return np.full(1, -1.0)
    return y


@numba.njit(cache=True)
def two_scans(comm, x):
    return comm.exscan(x), comm.scan(x)


@numba.njit(cache=True, nogil=True)
def reduced(comm, root):
    return comm.reduce(3, root=root)


@numba.njit(cache=True)
def after_work(comm, x, n):
    total = x[0]
    for i in range(n):
        total = (total * 1.000001 + i) % 7.0
    return comm.allreduce(x) + total


@numba.njit(cache=True)
def for_ever(comm, x, n):
    for _ in range(n):
        x = comm.allreduce(x) / comm.size
    return x
