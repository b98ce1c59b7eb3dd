"""Sums and dot products of floating-point numbers without rounding, at about the speed of memory.

Blocks of numbers are split into bins, which are integers in units that all numbers of the block share: adding
M = 1.5 * 2**k to a number rounds it to a multiple of the last bit of M, and the bits of the result, taken as an
integer, count such multiples (the extraction of S. Rump, T. Ogita, S. Oishi, "Accurate floating-point summation part
I", SIAM J. Sci. Comput. 31 (2008), section 3; bins also in J. Demmel and H. D. Nguyen, "Parallel reproducible
summation", IEEE Trans. Comput. 64 (2015)). Integers are added in any order, so the loops are vectorised. Two bins take
numbers whose exponents differ by up to 49, three take their products. The remainder, which is looked at and not lost,
tells whether that was enough. If not, the block is taken apart bin by bin.

Where the first bin begins is guessed from the block before. The greatest number, found on the way, tells if that was
wrong.

    state = zeros_for(1);  add_sum(state[0], x)
    ... add the states of all ranks, as integers ...
    rounded(state[0], *format_of(np.float64))
"""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic

from ._jit import jit
from ._limbs import MINUS_ZERO, OTHER, WORDS, add_number, add_product, bits_of, carry, deposit, root, rounded
from ._vector_width import use_long_vectors

__all__ = ["WORDS", "add_dot", "add_sum", "format_of", "root", "rounded", "zeros_for"]

#: Bits, exponent of the last bit of the smallest number, and the power of two beyond the greatest; see `rounded`.
_FORMATS = {
    np.dtype(np.float64): (53, -1074, math.inf),
    np.dtype(np.float32): (24, -149, 2.0**128),
    np.dtype(np.float16): (11, -24, 2.0**16),
}

_BLOCK = 2048  # numbers; two times 16 KiB, and bins of at most 2**62
_MAGNITUDE = 0x7FFFFFFFFFFFFFFF
_BITS = 51  # of a bin
_GREATEST = 1021  # exponent of numbers that may be added to an M
_LEAST = -1074 + 2 * _BITS - 1, -1074 + 3 * _BITS - 1  # so that the last bins of numbers and products end at 2**-1074
_GUESS = 4  # exponent of the numbers in the first block
_ROOM = 2  # by which the exponents of a block may exceed those of the block before
_TINY = (1023 - 900) << 52  # 2**-900, below which the rounding error of a product may have no exact float64
_HUGE = (1023 + 1000) << 52
_NORMAL = 1 << 52  # 2**-1022


def zeros_for(parts):
    """An array of so many states, one for each real part."""
    return np.zeros((parts, WORDS), np.int64)


def format_of(dtype):
    """What `rounded` and `root` must know of a real dtype."""
    return _FORMATS[np.dtype(dtype)]


@intrinsic
def _fma(typingctx, x, y, z):
    """x * y + z, rounded once."""

    def generate(context, builder, signature, values):
        return builder.fma(*values)

    return types.float64(types.float64, types.float64, types.float64), generate


@jit
def add_sum(state, x):
    """Add all numbers of x, shape (n,), float64 in C order, to a state.

    Exact for any finite values; infinities and NaNs are counted. Cost: 8 operations and one read of memory per element;
    3 more per further bin where the exponents within 2048 elements differ by more than 49.
    """
    use_long_vectors()
    spare = np.empty(_BLOCK)
    top = _GUESS
    for start in range(0, x.size, _BLOCK):
        top = _add_block(state, x[start : start + _BLOCK], spare, top)
    carry(state)


@jit
def add_dot(state, x, y):
    """Add all products x[i] * y[i], shape (n,), float64 in C order, to a state.

    Exact for any finite values, also where a product overflows or underflows, by T. J. Dekker's error-free product with
    a fused multiply-add (T. Ogita, S. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005),
    algorithm 3.5). Cost: 16 operations and one read of memory per element; more where exponents differ by more than 49.
    """
    use_long_vectors()
    spare = np.empty((2, _BLOCK))
    top = _GUESS
    for start in range(0, x.size, _BLOCK):
        top = _add_products(state, x[start : start + _BLOCK], y[start : start + _BLOCK], spare, top)
    carry(state)


@jit
def _magic(exponent):
    """1.5 * 2**exponent, and its bits."""
    bits = ((exponent + 1023) << 52) | (1 << 51)
    return np.int64(bits).view(np.float64), bits


@jit
def _exponent(bits):
    """Of a float64 with these bits; of zeros and subnormals -1023."""
    return (bits >> 52) - 1023


@jit
def _add_block(state, x, spare, top):
    """Add a block of numbers if they are less than 2**(top + 1), or else find out; the guess for the next block."""
    use_long_vectors()
    a, b, rest, greatest = _two_bins(x, top)
    needed = _exponent(greatest)
    if needed > top or rest:
        top = min(max(needed, _LEAST[0]), _GREATEST)
        a, b, rest, greatest = _two_bins(x, top)
    if needed > top or rest:
        state[OTHER] = 1
        values = spare[: x.size]
        values[:] = x
        _take_apart(state, values, greatest)
    elif greatest == 0:
        spare[: x.size] = 1.0
        _note_zeros(state, x, spare)
    else:
        state[OTHER] = 1
        deposit(state, a, top + 1 - _BITS)
        deposit(state, b, top + 1 - 2 * _BITS)
    return min(max(needed + _ROOM, _LEAST[0]), _GREATEST)


