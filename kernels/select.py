"""Selection and histograms on one rank: counting keys by their leading bits, taking some of them, counting in bins."""

import numpy as np

from ._jit import jit


@jit
def key_bounds(keys):
    """The least and the greatest of at least one key. Cost: each is read once."""
    least = greatest = keys[0]
    for key in keys:
        least, greatest = min(least, key), max(greatest, key)
    return least, greatest


@jit
def count_keys(counts, keys, least, shift):
    """``counts[(keys[i] - least) >> shift] += 1``.

    Parameters
    ----------
    counts : array of int64, shape (k,)
    keys : array of unsigned integers, shape (n,)     None is less than `least`, or falls behind the last count.
    least : uint64
    shift : int

    Notes
    -----
    Cost: each key is read once; 2**16 counts stay in the second cache.
    """
    shift = np.uint64(shift)
    for i in range(keys.size):
        counts[(np.uint64(keys[i]) - least) >> shift] += 1


@jit
def take_keys(out, keys, least, shift, wanted):
    """Copy the keys with ``wanted[(key - least) >> shift]``, in their order.

    Parameters
    ----------
    out : array, shape (at least as many as are copied,)
    keys, least, shift : as in `count_keys`
    wanted : array of bool, shape (k,)

    Notes
    -----
    Cost: each key is read once.
    """
    shift = np.uint64(shift)
    place = 0
    for i in range(keys.size):
        if wanted[(np.uint64(keys[i]) - least) >> shift]:
            out[place] = keys[i]
            place += 1


@jit
def count_in_bins(counts, x, edges):
    """Count the numbers in bins of about the same width.

    Parameters
    ----------
    counts : array of int64, shape (bins,)     Is added to.
    x : array of float64, shape (n,)     What is outside of all bins, and NaN, is not counted.
    edges : array of float64, shape (bins + 1,)
        In order, the first less than the last. A bin is from its left edge up to its right one, and without that,
        except for the last bin.

    Notes
    -----
    Exact: what arithmetic finds is corrected by comparing with the edges. Cost: each number is read once; a division.
    """
    bins = counts.size
    first, last = edges[0], edges[bins]
    scale = 1.0 if last - first < np.inf else 0.5  # so that no difference overflows
    width = last * scale - first * scale
    for i in range(x.size):
        value = x[i]
        if first <= value <= last:
            place = min(int((value * scale - first * scale) / width * bins), bins - 1)
            while value < edges[place]:
                place -= 1
            while place < bins - 1 and value >= edges[place + 1]:
                place += 1
            counts[place] += 1
