"""A rod is heated at one end: one loop, first in Python, then compiled with its communication in it.

The rod is cut into pieces, one per rank. In every step neighbours exchange the temperatures at their ends, and all
ranks find the greatest change, for the loop ends when that is small. A piece is short and a step takes a few
microseconds, so what is around the numbers counts. Both loops are the same lines; only `compiled` is `dc.jit`.

    mpirun -n 2 python examples/rod.py
"""

from time import perf_counter

import numpy as np

import dcomp as dc

CELLS = 400
STEPS = 5000
HOT = 100.0


def in_python(comm, piece, tolerance, steps):
    """Heat flows until the greatest change of a step is below `tolerance`; steps taken, and the last change."""
    before, after = neighbours(comm)
    u, new = np.zeros(piece.size + 2), np.zeros(piece.size + 2)  # with a cell of each neighbour
    u[1:-1] = piece
    if before is None:
        u[0] = HOT
    step, change = 0, np.inf
    while step < steps and change >= tolerance:
        comm.sendrecv(u[1:2], before, after, out=u[-1:])  # to the left, and from the right
        comm.sendrecv(u[-2:-1], after, before, out=u[:1])
        new[1:-1] = u[1:-1] + 0.25 * (u[:-2] - 2 * u[1:-1] + u[2:])
        change = comm.allreduce(np.abs(new[1:-1] - u[1:-1]).max(), dc.MAX)
        u[1:-1] = new[1:-1]
        step += 1
    piece[:] = u[1:-1]
    return step, change


@dc.jit
def compiled(comm, piece, tolerance, steps):
    """The same."""
    before, after = neighbours_compiled(comm)
    u, new = np.zeros(piece.size + 2), np.zeros(piece.size + 2)
    u[1:-1] = piece
    if before is None:
        u[0] = HOT
    step, change = 0, np.inf
    while step < steps and change >= tolerance:
        comm.sendrecv(u[1:2], before, after, out=u[-1:])
        comm.sendrecv(u[-2:-1], after, before, out=u[:1])
        largest = 0.0
        for i in range(1, u.size - 1):
            new[i] = u[i] + 0.25 * (u[i - 1] - 2 * u[i] + u[i + 1])
            largest = max(largest, abs(new[i] - u[i]))
        change = comm.allreduce(largest, dc.MAX)
        u[1:-1] = new[1:-1]
        step += 1
    piece[:] = u[1:-1]
    return step, change


def neighbours(comm):
    """The ranks before and after this one; None at the ends of the rod."""
    before = comm.rank - 1 if comm.rank > 0 else None
    after = comm.rank + 1 if comm.rank + 1 < comm.size else None
    return before, after


neighbours_compiled = dc.jit(neighbours)


def main():
    """Both, timed, against the rod in one piece."""
    comm, rows = dc.COMM_WORLD, dc.block(CELLS)
    seconds = {}
    for run in (in_python, compiled):
        piece = np.zeros(rows.stop - rows.start)
        run(comm, piece.copy(), 0.0, 3)  # compiles
        comm.barrier()
        start = perf_counter()
        steps, change = run(comm, piece, 1e-3, STEPS)
        seconds[run.__name__] = comm.allreduce(perf_counter() - start, dc.MAX)
        whole = comm.gather(piece)
        if comm.rank == 0:
            alone = np.zeros(CELLS)
            in_python(dc.COMM_SELF, alone, 0.0, steps)
            if not np.allclose(whole, alone, rtol=0, atol=1e-9):
                raise SystemExit(f"rod: {run.__name__} differs from the rod in one piece")
    if comm.rank == 0:
        each = [f"{1e6 * seconds[name] / steps:.1f} us a step {name}" for name in seconds]
        print(f"{steps} steps, last change {change:.2g}; {', '.join(each)}")
        print("rod: OK")


if __name__ == "__main__":
    main()