@jit
def _two_bins(x, top):
    """The bins of a block, whether anything remains, and the greatest magnitude, as bits."""
    use_long_vectors()
    first, first_bits = _magic(top + 2)
    second, second_bits = _magic(top + 2 - _BITS)
    a = b = rest = greatest = np.int64(0)
    for i in range(x.size):
        value = x[i]
        greatest = max(greatest, bits_of(value) & _MAGNITUDE)
        bin = value + first
        a += bits_of(bin)
        value -= bin - first
        bin = value + second
        b += bits_of(bin)
        rest |= bits_of(value) ^ bits_of(bin - second)
    return a - x.size * first_bits, b - x.size * second_bits, rest & _MAGNITUDE, greatest


@jit
def _add_products(state, x, y, spare, top):
    """As `_add_block`, for the products of two blocks."""
    use_long_vectors()
    a, b, c, rest, greatest, least = _three_bins(x, y, top)
    needed = _exponent(greatest)
    if needed > top or rest:
        top = min(max(needed, _LEAST[1]), _GREATEST)
        a, b, c, rest, greatest, least = _three_bins(x, y, top)
    if needed > top or rest or (least < _TINY and _underflows(x, y)):
        state[OTHER] = 1
        _take_products_apart(state, x, y, spare)
    elif greatest == 0:
        _note_zeros(state, x, y)
    else:
        state[OTHER] = 1
        deposit(state, a, top + 1 - _BITS)
        deposit(state, b, top + 1 - 2 * _BITS)
        deposit(state, c, top + 1 - 3 * _BITS)
    return min(max(needed + _ROOM, _LEAST[1]), _GREATEST)


@jit
def _three_bins(x, y, top):
    """As `_two_bins`, of products, whose rounding errors begin in the second bin; and the least magnitude."""
    use_long_vectors()
    first, first_bits = _magic(top + 2)
    second, second_bits = _magic(top + 2 - _BITS)
    third, third_bits = _magic(top + 2 - 2 * _BITS)
    a = b = c = rest = greatest = np.int64(0)
    least = np.int64(_MAGNITUDE)
    for i in range(x.size):
        u, v = x[i], y[i]
        value = u * v
        error = _fma(u, v, -value)
        magnitude = bits_of(value) & _MAGNITUDE
        greatest, least = max(greatest, magnitude), min(least, magnitude)
        bin = value + first
        a += bits_of(bin)
        value -= bin - first
        bin = value + second
        b += bits_of(bin)
        rest |= bits_of(value) ^ bits_of(bin - second)
        bin = error + second
        b += bits_of(bin)
        error -= bin - second
        bin = error + third
        c += bits_of(bin)
        rest |= bits_of(error) ^ bits_of(bin - third)
    n = x.size
    return a - n * first_bits, b - 2 * n * second_bits, c - n * third_bits, rest & _MAGNITUDE, greatest, least


@jit
def _underflows(x, y):
    """Whether a product is so small that its rounding error may be lost."""
    found = False
    for i in range(x.size):
        u, v = x[i], y[i]
        found |= (bits_of(u * v) & _MAGNITUDE < _TINY) & (u != 0) & (v != 0)
    return found


@jit
def _note_zeros(state, x, y):
    """Note the signs of products that are all zero."""
    for i in range(x.size):
        if state[OTHER]:
            break
        product = x[i] * y[i]
        state[OTHER if bits_of(product) == 0 else MINUS_ZERO] = 1


@jit
def _take_apart(state, values, greatest):
    """Add numbers of any kind and any exponents, the upper 51 bits of all first; they are destroyed."""
    if greatest >= _HUGE:
        for i in range(values.size):
            if bits_of(values[i]) & _MAGNITUDE >= _HUGE:
                add_number(state, values[i])
                values[i] = 0.0
    while True:
        greatest = np.int64(0)
        for i in range(values.size):
            greatest = max(greatest, bits_of(values[i]) & _MAGNITUDE)
        if greatest < _NORMAL:
            break
        top = _exponent(greatest)
        deposit(state, _take_bin(values, top), top + 1 - _BITS)
    a = np.int64(0)
    for i in range(values.size):  # subnormal, which are integers already
        bits = bits_of(values[i])
        a += -(bits & _MAGNITUDE) if bits < 0 else bits
    deposit(state, a, -1074)
    carry(state)


@jit
def _take_bin(values, top):
    """The bin that begins at this exponent; the remainders stay."""
    first, first_bits = _magic(top + 2)
    a = np.int64(0)
    for i in range(values.size):
        bin = values[i] + first
        a += bits_of(bin)
        values[i] -= bin - first
    return a - values.size * first_bits


@jit
def _take_products_apart(state, x, y, spare):
    """As `_take_apart`, for the products of two blocks; where they leave the range of float64, one by one."""
    values, errors = spare[0, : x.size], spare[1, : x.size]
    for i in range(x.size):
        u, v = x[i], y[i]
        value = u * v
        values[i] = errors[i] = 0.0
        if _TINY <= (bits_of(value) & _MAGNITUDE) < _HUGE:
            values[i], errors[i] = value, _fma(u, v, -value)
        elif (u != 0 and v != 0) or value != value:
            add_product(state, u, v)
    _take_apart(state, values, 0)
    _take_apart(state, errors, 0)
