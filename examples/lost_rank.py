"""A rod cools, a rank dies, and the others go on with its part.

Every 200 steps the rod is saved. When a rank has died, `dc.recover` calls `cool` again, with a communicator of those
that live: each takes its block of the last checkpoint and goes on. That takes Open MPI and its option:

    mpirun --with-ft ulfm -n 4 python examples/lost_rank.py --lose 1

Without it the job ends when a rank dies, and goes on from the checkpoint when it is started again, by hand or by
``python -m dcomp run --restarts 1``.
"""

import os
import signal
import sys

import numpy as np

import dcomp as dc

CELLS = 3000
STEPS = 2000
EVERY = 200  # steps between checkpoints
MODE = np.pi / (CELLS + 1)
DEATH = 1100  # the step in which the rank after --lose dies, in a run from the beginning


def cool(comm):
    """From the last checkpoint to the end; the whole rod, on rank 0."""
    checkpoint = dc.Checkpoint("rod", comm=comm)
    start, state = checkpoint.restore()
    u = np.pad(state.get("u", sine(comm.block(CELLS))), 1)  # with a cell of each neighbour
    start = start or 0
    if comm.rank == 0:
        print(f"on {comm.size} ranks from step {start}", flush=True)
    before = comm.rank - 1 if comm.rank > 0 else None
    after = comm.rank + 1 if comm.rank + 1 < comm.size else None
    for step in range(start, STEPS):
        if step % EVERY == 0 and step > start:
            checkpoint.save(step, u=u[1:-1])
        if step == DEATH and start == 0 and dc.rank == doomed():
            os.kill(os.getpid(), signal.SIGKILL)
        comm.sendrecv(u[1:2], before, after, out=u[-1:])  # to the left, and from the right
        comm.sendrecv(u[-2:-1], after, before, out=u[:1])
        u[1:-1] += 0.25 * (u[:-2] - 2 * u[1:-1] + u[2:])
    return comm.gather(u[1:-1])


def sine(rows):
    """These cells in the beginning: half a wave, which keeps its shape."""
    return 100 * np.sin(np.arange(1, CELLS + 1)[rows] * MODE)


def doomed():
    """The rank that dies, if the program was told so."""
    return int(sys.argv[sys.argv.index("--lose") + 1]) if "--lose" in sys.argv else None


def main():
    """The rod, against the formula."""
    rod = dc.recover(cool)
    if rod is not None:
        exact = sine(slice(None)) * (1 - np.sin(MODE / 2) ** 2) ** STEPS
        if not np.allclose(rod, exact, rtol=1e-9, atol=1e-9):
            raise SystemExit("lost_rank: the rod differs from the formula")
        print("lost_rank: OK")


if __name__ == "__main__":
    main()
