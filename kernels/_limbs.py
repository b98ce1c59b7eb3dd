"""Sums as long fixed-point integers: what is added is never rounded, and only the end result is, once.

A *state* is an int64 array of `WORDS` words: five counts, then `LIMBS` limbs. Limb i stands for limbs[i] * 2**(32 i +
LOWEST), so that every product of two float64, subnormal or huge, and 2**60 of them together, have a place. A limb uses
32 of its 64 bits after `carry`; the rest is for what is added before the next one. So states of up to 2**30 ranks are
merged by a plain elementwise sum. This is the small superaccumulator of R. Neal, "Fast exact summation using small and
large superaccumulators", arXiv:1505.05571 (2015), section 3, without its overlap of limbs.
"""

import math

import numpy as np

from ._jit import jit

PLUS_INF, MINUS_INF, NAN, MINUS_ZERO, OTHER, FIRST = range(6)  # OTHER: whether anything but -0.0 was added
LIMBS = 138
WORDS = FIRST + LIMBS
LOWEST = -2176

_LOW = 0xFFFFFFFF
_MAGNITUDE = 0x7FFFFFFFFFFFFFFF
_FRACTION = (1 << 52) - 1
_NO_LIMIT = -(1 << 20)


@jit
def deposit(state, number, exponent):
    """Add number * 2**exponent; an int64, and exponent >= LOWEST. Cost: three limbs."""
    place = exponent - LOWEST
    i, shift = FIRST + (place >> 5), place & 31
    low, high = (number & _LOW) << shift, (number >> 32) << shift
    state[i] += low & _LOW
    state[i + 1] += (low >> 32) + (high & _LOW)
    state[i + 2] += high >> 32


@jit
def carry(state):
    """Bring all limbs but the highest into 0 ... 2**32 - 1; after at most 2**29 deposits. Cost: LIMBS steps."""
    over = 0
    for i in range(FIRST, WORDS - 1):
        total = state[i] + over
        state[i] = total & _LOW
        over = total >> 32
    state[WORDS - 1] += over


@jit
def bits_of(value):
    """The bits of a float64 as an int64."""
    return np.float64(value).view(np.int64)


@jit
def split(value):
    """A finite float64 as (integer of at most 53 bits, exponent)."""
    bits = bits_of(value)
    exponent, number = (bits & _MAGNITUDE) >> 52, bits & _FRACTION
    if exponent:
        number |= 1 << 52
    else:
        exponent = 1
    return (-number if bits < 0 else number), exponent - 1075


@jit
def add_special(state, value):
    """Count an Inf or a NaN."""
    if value != value:
        state[NAN] += 1
    else:
        state[PLUS_INF if value > 0 else MINUS_INF] += 1


@jit
def add_number(state, value):
    """Add one float64 of any kind but zero."""
    if math.isfinite(value):
        number, exponent = split(value)
        deposit(state, number, exponent)
    else:
        add_special(state, value)


@jit
def add_product(state, x, y):
    """Add the exact product of two float64 of any kind."""
    if math.isfinite(x) and math.isfinite(y):
        m, m_exponent = split(x)
        n, n_exponent = split(y)
        _deposit_product(state, m, n, m_exponent + n_exponent)
    else:
        add_special(state, x * y)  # Inf, or NaN, as IEEE 754 has it: none of them is an overflow


@jit
def _deposit_product(state, m, n, exponent):
    """Add m * n * 2**exponent, of integers of at most 55 bits."""
    m_high, m_low, n_high, n_low = m >> 27, m & 0x7FFFFFF, n >> 27, n & 0x7FFFFFF
    deposit(state, m_low * n_low, exponent)
    deposit(state, m_high * n_low + m_low * n_high, exponent + 27)
    deposit(state, m_high * n_high, exponent + 54)


