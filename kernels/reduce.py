"""Sums and extremes of contiguous arrays of one dimension: of bool, integers, float32, float64 and, sums, complex.

What is combined in which order depends on the length alone: the same bits on every processor. Each number is read
once. They are called from Python and from compiled code.
"""

import numpy as np

from ._arguments import have_one_length
from ._jit import jit, jit_inlined
from ._lanes import EXTREME_STEP, STEP, whole_max, whole_min, whole_sum

_SUMMED = 2048  # numbers that are summed in lanes
_SEARCHED = 1 << 14  # bytes of which the extreme is found before its place is
_CHUNK = 256  # numbers that are compared at a time


@jit_inlined
def _sum_in_lanes(x):
    whole = x.size - x.size % STEP
    total = whole_sum(x, whole)
    for i in range(whole, x.size):
        total += x[i]
    return total


@jit
def sum(x):
    """The sum; 0 if there are no numbers. Of bool and integers it is an int64 or a uint64, which wraps, as NumPy's.

    Else it has the dtype of x. Blocks are summed in lanes, and then added pairwise (N. Higham, "The accuracy of
    floating point summation", SIAM J. Sci. Comput. 14 (1993), section 3): it is off by at most
    ``(100 + log2(n / 2048)) eps sum(|x|)``, and for complex numbers, in each part, by twice the first number.

    Cost: 1 operation per number.
    """
    have_one_length((x,))
    total = _sum_in_lanes(x[:_SUMMED])
    if x.size <= _SUMMED:
        return total
    sums, count = np.full(64, total), 0  # of twice as many blocks each as the next, as the bits of `block` have it
    for block in range((x.size + _SUMMED - 1) // _SUMMED):
        rest, total = block, _sum_in_lanes(x[block * _SUMMED : (block + 1) * _SUMMED])
        while rest & 1:
            count -= 1
            total = sums[count] + total
            rest >>= 1
        sums[count] = total
        count += 1
    while count > 1:
        count -= 1
        sums[count - 1] += sums[count]
    return sums[0]


@jit
def min(x):
    """The least number; NaN if there is one. As `numpy.min`; for the rest see `min_place`."""
    return min_place(x)[0]


@jit
def max(x):
    """The greatest number; NaN if there is one. As `numpy.max`; for the rest see `max_place`."""
    return max_place(x)[0]


@jit
def min_place(x):
    """The least number and its place: the first, if there are several. The first NaN, if there is one.

    The place is that of `numpy.argmin`. ValueError if there are no numbers. Cost: 1 operation per number.
    """
    if x.size == 0:
        raise ValueError("min: x must have numbers; got none, of which no number is the least.")
    return _extreme_place(x, False)


@jit
def max_place(x):
    """The greatest number and its place; see `min_place`."""
    if x.size == 0:
        raise ValueError("max: x must have numbers; got none, of which no number is the greatest.")
    return _extreme_place(x, True)


@jit_inlined
def _extreme_place(x, is_max):
    have_one_length((x,))
    block, first = _SEARCHED // x.itemsize, 0
    value, has_nan = _extreme_of(x[:block], is_max)
    for start in range(block, x.size, block):
        if has_nan:
            break
        other, has_nan = _extreme_of(x[start : start + block], is_max)
        if has_nan or _is_beyond(other, value, is_max):
            value, first = other, start
    place = first + _find(x[first : first + block], value, has_nan)
    return x[place], place


@jit_inlined
def _is_beyond(a, b, is_max):
    return a > b if is_max else a < b


@jit_inlined
def _extreme_of(x, is_max):
    """The extreme, and whether there is a NaN."""
    step = EXTREME_STEP // x.itemsize
    value, has_nan = x[0], x[0] != x[0]
    if x.size < step:
        for i in range(1, x.size):
            has_nan |= x[i] != x[i]
            if _is_beyond(x[i], value, is_max):
                value = x[i]
        return value, has_nan
    whole = x.size - x.size % step
    for part, count in ((x, whole), (x[x.size - step :], step)):  # some of the last ones twice, which does no harm
        other, is_in = whole_max(part, count) if is_max else whole_min(part, count)
        has_nan |= is_in
        if _is_beyond(other, value, is_max):
            value = other
    return value, has_nan


@jit_inlined
def _find(x, value, is_nan):
    """The first place of a value, or of a NaN, which is there."""
    for start in range(0, x.size, _CHUNK):
        chunk, is_here = x[start : start + _CHUNK], False
        for i in range(chunk.size):
            is_here |= chunk[i] != chunk[i] if is_nan else chunk[i] == value
        if is_here:
            for i in range(chunk.size):
                if chunk[i] != chunk[i] if is_nan else chunk[i] == value:
                    return start + i
    return -1
