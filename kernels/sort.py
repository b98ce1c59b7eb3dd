"""Sorting on one rank: keys of floats, radix sort, merge of sorted runs, search in sorted keys.

Keys are unsigned integers in the order of the numbers that they stand for, so that one sort serves all dtypes. `values`
are what moves along with the keys, of any dtype, or None. Radix sort and merge need second arrays of the same lengths,
and return whether the result lies there.
"""

import numpy as np

from ._jit import jit

_BITS = np.int64(8)  # of a digit: 256 places to write to have a line each in the first cache
_PLACES = 1 << 8
_MASK = np.uint64(_PLACES - 1)
_FEW = 32  # keys for which it does not pay to count digits


@jit
def float_keys(keys, bits, infinity, canonical):
    """The keys of floats of at most 64 bits, NaNs last.

    Parameters
    ----------
    keys, bits : arrays of unsigned integers, shape (n,)     The result, and the floats' bits; may be the same array.
    infinity : int     The bits of +inf in this format.
    canonical : bool
        Whether both zeros have the same key, and so have all NaNs. If not, every bit pattern has its own: -0.0 comes
        before 0.0, NaNs are in the order of their bits, and `float_bits` is the inverse.

    Notes
    -----
    Cost: each element is read and written once. To flip all bits of negative numbers, and the sign of the others, gives
    the order of the numbers (M. Herf, Radix Tricks, 2001), but for negative NaNs, which come first. To subtract how
    many bit patterns those are moves them behind all others, since unsigned integers wrap.
    """
    one = np.uint64(1)
    width = np.uint64(8 * keys.itemsize)
    mask = ~np.uint64(0) >> (np.uint64(64) - width)
    sign = one << (width - one)
    negative_nans = (sign - one) ^ np.uint64(infinity)
    greatest = (np.uint64(infinity) | sign) - negative_nans  # of a number
    for i in range(keys.size):
        b = np.uint64(bits[i])
        if canonical and b == sign:
            b = np.uint64(0)
        flip = mask if b & sign else sign
        key = ((b ^ flip) - negative_nans) & mask
        if canonical and key > greatest:
            key = mask
        keys[i] = key


@jit
def float_bits(bits, keys, infinity):
    """The inverse of `float_keys` where that is not canonical; arguments and cost as there."""
    one = np.uint64(1)
    width = np.uint64(8 * keys.itemsize)
    mask = ~np.uint64(0) >> (np.uint64(64) - width)
    sign = one << (width - one)
    negative_nans = (sign - one) ^ np.uint64(infinity)
    for i in range(keys.size):
        b = (np.uint64(keys[i]) + negative_nans) & mask
        bits[i] = b ^ (sign if b & sign else mask)


@jit
def radix_sort(keys, other, values=None, other_values=None):
    """Sort keys, stably, and `values` along with them; whether the result lies in the other arrays.

    Parameters
    ----------
    keys, other : arrays of unsigned integers, shape (n,)     Both are overwritten.
    values, other_values : arrays, shape (n,), optional

    Notes
    -----
    From the least digit of 8 bits to the greatest (D. Knuth, The Art of Computer Programming 3, 5.2.5, algorithm R).
    Digits begin at bits in which keys differ, so those that are the same in all cost nothing; nor do keys in order.
    Cost: for each digit every key and value is read and written once. The next digit is counted on the way.
    """
    n = keys.size
    if n <= _FEW:
        _insert(keys, values)
        return False
    spread, is_sorted = survey(keys)
    if is_sorted:
        return False
    here, there, counts, next_counts = keys, other, np.zeros(_PLACES, np.int64), np.zeros(_PLACES, np.int64)
    moved, moved_there = values, other_values
    is_there = False
    shift = _next_digit(spread, 0)
    for i in range(n):
        counts[(np.uint64(keys[i]) >> np.uint64(shift)) & _MASK] += 1
    while shift < 64:
        following = _next_digit(spread, shift + _BITS)
        start = 0
        for place in range(_PLACES):
            start, counts[place] = start + counts[place], start
            next_counts[place] = 0
        _deal(there, here, np.uint64(shift), counts, np.uint64(min(following, 63)), next_counts, moved_there, moved)
        here, there = there, here
        moved, moved_there = moved_there, moved
        counts, next_counts = next_counts, counts
        is_there = not is_there
        shift = following
    return is_there