@jit
def rounded(state, digits, lowest, limit):
    """The sum that a state holds, rounded once, half to even.

    Parameters
    ----------
    digits, lowest, limit     Of the format: bits of its numbers, exponent of the last bit of its smallest, and the
                              power of two (float64) that is beyond its greatest.

    Returns
    -------
    float64 with a value of that format: as IEEE 754-2019 (sections 4.3.1, 6.1, 6.3, 9.4) has sums. Inf, -Inf, NaN if
    such were added; -0.0 if nothing else was.
    """
    special = _special(state)
    if special != 0.0:
        return special
    state = state.copy()
    is_negative = _make_positive(state)
    number, exponent = _leading(state, digits, lowest)
    if number == 0 and _is_zero(state):
        is_negative = state[MINUS_ZERO] > 0 and state[OTHER] == 0
    value = _scaled(number, exponent, limit)
    return -value if is_negative else value


@jit
def root(state, digits, lowest, limit):
    """The square root of the sum, which is not negative, rounded once; parameters as of `rounded`.

    A root in float64 is at most one off. It is put right by comparing the sum with the squares of the two numbers
    halfway to its neighbours, exactly.
    """
    special = _special(state)
    if special != 0.0:
        return special
    state = state.copy()
    _make_positive(state)
    number, exponent = _leading(state, 53, _NO_LIMIT)
    if number == 0:
        return 0.0
    odd = exponent & 1
    estimate = math.sqrt(float(number << odd))  # in units of 2**half, 2**26 ... 2**27
    half = (exponent - odd) >> 1
    last = max(half + 27 - digits, lowest)  # exponent of the last bit of the result
    number = np.int64(math.ldexp(estimate, half - last))
    while True:
        over = _compare_with_square(state, 2 * number + 1, 2 * last - 2)
        if not (over > 0 or (over == 0 and number & 1)):
            break
        number += 1
    while number > 0:
        over = _compare_with_square(state, 2 * number - 1, 2 * last - 2)
        if not (over < 0 or (over == 0 and number & 1)):
            break
        number -= 1
    return _scaled(number, last, limit)


@jit
def _special(state):
    """Inf, -Inf or NaN, if the sum is; else zero."""
    if state[NAN] or (state[PLUS_INF] and state[MINUS_INF]):
        return math.nan
    if state[PLUS_INF]:
        return math.inf
    return -math.inf if state[MINUS_INF] else 0.0


@jit
def _make_positive(state):
    """Carry, and turn a negative sum into its opposite: whether it was negative."""
    carry(state)
    if state[WORDS - 1] >= 0:
        return False
    for i in range(FIRST, WORDS):
        state[i] = -state[i]
    carry(state)
    return True


@jit
def _leading(state, digits, lowest):
    """The sum as number * 2**exponent, rounded to so many bits or to the exponent `lowest`; carried, not negative."""
    top = WORDS - 3  # two limbs above are read
    while top > FIRST and state[top] == 0:
        top -= 1
    length, limb = 0, state[top]
    while limb:
        limb >>= 1
        length += 1
    first = 32 * (top - FIRST) + LOWEST + length  # exponent beyond the highest bit
    exponent = max(first - digits, lowest)
    place = exponent - LOWEST
    if place <= 0:  # fewer bits than there is room for
        return state[FIRST] | (state[FIRST + 1] << 32), LOWEST
    i, shift = FIRST + (place >> 5), place & 31
    if i > top + 1:
        return np.int64(0), exponent
    number = (state[i] >> shift) | (state[i + 1] << (32 - shift)) | ((state[i + 2] << (63 - shift)) << 1)
    before = FIRST + ((place - 1) >> 5)
    bit = np.int64(1) << ((place - 1) & 31)
    if state[before] & bit:  # at least a half is cut off
        is_more = (state[before] & (bit - 1)) != 0
        for j in range(FIRST, before):
            is_more |= state[j] != 0
        if is_more or number & 1:
            number += 1
    return number, exponent


@jit
def _scaled(number, exponent, limit):
    """number * 2**exponent as float64; Inf from `limit` on."""
    value = math.ldexp(float(number), exponent)
    return math.inf if value >= limit else value


@jit
def _compare_with_square(state, number, exponent):
    """-1, 0 or 1: how a sum that is carried compares with number**2 * 2**exponent."""
    state = state.copy()
    _deposit_product(state, -number, number, exponent)
    carry(state)
    if state[WORDS - 1] < 0:
        return -1
    return 0 if _is_zero(state) else 1


@jit
def _is_zero(state):
    found = np.int64(0)
    for i in range(FIRST, WORDS):
        found |= state[i]
    return found == 0
