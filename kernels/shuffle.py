"""Permutations of 0, 1, ..., n - 1 that follow from a place in a stream of random numbers."""

import numpy as np

from ._jit import jit, jit_inlined
from .random import _CHUNK, _some_words, bounded

ROUND_KEYS = 12
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, half of their bits set


@jit
def shuffled_into(out, key, first, n):
    """The first `out.size` elements of a permutation of range(n), all ``n!`` equally probable; int64.

    Fisher and Yates's way (Knuth, volume 2, 3.4.2, algorithm P, from the front); takes the elements
    ``first, first + 1, ...`` of the stream. Cost: 8 n bytes of memory, and n + 3 operations per element.
    """
    every, buffer, done = np.arange(n), np.empty(_CHUNK, np.uint64), 0
    while done < out.size:
        words, skip, count = _some_words(buffer, key, first + done, out.size - done)
        for i in range(count):
            place = done + i
            j = place + np.int64(bounded(words[skip + i], key, first + place, np.uint64(n - place)))
            every[place], every[j] = every[j], every[place]
        done += count
    out[:] = every[: out.size]


@jit
def images_into(out, keys, first, n):
    """The images of ``first, first + 1, ...`` under a permutation of range(n) that the words `keys` choose; int64.

    A Feistel network of 12 rounds on numbers of as many bits as ``n - 1`` has, whose halves take turns; what falls
    beyond n goes through it again (Black, Rogaway: Ciphers with arbitrary finite domains, CT-RSA 2002, section 4:
    cycle walking). On the average less than two passes, of some 100 operations of 64 bits.
    """
    bits = 2
    while bits < 63 and (1 << bits) < n:
        bits += 1
    walkers, places = np.empty(_CHUNK, np.uint64), np.empty(_CHUNK, np.int64)
    limit = np.uint64(n)
    for start in range(0, out.size, _CHUNK):
        count = min(out.size - start, _CHUNK)
        for i in range(count):
            walkers[i], places[i] = np.uint64(first + start + i), start + i
        while count:
            _encipher(walkers[:count], keys, bits)
            left = 0
            for i in range(count):
                if walkers[i] < limit:
                    out[places[i]] = np.int64(walkers[i])
                else:
                    walkers[left], places[left] = walkers[i], places[i]
                    left += 1
            count = left


@jit
def _encipher(values, keys, bits):
    """Replace numbers of so many bits by their images, in place."""
    low_bits = np.uint64(bits // 2)
    high_bits = np.uint64(bits) - low_bits
    to_high, to_low = np.uint64(64) - high_bits, np.uint64(64) - low_bits
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    for i in range(values.size):
        high, low = values[i] >> low_bits, values[i] & low_mask
        for j in range(0, ROUND_KEYS, 2):
            high ^= _stir(low ^ keys[j]) >> to_high
            low ^= _stir(high ^ keys[j + 1]) >> to_low
        values[i] = (high << low_bits) | low


@jit_inlined
def _stir(x):
    """A number whose upper bits depend on all bits of `x`."""
    x = (x ^ (x >> np.uint64(32))) * _FIRST
    x = (x ^ (x >> np.uint64(32))) * _SECOND
    return x ^ (x >> np.uint64(32))
