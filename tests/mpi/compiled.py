"""The collectives called from compiled code. Cached: what one run compiles, runs of other MPIs and sizes load."""

import numba
import numpy as np

import dcomp as dc


@numba.njit(cache=True)
def barrier(comm, x, op, axis, root):
    comm.barrier()


@numba.njit(cache=True)
def bcast(comm, x, op, axis, root):
    return comm.bcast(x if comm.rank == root else None, root=root)


@numba.njit(cache=True)
def scatter(comm, x, op, axis, root):
    return comm.scatter(x if comm.rank == root else None, axis=axis, root=root)


@numba.njit(cache=True)
def bcast_in_branches(comm, x, root):
    """As most versions of Python make it of `bcast` above: two calls, of which one does not tell the dtype."""
    if comm.rank == root:
        return comm.bcast(x, root=root)
    return comm.bcast(root=root)


@numba.njit(cache=True)
def scatter_in_branches(comm, x, root):
    part = None  # so that it is an array or None
    if x[0] == x[0]:
        if comm.rank == root:
            part = comm.scatter(x, root=root)
        else:
            part = comm.scatter(None, root=root)
    comm.bcast(x, root=root) if comm.rank == root else comm.bcast(root=root)  # of no interest
    return part


@numba.njit(cache=True)
def gather(comm, x, op, axis, root):
    return comm.gather(x, axis=axis, root=root)


@numba.njit(cache=True)
def allgather(comm, x, op, axis, root):
    return comm.allgather(x, axis=axis)


@numba.njit(cache=True)
def alltoall(comm, x, op, axis, root):
    return comm.alltoall(x, split_axis=axis, concat_axis=axis)


@numba.njit(cache=True)
def reduce(comm, x, op, axis, root):
    return comm.reduce(x, op, root=root)


@numba.njit(cache=True)
def allreduce(comm, x, op, axis, root):
    return comm.allreduce(x, op)


@numba.njit(cache=True)
def reduce_scatter(comm, x, op, axis, root):
    return comm.reduce_scatter(x, op=op, axis=axis)


@numba.njit(cache=True)
def scan(comm, x, op, axis, root):
    return comm.scan(x, op)


@numba.njit(cache=True)
def exscan(comm, x, op, axis, root):
    return comm.exscan(x, op=op)


# As functions, of all ranks.


@numba.njit(cache=True)
def functions(x, y):
    """Every function once, and what is known of the rank."""
    dc.barrier()
    world = dc.COMM_WORLD
    size, rank = dc.size, dc.rank
    copies = dc.bcast(x if rank == 0 else None)
    part = dc.scatter(y if rank == size - 1 else None, root=size - 1)
    joined = dc.allgather(part)
    gathered = dc.gather(part, comm=world)
    turned = dc.alltoall(y)
    total = dc.allreduce(x)
    most = dc.allreduce(x, dc.MAX)
    root = dc.reduce(x, op=dc.MIN)
    own = dc.reduce_scatter(y)
    upto, before = dc.scan(x), dc.exscan(x)
    number = dc.allreduce(rank)
    ranks = (size, rank, world.size, world.rank)
    moved = (copies, part, joined, gathered, turned)
    return ranks, moved, (total, most, root, own, upto, before, number)


@numba.njit(cache=True)
def into(comm, x, out):
    """Returns `out`, as in Python."""
    return comm.allreduce(x, out=out)


@numba.njit(cache=True)
def in_place(comm, x):
    comm.allreduce(x, out=x)
    return x


@numba.njit(cache=True)
def of_a_number(comm, x):
    return comm.allreduce(x), comm.scan(x, dc.MAX), comm.allgather(x)


@numba.njit(cache=True)
def of_expressions(comm, n, turns):
    """Every array but the sum is a temporary."""
    total = np.zeros(n)
    for turn in range(turns):
        total = total + comm.allreduce(np.full(n, turn + 1.0))[::-1]
    return total


@numba.njit(cache=True, nogil=True)
def without_the_gil(comm, x):
    return comm.allreduce(x)


@numba.njit(cache=True)
def in_two_ways(comm, x, way):
    if way == 0:
        comm.barrier()
    else:
        comm.allreduce(x)


@numba.njit(cache=True)
def with_counts(comm, x, counts):
    if comm.rank == 0:
        return comm.scatter(x, counts=counts)
    return comm.scatter(None, out=np.empty(counts[comm.rank]))


@numba.njit(cache=True)
def out_on_root(comm, x, root):
    joined = np.empty(x.size * comm.size) if comm.rank == root else None
    total = np.empty(x.size) if comm.rank == root else None
    return comm.gather(x, root=root, out=joined), comm.reduce(x, root=root, out=total)


@numba.njit(cache=True)
def caught(comm, x):
    y = np.full(1, -1.0)
    try:
        y = comm.allreduce(x)
    except Exception:
        return np.full(1, -1.0)
    return y


@numba.njit(cache=True)
def caught_from_a_function(comm, x):
    y = np.full(1, -1.0)
    try:
        y = in_place(comm, x.copy())
    except Exception:
        return np.full(1, -1.0)
    return y


@numba.njit(cache=True)
def of_objects(comm, other, adds):
    op = dc.SUM if adds else dc.MAX
    return comm.allreduce(1, op), comm is other


@numba.njit(cache=True)
def number(comm, x):
    return comm.allreduce(x)
