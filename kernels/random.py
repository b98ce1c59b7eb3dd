"""Random numbers whose every element follows from a key and its place in the stream alone.

The generator is Threefry-4x64-20 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC11,
section 4): a function of a key of 256 bits and a counter of 256 bits. A stream is what one key gives, its elements are
numbered from 0. Element `e` lies in group ``g = e // GROUP`` at place ``p = e % GROUP``; its word of 64 bits is word
``p // LANES`` of the block with the counter ``(g * LANES + p % LANES, attempt, 0, 0)``. So neighbours come from
different blocks, and a processor computes as many at once as its registers hold. `attempt` counts the words that an
element has refused: it is 0 but in `integers_into`.

A kernel fills a part of the stream, ``out[i]`` being element ``first + i``; whoever computes another part elsewhere
finds the same numbers, bit for bit: what is done with a word is IEEE 754 addition, multiplication, division and square
root, each rounded once, and no function of any library.

Keys are arrays of 4 uint64, places int64. `out` is contiguous, of one dimension.
"""

import math

import numpy as np
from numba import carray

from ._jit import jit, jit_inlined
from ._memory import pointer_to
from ._vector_width import use_long_vectors

LANES = 16
GROUP = 4 * LANES  # elements whose blocks are computed together
_CHUNK = 8 * GROUP  # words that are computed before they are used; they stay in the first cache

_PARITY = np.uint64(0x1BD11BDAA9FC1A22)  # of the key schedule
_LOG_2 = math.log(2.0)
_SQRT_HALF_BITS = np.float64(math.sqrt(0.5)).view(np.int64)


# The generator


@jit_inlined
def _rotate(x, bits):
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@jit_inlined
def _mix(a, b, bits):
    a += b
    return a, _rotate(b, bits) ^ a


@jit_inlined
def _four_rounds(a, b, c, d):
    """Rounds 1 to 4, 9 to 12 and so on, with the rotations of the paper's table 2."""
    a, b = _mix(a, b, 14)
    c, d = _mix(c, d, 16)
    a, d = _mix(a, d, 52)
    c, b = _mix(c, b, 57)
    a, b = _mix(a, b, 23)
    c, d = _mix(c, d, 40)
    a, d = _mix(a, d, 5)
    c, b = _mix(c, b, 37)
    return a, b, c, d


@jit_inlined
def _four_more(a, b, c, d):
    """The rounds between those."""
    a, b = _mix(a, b, 25)
    c, d = _mix(c, d, 33)
    a, d = _mix(a, d, 46)
    c, b = _mix(c, b, 12)
    a, b = _mix(a, b, 58)
    c, d = _mix(c, d, 22)
    a, d = _mix(a, d, 32)
    c, b = _mix(c, b, 32)
    return a, b, c, d


@jit_inlined
def threefry(k, l, m, n, a, b, c, d):  # noqa: E741
    """The block of four words of the key (k, l, m, n) and the counter (a, b, c, d), all uint64; some 180 operations."""
    o = k ^ l ^ m ^ n ^ _PARITY
    a, b, c, d = _four_rounds(a + k, b + l, c + m, d + n)
    a, b, c, d = _four_more(a + l, b + m, c + n, d + o + np.uint64(1))
    a, b, c, d = _four_rounds(a + m, b + n, c + o, d + k + np.uint64(2))
    a, b, c, d = _four_more(a + n, b + o, c + k, d + l + np.uint64(3))
    a, b, c, d = _four_rounds(a + o, b + k, c + l, d + m + np.uint64(4))
    return a + k, b + l, c + m, d + n + np.uint64(5)


