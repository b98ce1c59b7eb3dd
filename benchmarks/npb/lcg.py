"""The random numbers of the NAS Parallel Benchmarks: ``x' = 5**13 x mod 2**46``, and ``x / 2**46``.

Source: D. Bailey et al., The NAS Parallel Benchmarks, RNR-94-007 (1994), section 2.3, which has also what the kernels
compute; their classes are those of D. Bailey et al., The NAS Parallel Benchmarks 2.0, NAS-95-020 (1995).
"""

import numpy as np

import dcomp as dc

MULTIPLIER = 5**13
MASK = (1 << 46) - 1
SCALE = 2.0**-46


def advanced(seed: int, steps: int) -> int:
    """The state so many steps after `seed`. Cost: 2 log2(steps) multiplications."""
    return seed * pow(MULTIPLIER, steps, MASK + 1) & MASK


@dc.jit
def fill(out, seed):
    """Numbers of (0, 1) that follow the state `seed` into a 1-d array of float64; the state of the last of them."""
    state, multiplier, mask = np.uint64(seed), np.uint64(MULTIPLIER), np.uint64(MASK)
    for i in range(out.size):
        state = state * multiplier & mask
        out[i] = np.int64(state) * SCALE
    return np.int64(state)
