"""p2p: ``A[i, j] = A[i - 1, j] + A[i, j - 1] - A[i - 1, j - 1]``, a wave that goes from rank to rank.

The columns are cut into blocks. A rank cannot begin a row before it has got the number to the left of it, so the ranks
work on different rows at a time. The last number of all, negative, becomes the first, and the next wave begins.
"""

import numpy as np
from outcome import Outcome, agrees, timed

import dcomp as dc

UNIT = "MFlop/s"
BAND = 4  # rows that are computed together


@dc.jit
def compute_band(above, a, b, c, d):
    """Four rows below the row `above`, from their second number on.

    In a row every sum waits for the one before it. The four rows do not wait for each other, but for one column:
    the processor has four sums at work, and each number stays in a register for the next column and the next row.
    """
    corner, west_a, west_b, west_c, west_d = above[0], a[0], b[0], c[0], d[0]
    for j in range(1, above.size):
        north = above[j]
        new_a = west_a + (north - corner)
        new_b = west_b + (new_a - west_a)
        new_c = west_c + (new_b - west_b)
        new_d = west_d + (new_c - west_c)
        a[j], b[j], c[j], d[j] = new_a, new_b, new_c, new_d
        corner, west_a, west_b, west_c, west_d = north, new_a, new_b, new_c, new_d


@dc.jit
def compute_row(above, a):
    """One row below the row `above`."""
    for j in range(1, above.size):
        a[j] = a[j - 1] + (above[j] - above[j - 1])


@dc.jit
def step(comm, grid, before, after):
    """One wave; the first column of `grid` is given on the first rank, and comes from the rank before on others.

    One message of one number for each row: the grouping of the specification is 1.
    """
    rows = grid.shape[0]
    for top in range(1, rows, BAND):
        bottom = min(top + BAND, rows)
        if before is not None:
            for i in range(top, bottom):
                comm.recv(before, out=grid[i, :1])
        if bottom - top == BAND:
            compute_band(grid[top - 1], grid[top], grid[top + 1], grid[top + 2], grid[top + 3])
        else:
            for i in range(top, bottom):
                compute_row(grid[i - 1], grid[i])
        if after is not None:
            for i in range(top, bottom):
                comm.send(grid[i, -1:], after)
    first, last = 0, comm.size - 1
    if first == last:
        grid[0, 0] = -grid[-1, -1]
    elif comm.rank == last:
        comm.send(-grid[-1, -1:], first)
    elif comm.rank == first:
        comm.recv(last, out=grid[0, :1])


def run(size: int, iterations: int, comm: dc.Communicator) -> Outcome:
    """A grid of `size` times `size` numbers."""
    if size < 2 * comm.size:
        raise ValueError(f"p2p: size must be at least 2 for each of {comm.size} ranks; got {size}.")
    cart = comm.cart(comm.size)
    before, after = cart.shift(0)
    mine = comm.block(size)
    start = mine.start if before is None else mine.start - 1
    grid = np.zeros((size, mine.stop - start))
    grid[0] = np.arange(start, mine.stop)
    if before is None:
        grid[:, 0] = np.arange(size)
    seconds = timed(comm, lambda: step(comm, grid, before, after), iterations)
    corner, expected = comm.allgather(grid[-1, -1])[-1], 2.0 * (iterations + 1) * (size - 1)
    operations = 2 * (size - 1) ** 2
    return Outcome(
        seconds, iterations * operations, agrees(corner, expected, 1e-8), f"last number {corner}, not {expected}"
    )