@jit
def _deal(out, keys, shift, places, following, counts, out_values, values):
    """Write each key to the place of its digit, and count the digits that follow."""
    for i in range(keys.size):
        key = np.uint64(keys[i])
        digit = (key >> shift) & _MASK
        counts[(key >> following) & _MASK] += 1
        place = places[digit]
        out[place] = key
        if values is not None:
            out_values[place] = values[i]
        places[digit] = place + 1


@jit
def survey(keys):
    """The bits in which keys differ, and whether they are in order."""
    first, spread, is_sorted = keys[0], np.uint64(0), True
    for i in range(1, keys.size):
        spread |= np.uint64(keys[i] ^ first)
        is_sorted &= keys[i - 1] <= keys[i]
    return spread, is_sorted


@jit
def _next_digit(spread, shift):
    """The first bit from `shift` on in which keys differ; 64: there is none."""
    while shift < 64 and not (spread >> np.uint64(shift)) & np.uint64(1):
        shift += 1
    return min(shift, 64)


@jit
def _insert(keys, values):
    """Sort few keys by insertion."""
    for i in range(1, keys.size):
        key, j = keys[i], i
        if values is not None:
            value = values[i]
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            if values is not None:
                values[j] = values[j - 1]
            j -= 1
        keys[j] = key
        if values is not None:
            values[j] = value


@jit
def merge_runs(keys, other, bounds, values=None, other_values=None):
    """Merge sorted runs that follow each other, stably; whether the result lies in the other arrays.

    Parameters
    ----------
    keys, other : arrays, shape (n,)     Both are overwritten.
    bounds : array of int64, shape (runs + 1,)     Where each run begins, and n.
    values, other_values : arrays, shape (n,), optional

    Notes
    -----
    Cost: for each of log2(runs) rounds, rounded up, every key and value is read and written once.
    """
    ends, is_there = bounds.copy(), False
    runs = ends.size - 1
    here, there, moved, moved_there = keys, other, values, other_values
    while runs > 1:
        pairs = (runs + 1) // 2
        for i in range(pairs):
            start, middle, end = ends[2 * i], ends[min(2 * i + 1, runs)], ends[min(2 * i + 2, runs)]
            _merge(there, here, start, middle, end, moved_there, moved)
            ends[i] = start
        ends[pairs] = ends[runs]
        runs = pairs
        here, there = there, here
        moved, moved_there = moved_there, moved
        is_there = not is_there
    return is_there


@jit
def _merge(out, keys, start, middle, end, out_values, values):
    """Merge the runs ``start:middle`` and ``middle:end``.

    From both ends at once, so that the processor has two chains of comparisons to work on. As many steps as the shorter
    run has keys cannot get to its end, and are taken without looking for it.
    """
    i, j, last_i, last_j = start, middle, middle - 1, end - 1
    first, last = start, end - 1
    while i <= last_i and j <= last_j:
        for _ in range((min(last_i - i, last_j - j) + 2) // 2):
            take_j = keys[j] < keys[i]
            source = j if take_j else i
            out[first] = keys[source]
            if values is not None:
                out_values[first] = values[source]
            j += take_j
            i += not take_j
            first += 1
            if i > last_i or j > last_j:
                break
            take_i = keys[last_j] < keys[last_i]
            source = last_i if take_i else last_j
            out[last] = keys[source]
            if values is not None:
                out_values[last] = values[source]
            last_i -= take_i
            last_j -= not take_i
            last -= 1
    if i > last_i:
        i, last_i = j, last_j
    for k in range(last_i - i + 1):
        out[first + k] = keys[i + k]
        if values is not None:
            out_values[first + k] = values[i + k]


@jit
def count_below(counts, keys, starts, ends, splitters):
    """How many keys of sorted ranges are less than splitters.

    Parameters
    ----------
    counts : array of int64, shape (ranges, k)     The result.
    keys : array, shape (n,)
    starts, ends : arrays of int64, shape (ranges,)     ``keys[starts[i]:ends[i]]`` is in order.
    splitters : array of the dtype of keys, shape (ranges, k)     Each row for its range.

    Notes
    -----
    Cost: log2(length of the range) comparisons for each splitter.
    """
    for row in range(counts.shape[0]):
        for column in range(counts.shape[1]):
            splitter, start, end = splitters[row, column], starts[row], ends[row]
            while start < end:
                middle = (start + end) // 2
                if keys[middle] < splitter:
                    start = middle + 1
                else:
                    end = middle
            counts[row, column] = start - starts[row]
