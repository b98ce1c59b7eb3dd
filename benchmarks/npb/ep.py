"""EP, embarrassingly parallel: pairs of normal random numbers, their sums, and how many lie in which square ring.

Source: kernel EP of RNR-94-007 (the polar method on pairs of uniform numbers); classes of NAS-95-020 (see `lcg`).

Fast because one loop does it all, and LLVM vectorises it: numbers far from each other in the stream, each with its own
state, advance together, a jump of all of them at once; pairs outside the circle are not branched around but get the
factor 0; `kernels.random.log` is arithmetic, no call of a library; the rings are counted by shifts in one word.
"""

import math

import numpy as np
from lcg import MASK, SCALE, advanced
from outcome import Outcome, Stopwatch, agrees

import dcomp as dc
from dcomp.kernels.random import log

SEED = 271828183
CLASSES = {  # log2 of the number of pairs, and the sums
    "S": (24, -3.247834652034740e3, -6.958407078382297e3),
    "W": (25, -2.863319731645753e3, -6.320053679109499e3),
    "A": (28, -4.295875165629892e3, -1.580732573678431e4),
    "B": (30, 4.033815542441498e4, -2.660669192809235e4),
}
BATCH = 1 << 16  # pairs that are summed up by themselves
LANES = 256  # pairs that advance together: five arrays, which stay in the first cache
RINGS = 10
BITS = 6  # of a count in a word of ten
STEPS = 1 << (BITS - 1)  # so many cannot overflow it


def run(letter: str, comm: dc.Communicator) -> Outcome:
    """Solve the problem of a class, and compare."""
    log2_pairs, *expected = CLASSES[letter]
    solve(slice(comm.rank, comm.rank + 1), comm)  # compiles
    watch = Stopwatch(comm)
    x, y, counts = solve(comm.block((1 << log2_pairs) // BATCH), comm)
    seconds = watch.stop()
    is_verified = agrees(x, expected[0], 1e-8) and agrees(y, expected[1], 1e-8)
    return Outcome(seconds, 2.0 ** (log2_pairs + 1), is_verified, f"sums {x!r}, {y!r}, counts {counts.tolist()}")


def solve(batches: slice, comm: dc.Communicator) -> tuple[float, float, np.ndarray]:
    """Sums and counts of the pairs of all ranks' batches; collective."""
    sums = np.zeros((2, batches.stop - batches.start))
    counts = comm.allreduce(tally(*sums, *lanes(batches.start)))
    # Exact sums of those of the batches: the same bits, on however many ranks.
    x, y = (float(dc.sum(row, reproducible=True, comm=comm)) for row in sums)
    return x, y, counts


def lanes(batch: int) -> tuple[np.ndarray, np.ndarray, np.uint64]:
    """The states of the first pairs of a batch, one for each lane, and the multiplier that takes them to the next."""
    x, y = (
        np.array([advanced(SEED, 2 * (batch * BATCH + i) + place) for i in range(LANES)], np.uint64) for place in (1, 2)
    )
    return x, y, np.uint64(advanced(1, 2 * LANES))


@dc.jit(error_model="numpy")  # divisions are not looked at for zeros
def tally(batches_x, batches_y, x, y, jump):
    """The sums of both numbers of the pairs in each batch, and the counts of the rings, returned.

    Cost: some 90 operations, two divisions and a square root per pair; nothing is read from memory.
    """
    counts = np.zeros(RINGS, np.int64)
    sums_x, sums_y, words = np.empty(LANES), np.empty(LANES), np.empty(LANES, np.uint64)
    for batch in range(batches_x.size):
        sums_x[:] = sums_y[:] = 0
        for _ in range(BATCH // (LANES * STEPS)):
            words[:] = 0
            for _ in range(STEPS):
                advance(sums_x, sums_y, words, x, y, jump)
            for ring in range(RINGS):
                counts[ring] += (words >> np.uint64(ring * BITS) & np.uint64((1 << BITS) - 1)).sum()
        batches_x[batch], batches_y[batch] = sums_x.sum(), sums_y.sum()
    return counts


@dc.jit(error_model="numpy")
def advance(sums_x, sums_y, words, x, y, jump):
    """Add a pair of each lane to its sums and counts, and move on to the next."""
    mask, width = np.uint64(MASK), np.uint64(BITS)
    for i in range(LANES):
        u, v = np.int64(x[i]) * (2 * SCALE) - 1, np.int64(y[i]) * (2 * SCALE) - 1
        x[i], y[i] = x[i] * jump & mask, y[i] * jump & mask
        t = u * u + v * v
        is_inside = t <= 1.0
        t = min(t, 1.0)
        factor = math.sqrt(-2.0 * log(t) / t)
        u, v = u * factor, v * factor
        sums_x[i] += u
        sums_y[i] += v
        words[i] += np.uint64(is_inside) << np.uint64(np.int64(max(abs(u), abs(v)))) * width
