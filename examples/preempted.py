"""A wire is heated at random: a run that is stopped, and started again on other ranks, ends with the same bits.

Every step draws the heat of all cells from one stream of random numbers, whose bits do not depend on the number of
ranks, and lets it flow to the neighbours. When a signal comes, or the time of a Slurm job is nearly up, the run saves
its state and ends with a status that asks to be started again; `slurm/requeue.sbatch` has Slurm do that.

    mpirun -n 4 python examples/preempted.py
    kill -USR1 ...                                # from elsewhere
    mpirun -n 3 python examples/preempted.py      # goes on where that was
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import dcomp as dc

CELLS = 1000
SEED = 11


def advance(grid, u, noise):
    """One step of this rank's cells, between one ghost cell on each side."""
    u[1:-1] += noise.normal(CELLS, scale=0.01)
    grid.halo(u)
    u[1:-1] += 0.25 * (u[:-2] - 2 * u[1:-1] + u[2:])


def undisturbed(steps):
    """All cells, computed by this rank alone."""
    with dc.COMM_SELF.cart(1) as grid:
        u, noise = np.zeros(CELLS + 2), dc.random.Generator(SEED, comm=grid)
        for _ in range(steps):
            advance(grid, u, noise)
    return u[1:-1]


def main():
    """Go on from the last checkpoint; stop when the job has to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that a step takes longer")
    parser.add_argument("--finished", type=Path, default=Path("finished.txt"), help="a file to write when all is done")
    arguments = parser.parse_args()

    dc.stop_requested()  # from here on signals are noted
    grid = dc.COMM_WORLD.cart(dc.size)
    u = np.zeros(CELLS)[grid.block(CELLS)[0]]
    step, noise = 0, dc.random.Generator(SEED)
    checkpoint = dc.Checkpoint("preempted", keep=2)
    last, state = checkpoint.restore()
    if last is not None:
        step, u, noise = last, state["u"], state["noise"]
    left = dc.time_left()
    if dc.rank == 0:
        print(f"preempted: from step {step} on {dc.size} ranks, {left:.0f} s left", flush=True)

    u = np.pad(u, 1)  # with ghost cells
    while step < arguments.steps:
        advance(grid, u, noise)
        step += 1
        time.sleep(arguments.pause)
        is_stopping = dc.stop_requested()
        if is_stopping or step % arguments.every == 0:
            checkpoint.save(step, u=u[1:-1], noise=noise, wait=is_stopping)
        if is_stopping:
            sys.exit(dc.STOPPED)
    checkpoint.wait()

    whole = dc.gather(u[1:-1])
    if dc.rank == 0:
        if not np.array_equal(whole, undisturbed(step)):
            raise SystemExit("preempted: other bits than those of an undisturbed run")
        arguments.finished.write_text(f"{step} steps: {whole.tobytes()[:8].hex()}\n")
        print(f"preempted: OK, {step} steps, the bits of an undisturbed run")


if __name__ == "__main__":
    main()
