"""A rod cools, a rank dies, and the others go on with its part.

Every 200 steps the rod is written to a file. When a rank has died, `dc.recover` calls `cool` again, with a communicator
of those that live: each takes its block of the last file and goes on. That takes Open MPI and its option:

    mpirun --with-ft ulfm -n 4 python examples/lost_rank.py --lose 1

Without it the job ends when a rank dies, and goes on from the file when it is started again, by hand or by
``python -m dcomp run --restarts 1``.
"""

import os
import signal
import sys

import numpy as np

import dcomp as dc

CELLS = 3000
STEPS = 2000
EVERY = 200  # steps between files
FILE = "rod.npz"
DEATH = 1100  # the step in which the rank after --lose dies, in a run from the beginning


def cool(comm):
    """From the last file to the end; the whole rod, on rank 0."""
    start, whole = load(comm)
    rows = comm.block(CELLS)
    u = np.zeros(rows.stop - rows.start + 2)  # with a cell of each neighbour
    u[1:-1] = whole[rows]
    before = comm.rank - 1 if comm.rank > 0 else None
    after = comm.rank + 1 if comm.rank + 1 < comm.size else None
    for step in range(start, STEPS):
        if step % EVERY == 0 and step > start:
            save(comm, step, u[1:-1])
        if step == DEATH and start == 0 and dc.rank == doomed():
            os.kill(os.getpid(), signal.SIGKILL)
        comm.sendrecv(u[1:2], before, after, out=u[-1:])  # to the left, and from the right
        comm.sendrecv(u[-2:-1], after, before, out=u[:1])
        u[1:-1] += 0.25 * (u[:-2] - 2 * u[1:-1] + u[2:])
    return comm.gather(u[1:-1])


def load(comm):
    """The step and the rod of the last file, or how everything begins; the same on all ranks."""
    state = None
    if comm.rank == 0:
        state = 0, 100 * np.sin(np.arange(1, CELLS + 1) * np.pi / (CELLS + 1))
        if os.path.exists(FILE):
            with np.load(FILE) as file:
                state = int(file["step"]), file["rod"]
            print(f"on {comm.size} ranks from step {state[0]}", flush=True)
    return comm.bcast_object(state)


def save(comm, step, piece):
    """Write the rod; the file has its name when all of it is there."""
    rod = comm.gather(piece)
    if comm.rank == 0:
        np.savez("new.npz", step=step, rod=rod)
        os.replace("new.npz", FILE)


def doomed():
    """The rank that dies, if the program was told so."""
    return int(sys.argv[sys.argv.index("--lose") + 1]) if "--lose" in sys.argv else None


def main():
    """The rod, against the formula: a sine keeps its shape."""
    rod = dc.recover(cool)
    if rod is not None:
        mode = np.pi / (CELLS + 1)
        exact = 100 * np.sin(np.arange(1, CELLS + 1) * mode) * (1 - np.sin(mode / 2) ** 2) ** STEPS
        if not np.allclose(rod, exact, rtol=1e-9, atol=1e-9):
            raise SystemExit("lost_rank: the rod differs from the formula")
        print("lost_rank: OK")


if __name__ == "__main__":
    main()