@jit
def words_into(out, key, group, attempt):
    """The words of whole groups from `group` on, into a uint64 array; some 5 operations of 64 bits per word."""
    use_long_vectors()
    zero, attempt = np.uint64(0), np.uint64(attempt)
    k, l, m, n = key[0], key[1], key[2], key[3]  # noqa: E741
    for i in range(out.size // GROUP):
        start, block = i * GROUP, np.uint64((group + i) * LANES)
        for lane in range(LANES):
            a, b, c, d = threefry(k, l, m, n, block + np.uint64(lane), attempt, zero, zero)
            out[start + lane] = a
            out[start + LANES + lane] = b
            out[start + 2 * LANES + lane] = c
            out[start + 3 * LANES + lane] = d


# From words to numbers: in place, for the places of whole groups


@jit_inlined
def log(x):
    """The natural logarithm of a positive normal number, to 3e-16 of itself.

    ``x = 2**k m``, m between sqrt(1/2) and sqrt(2); ``log m = 2 atanh(s)``, ``s = (m - 1) / (m + 1)``, by an odd
    polynomial of the least greatest error (Remez).
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    f = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 0.09091782343850156 + z * (0.0765702003213449 + z * 0.07398032946943355)
    p = 0.1999999999970727 + z * (0.14285714371216615 + z * (0.1111109928363797 + z * p))
    s += s
    return exponent * _LOG_2 + (s + s * (z * (0.3333333333333367 + z * p)))


@jit_inlined
def _minus_log(word):
    """Of a number in (0, 1] that a word stands for: odd multiples of 2**-64, rounded."""
    return -log(np.float64(word | np.uint64(1)) * 2.0**-64)


@jit_inlined
def _on_circle(word):
    """Cosine and sine of the angle ``2 pi word / 2**64``, less an eighth of the circle; to 3e-16.

    The two highest bits are the quarter, the others the angle from its middle: polynomials (Remez) on
    [-pi/4, pi/4).
    """
    quarter = word >> np.uint64(62)
    x = np.float64(np.int64(word << np.uint64(2)) ^ np.int64(-(2**63))) * (math.pi / 4 * 2.0**-63)
    z = x * x
    p = -0.00019841269829812486 + z * (
        2.7557313693604065e-06 + z * (-2.5050758388681108e-08 + z * 1.5896812021556802e-10)
    )
    sine = x + x * (z * (-0.16666666666666632 + z * (0.00833333333332242 + z * p)))
    p = 2.480158728948765e-05 + z * (-2.75573143539534e-07 + z * (2.0875723499343115e-09 + z * -1.1359659812851872e-11))
    cosine = 1.0 - (0.5 * z - z * z * (0.0416666666666666 + z * (-0.0013888888888874133 + z * p)))
    if quarter & np.uint64(1):
        sine, cosine = cosine, -sine
    if quarter & np.uint64(2):
        sine, cosine = -sine, -cosine
    return cosine, sine


@jit_inlined
def _normals(word, other):
    """Two independent standard normal numbers of two words (Box, Muller 1958)."""
    radius = math.sqrt(2.0 * _minus_log(word))
    cosine, sine = _on_circle(other)
    return radius * cosine, radius * sine


@jit
def _make_units(words, bits):
    """Numbers in [0, 1), multiples of ``2**-bits``."""
    use_long_vectors()
    values, scale = words.view(np.float64), 1.0 / (1 << bits)
    for i in range(words.size):
        values[i] = np.float64(words[i] >> np.uint64(64 - bits)) * scale
    return values


@jit
def _make_exponentials(words):
    use_long_vectors()
    values = words.view(np.float64)
    for i in range(words.size):
        values[i] = _minus_log(words[i])
    return values


@jit
def _make_normals(words):
    """Words 0 and 1 of a block are a pair, and words 2 and 3."""
    use_long_vectors()
    values = words.view(np.float64)
    for pairs in range(words.size // (2 * LANES)):
        start = pairs * 2 * LANES
        for lane in range(LANES):
            x, y = _normals(words[start + lane], words[start + LANES + lane])
            values[start + lane] = x
            values[start + LANES + lane] = y
    return values


@jit_inlined
def high_product(x, y):
    """The upper half of the product of two uint64, of 128 bits."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = x >> half, x & low, y >> half, y & low
    e = a * d + (b * d >> half)
    f = b * c + (e & low)
    return a * c + (e >> half) + (f >> half)


@jit
def _refuse(words, key, group, span):
    """Replace the words that would favour some numbers below `span` (Lemire 2019, algorithm 5) by the elements' next.

    A word is refused if the lower half of its product with `span` is less than ``2**64 % span``.
    """
    least = (np.uint64(0) - span) % span
    if least == 0:
        return
    attempt = 0
    while True:
        refused = 0
        for i in range(words.size):
            refused += words[i] * span < least
        if refused == 0:
            return
        attempt += 1
        others = np.empty(words.size, np.uint64)
        words_into(others, key, group, attempt)
        for i in range(words.size):
            words[i] = others[i] if words[i] * span < least else words[i]


# Parts of a stream


@jit
def _some_words(buffer, key, place, wanted):
    """The words of the groups from that of element `place` on, as far as wanted and as there is room.

    Returns them, how many are of elements before `place`, and how many are of elements wanted.
    """
    group = place // GROUP
    skip = place - group * GROUP
    count = min(wanted, buffer.size - skip)
    words = buffer[: (skip + count + GROUP - 1) // GROUP * GROUP]
    words_into(words, key, group, 0)
    return words, skip, count


@jit
def random_into(out, key, first):
    """Uniform in [0, 1): float64, multiples of 2**-53; float32, multiples of 2**-24. 8 operations per element."""
    use_long_vectors()
    buffer, done, bits = np.empty(_CHUNK, np.uint64), 0, 53 if out.itemsize == 8 else 24
    while done < out.size:
        words, skip, count = _some_words(buffer, key, first + done, out.size - done)
        values = _make_units(words, bits)
        part, taken = out[done : done + count], values[skip : skip + count]
        for i in range(count):
            part[i] = taken[i]
        done += count


@jit
def normal_into(out, key, first, loc, scale):
    """Normal, float64 or float32 (rounded in the end), computed to 1e-15 of each deviation.

    The greatest deviation that can come is 9.4 `scale`; one beyond that has the probability 1e-20. Words 0 and 1 of a
    block make a pair, and words 2 and 3 (Box, Muller: A note on the generation of random normal deviates, 1958). Some
    40 operations per element.
    """
    use_long_vectors()
    buffer, done = np.empty(_CHUNK, np.uint64), 0
    while done < out.size:
        words, skip, count = _some_words(buffer, key, first + done, out.size - done)
        values = _make_normals(words)
        part, taken = out[done : done + count], values[skip : skip + count]
        for i in range(count):
            part[i] = loc + scale * taken[i]
        done += count


@jit
def exponential_into(out, key, first, scale):
    """Exponential with mean `scale`, float64 or float32 (rounded in the end), computed to 1e-15 of itself.

    The greatest that can come is 44.4 `scale`; one beyond that has the probability 5e-20. Some 30 operations per
    element.
    """
    use_long_vectors()
    buffer, done = np.empty(_CHUNK, np.uint64), 0
    while done < out.size:
        words, skip, count = _some_words(buffer, key, first + done, out.size - done)
        values = _make_exponentials(words)
        part, taken = out[done : done + count], values[skip : skip + count]
        for i in range(count):
            part[i] = scale * taken[i]
        done += count


@jit
def integers_into(out, key, first, low, span):
    """Integers from `low` to ``low + span - 1``, all equally probable; any dtype of integers.

    `low` and `span` are uint64; a negative `low` is given modulo 2**64, and 0 stands for a span of 2**64. Some 25
    operations per element; twice to four times that for a span above 2**60 that is no power of two (`_refuse`).
    """
    use_long_vectors()
    buffer, done = np.empty(_CHUNK, np.uint64), 0
    while done < out.size:
        place = first + done
        words, skip, count = _some_words(buffer, key, place, out.size - done)
        if span != 0:
            _refuse(words, key, place // GROUP, span)
            for i in range(words.size):
                words[i] = high_product(words[i], span)
        part, taken = out[done : done + count], words[skip : skip + count]
        for i in range(count):
            part[i] = low + taken[i]
        done += count


# One element after the other

#: The state of a stream, uint64 each: the key, the place of the next element, the group whose words follow, and these.
PLACE, HELD, WORDS = 4, 5, 6
STATE = WORDS + GROUP
NO_GROUP = 2**64 - 1


@jit_inlined
def state_at(address):
    """The state at an address; whoever calls keeps it alive."""
    return carray(pointer_to(address), (STATE,))


@jit_inlined
def _take_place(state):
    """Have the words of the next element's group held; its place in the group, and go on to the one after it."""
    place = state[PLACE]
    group = place // np.uint64(GROUP)
    if state[HELD] != group:
        words_into(state[WORDS:], state[:4], np.int64(group), 0)
        state[HELD] = group
    state[PLACE] = place + np.uint64(1)
    return np.int64(place - group * np.uint64(GROUP))


@jit_inlined
def next_random(state):
    """The next element, uniform in [0, 1)."""
    return np.float64(state[WORDS + _take_place(state)] >> np.uint64(11)) * 2.0**-53


@jit_inlined
def next_exponential(state, scale):
    """The next element, exponential."""
    return scale * _minus_log(state[WORDS + _take_place(state)])


@jit_inlined
def next_normal(state, loc, scale):
    """The next element, normal; the other one of its pair is computed in vain."""
    i = _take_place(state)
    odd = i // LANES % 2
    first = WORDS + i - odd * LANES
    x, y = _normals(state[first], state[first + LANES])
    return loc + scale * (y if odd else x)


@jit_inlined
def next_below(state, span):
    """The next element, an integer from 0 to ``span - 1``, all uint64; 0 stands for a span of 2**64."""
    i = _take_place(state)
    word = state[WORDS + i]
    return bounded(word, state[:4], np.int64(state[PLACE]) - 1, span) if span != 0 else word


@jit
def bounded(word, key, place, span):
    """What `integers_into` makes of the word of the element at `place`, for a span that is not 0."""
    attempt = 0
    while word * span < span and word * span < (np.uint64(0) - span) % span:
        attempt += 1
        words = np.empty(GROUP, np.uint64)
        words_into(words, key, place // GROUP, attempt)
        word = words[place % GROUP]
    return high_product(word, span)
