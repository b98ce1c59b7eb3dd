"""transpose: ``B += A^T``, then ``A += 1``, of square matrices that are cut into blocks of rows."""

import numpy as np
from outcome import Outcome, timed

import dcomp as dc

UNIT = "MB/s"
HEIGHT, WIDTH = 512, 32  # of a tile: 128 KiB, which stay in the second cache from packing to unpacking
STRIP = 64  # rows of a tile that stay in the first cache while all of their columns are taken


@dc.jit
def pack(tile, a, left, width):
    """Put the columns from `left` on of some rows into `tile`, row by row, and add 1 to them in `a`."""
    for i in range(a.shape[0]):
        row, target = a[i, left : left + width], tile[i * width : (i + 1) * width]
        for j in range(width):
            target[j] = row[j]
            row[j] += 1.0


@dc.jit
def add_transposed(b, left, tile, height, width):
    """Add the columns of a tile to the rows of `b`, from the column `left` on."""
    for top in range(0, height, STRIP):
        count = min(STRIP, height - top)
        for j in range(width):
            row, column = b[j, left + top : left + top + count], tile[top * width + j :]
            for i in range(count):
                row[i] += column[i * width]


@dc.jit
def step(comm, b, a, starts, packed, arrived):
    """``b += a^T``, then ``a += 1``; block r begins at ``starts[r]``.

    With one rank after the other, tile by tile. Memory sees each matrix read and written once, in pieces of several
    cache lines: 32 bytes per element, of which the specification counts 16. The turning is done in caches.
    All ranks send as many tiles to each other; where blocks differ in length the last may be empty.
    """
    rank, size = comm.rank, comm.size
    most, mine = starts[1] - starts[0], starts[rank + 1] - starts[rank]
    for turn in range(size):
        dest, source = (rank + turn) % size, (rank - turn) % size
        there, their = starts[dest + 1] - starts[dest], starts[source + 1] - starts[source]
        for top in range(0, most, HEIGHT):
            rows_sent, rows_taken = min(HEIGHT, max(mine - top, 0)), min(HEIGHT, max(their - top, 0))
            for left in range(0, most, WIDTH):
                columns_sent, columns_taken = min(WIDTH, max(there - left, 0)), min(WIDTH, max(mine - left, 0))
                pack(packed, a[top : top + rows_sent], starts[dest] + left, columns_sent)
                tile = packed
                if turn > 0:
                    tile = arrived[: rows_taken * columns_taken]
                    comm.sendrecv(packed[: rows_sent * columns_sent], dest, source, out=tile)
                add_transposed(b[left:], starts[source] + top, tile, rows_taken, columns_taken)


def run(size: int, iterations: int, comm: dc.Communicator) -> Outcome:
    """Matrices of `size` times `size` numbers."""
    mine = comm.block(size)
    rows, columns = np.arange(mine.start, mine.stop, dtype=float)[:, None], np.arange(size, dtype=float)
    a = size * rows + columns
    b = np.zeros_like(a)
    starts = np.append(comm.allgather(mine.start), size)
    packed, arrived = np.empty(HEIGHT * WIDTH), np.empty(HEIGHT * WIDTH)
    seconds = timed(comm, lambda: step(comm, b, a, starts, packed, arrived), iterations)
    expected = (iterations + 1) * (size * columns + rows + iterations / 2)
    error = comm.allreduce(np.abs(b - expected).sum())
    bytes_moved = 2 * a.itemsize * size**2
    return Outcome(seconds, iterations * bytes_moved, bool(error < 1e-8), f"sum of errors {error}")
