"""What else than blocking collectives is called from compiled code. Cached, as in `compiled`."""

import numba
import numpy as np

import dcomp as dc


@numba.njit(cache=True)
def messages(comm, x, out):
    """Around the ring, by each way of sending."""
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    sending = comm.isend(x, to, tag=3)
    comm.recv(back, tag=3, out=out)
    sending.wait()
    receiving = comm.irecv(back, tag=4, out=np.empty_like(x))
    comm.send(x, to, tag=4)
    second = receiving.wait()
    third = comm.sendrecv(x, to, back)
    number = comm.sendrecv(comm.rank, to, back)
    return out, second, third, number


@numba.njit(cache=True)
def a_message_to_itself(comm, x):
    request = comm.isend(x, comm.rank, tag=5)
    envelope = comm.probe(tag=5)
    out = np.empty_like(x)
    comm.recv(envelope.source, tag=envelope.tag, out=out)
    request.wait()
    return envelope, out


@numba.njit(cache=True)
def requests(comm, x):
    total, most = comm.iallreduce(x), dc.iallreduce(x, dc.MAX, comm=comm)
    on_root = comm.ireduce(x, root=0)
    meeting = comm.ibarrier()
    done, result = total.test()
    while not done:
        done, result = total.test()
    both = dc.wait_all((total, most, on_root, meeting))
    return result, both


@numba.njit(cache=True)
def communicators(comm):
    twin = comm.dup()
    half = comm.split(comm.rank % 2, key=-comm.rank)
    one = comm.split(0 if comm.rank == 0 else None)
    only = 0
    if one is not None:
        only = one.size
        one.free()
    place = half.rank
    joined = half.allgather(comm.rank)
    total = twin.allreduce(1)
    node, leader = comm.node, comm.leaders
    is_leader = leader is not None
    part = np.arange(11)[comm.block(11)]
    twin.free()
    half.free()
    return total, only, place, joined, node.size, is_leader, part


@numba.njit(cache=True)
def grid(comm, n):
    """Ghost layers of two arrays on a ring of all ranks."""
    ring = comm.cart((comm.size,), True)
    x = np.full((n + 2, 2), float(ring.rank))
    y = x * 10
    ring.halo((x, y), width=1)
    low, high = ring.shift(0)
    (block,) = ring.block((3 * comm.size,))
    told = ring.coords[0], ring.dims[0], ring.periods[0], low, high, block.start
    ring.free()
    return told, x, y


@numba.njit(cache=True)
def on_a_grid(cart, x):
    cart.halo(x)
    return cart.coords, cart.allreduce(cart.rank)


@numba.njit(cache=True)
def in_two_parts(cart, x):
    plan = cart.halo_init(x)
    for turn in range(3):
        x[1:-1] = cart.rank + turn
        plan.start()
        total = cart.allreduce(cart.rank)
        plan.wait()
    plan.free()
    return total


@numba.njit(cache=True)
def play(plan, x, turns):
    """A plan made in Python: the sum of the first elements of its results."""
    total = 0.0
    for turn in range(turns):
        x[:] = turn
        plan.start()
        total += plan.wait()[0]
        total += plan()[0]
    return total


@numba.njit(cache=True)
def plans(comm, x, turns):
    """Plans made here."""
    everywhere, on_root, meeting = (
        comm.allreduce_init(x),
        comm.reduce_init(x, dc.MAX, root=0),
        dc.barrier_init(comm=comm),
    )
    root = comm.bcast_init(x if comm.rank == 0 else None, out=np.empty_like(x) if comm.rank else None)
    total = 0.0
    for turn in range(turns):
        x[:] = turn + comm.rank
        meeting()
        total += everywhere()[0]
        most = on_root()
        if most is not None:
            total += most[0]
        total += root()[0]
    everywhere.free()
    on_root.free()
    meeting.free()
    root.free()
    return total
