"""stencil: ``out += S in`` with a star of radius 2, then ``in += 1``, on a square grid that is cut in both directions.

The cells that are 2 or less from the edge of the whole grid are only read. Weights: 1 / (2 k R) at the distance k to
the south and to the east, the negative to the north and to the west.
"""

import numpy as np
from outcome import Outcome, timed

import dcomp as dc

UNIT = "MFlop/s"
RADIUS = 2
FAR, NEAR = 1 / (2 * 2 * RADIUS), 1 / (2 * 1 * RADIUS)
OPERATIONS = 2 * (4 * RADIUS + 1) + 1  # per cell: a product and a sum for each point of the star, and the sum with out


@dc.jit
def add_star(out, grid, rows, columns):
    """``out += S grid`` in these rows and columns of a block, then ``grid += 1``; `grid` has a frame of RADIUS cells.

    From memory, this is bound by what it moves: 32 bytes per cell, as a cell gets its 1 where it is read for the last
    time, by the star two rows further down; in two loops one after the other it would be 40. Nothing is kept from one
    iteration to the next. The views all begin at index 0, so that numba knows that no index is negative, and the loop
    is vectorised. Cells of the frame get a 1 as well, and then what `halo` brings.
    """
    (top, bottom), (left, right) = rows, columns
    first, last = left + RADIUS, right + RADIUS
    for i in range(top, bottom):
        target, here = out[i, left:right], grid[i + 2, left:]
        west1, east1, east2 = here[1:], here[3:], here[4:]
        north2, north1 = grid[i, first:last], grid[i + 1, first:last]
        south1, south2 = grid[i + 3, first:last], grid[i + 4, first:last]
        for j in range(target.size):
            last_read = north2[j]
            along = FAR * east2[j] + NEAR * east1[j] - NEAR * west1[j] - FAR * here[j]
            target[j] += FAR * south2[j] + NEAR * south1[j] - NEAR * north1[j] - FAR * last_read + along
            north2[j] = last_read + 1.0
        raise_row(grid[i, RADIUS:first])
        raise_row(grid[i, last:-RADIUS])
    for i in range(bottom, grid.shape[0] - RADIUS):
        raise_row(grid[i, RADIUS:-RADIUS])


@dc.jit
def raise_row(row):
    """``row += 1``."""
    for j in range(row.size):
        row[j] += 1.0


def run(size: int, iterations: int, comm: dc.Communicator) -> Outcome:
    """A grid of `size` times `size` cells."""
    cart = comm.cart()
    if size < 2 * RADIUS + 1 or size // max(cart.dims) < RADIUS:
        raise ValueError(f"stencil: size must give each of {cart.dims} ranks {RADIUS} rows and columns; got {size}.")
    block = cart.block((size, size))
    out = np.zeros([cut.stop - cut.start for cut in block])
    grid = np.zeros([extent + 2 * RADIUS for extent in out.shape])
    grid[RADIUS:-RADIUS, RADIUS:-RADIUS] = np.add.outer(*[np.arange(cut.start, cut.stop) for cut in block])
    rows, columns = (
        (max(RADIUS - cut.start, 0), min(cut.stop, size - RADIUS) - cut.start) for cut in block
    )  # those that are computed, counted from the block's first

    def step() -> None:
        cart.halo(grid, RADIUS)
        add_star(out, grid, rows, columns)

    seconds = timed(comm, step, iterations)
    cells = (size - 2 * RADIUS) ** 2
    norm, expected = comm.allreduce(np.abs(out).sum()) / cells, 2.0 * (iterations + 1)
    is_verified = bool(abs(norm - expected) <= 1e-8)
    return Outcome(seconds, iterations * cells * OPERATIONS, is_verified, f"norm {norm}, not {expected}")
