"""nstream: the triad ``A += B + s C`` of vectors that no cache holds; nothing is communicated."""

import numpy as np
from outcome import Outcome, agrees, timed

import dcomp as dc

UNIT = "MB/s"
SCALAR = 3.0
B, C = 2.0, 2.0


@dc.jit
def triad(a, b, c, scalar):
    """``a += b + scalar c``. Contiguous, and indices from 0: that is all that the compiler needs to vectorise it."""
    for i in range(a.size):
        a[i] += b[i] + scalar * c[i]


def run(size: int, iterations: int, comm: dc.Communicator) -> Outcome:
    """Vectors of `size` squared numbers, as many as the matrices of the others have, cut into blocks."""
    mine = comm.block(size**2)
    a, b, c = (np.full(mine.stop - mine.start, value) for value in (0.0, B, C))
    seconds = timed(comm, lambda: triad(a, b, c, SCALAR), iterations)
    total = comm.allreduce(np.abs(a).sum())
    expected = size**2 * (iterations + 1) * (B + SCALAR * C)
    bytes_moved = 4 * a.itemsize * size**2  # a is read and written
    return Outcome(
        seconds, iterations * bytes_moved, agrees(total, expected, 1e-8), f"sum of A {total}, not {expected}"
    )
