"""Messages in loops of compiled code. Cached, as in `compiled`."""

import numba
import numpy as np


@numba.njit(cache=True)
def around(comm, x, out, turns):
    """Round the ring by `sendrecv`: what has come at last, and the sum of all that has."""
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    total = 0.0
    for turn in range(turns):
        comm.sendrecv(x, to, back, sendtag=turn % 3, recvtag=turn % 3, out=out)
        total += out[-1]
        x[-1] += 1
    return total


@numba.njit(cache=True)
def there_and_back(comm, x, out, turns):
    """Between pairs of ranks, by `send` and `recv`, each result sent on."""
    other = comm.rank ^ 1
    if other >= comm.size:
        return out
    for turn in range(turns):
        if comm.rank % 2 == 0:
            comm.send(x, other, tag=turn)
            comm.recv(other, tag=turn, out=out)
        else:
            comm.recv(out=out)
            comm.send(out, other, tag=turn)
    return out


@numba.njit(cache=True)
def numbers(comm, x, turns):
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for _ in range(turns):
        x = comm.sendrecv(x, to, back)
    return x


@numba.njit(cache=True)
def along_a_line(comm, x, out, turns):
    """Ends have no neighbour."""
    to = comm.rank + 1 if comm.rank + 1 < comm.size else None
    back = comm.rank - 1 if comm.rank > 0 else None
    for _ in range(turns):
        comm.sendrecv(x, to, back, out=out)
        comm.send(x, to)
        comm.recv(back, out=out)
    return out


@numba.njit(cache=True)
def of_neighbours(comm, x, turns):
    """What comes from the neighbour below, the first time and at last: None at the end, whatever is sent."""
    to = comm.rank + 1 if comm.rank + 1 < comm.size else None
    back = comm.rank - 1 if comm.rank > 0 else None
    first = comm.sendrecv(x, to, back)
    last = first
    for _ in range(turns):
        last = comm.sendrecv(x, to, back)
    return first, last, comm.sendrecv(x, None, None)


@numba.njit(cache=True)
def all_to_the_first(comm, x, out, turns):
    """From whoever comes: the sum of what the first rank gets."""
    total = 0.0
    if comm.rank > 0:
        for _ in range(turns):
            comm.send(x, 0, tag=comm.rank)
    else:
        for _ in range(turns * (comm.size - 1)):
            comm.recv(out=out)
            total += out[0]
    return total


@numba.njit(cache=True)
def send_to(comm, x, dest, tag):
    for _ in range(3):
        comm.send(x, dest, tag=tag)


@numba.njit(cache=True)
def receive_from(comm, out, source, tag):
    comm.recv(source, tag=tag, out=out)
    return out


@numba.njit(cache=True)
def growing(comm, most):
    """Another shape each time, in one place: whether all were right."""
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    is_right = True
    for n in range(most):
        x, out = np.full(n, float(comm.rank)), np.empty(n)
        comm.sendrecv(x, to, back, out=out)
        is_right = is_right and bool(np.all(out == back))
    return is_right


@numba.njit(cache=True)
def in_place(comm, x):
    to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for _ in range(2 * comm.size + 1):
        comm.sendrecv(x, to, back, out=x)
    return x
