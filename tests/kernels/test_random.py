"""Random numbers of one rank: known answers, distributions, and that an element depends on its place alone.

Seeds are fixed, so each statistic is a number that does not change; the limits are of some five standard deviations.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcomp.kernels import random, shuffle

_KEY = np.array([1, 2, 3, 4], np.uint64)
_MANY = 1 << 20

#: Lines of Random123's kat_vectors (threefry4x64 20): counter, key, block.
_KNOWN = [
    "0000000000000000 0000000000000000 0000000000000000 0000000000000000 "
    "0000000000000000 0000000000000000 0000000000000000 0000000000000000 "
    "09218ebde6c85537 55941f5266d86105 4bd25e16282434dc ee29ec846bd2e40b",
    "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff "
    "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff "
    "29c24097942bba1b 0371bbfb0f6f4e11 3c231ffa33f83a1c cd29113fde32d168",
    "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89 "
    "452821e638d01377 be5466cf34e90c6c be5466cf34e90c6c c0ac29b7c97c50dd "
    "a7e8fde591651bd9 baafd0c30138319b 84a5c1a729e685b9 901d406ccebc1ba4",
]


@pytest.mark.parametrize("line", _KNOWN)
def test_known_answers(line):
    counter, key, block = np.array([int(word, 16) for word in line.split()], np.uint64).reshape(3, 4)
    assert list(random.threefry(*key, *counter)) == list(block)


def test_words_are_the_blocks_that_the_rule_says():
    words = np.empty(3 * random.GROUP, np.uint64)
    random.words_into(words, _KEY, 5, 2)
    for element in (0, 1, random.LANES, random.GROUP - 1, random.GROUP, 2 * random.GROUP + 37):
        group, place = divmod(5 * random.GROUP + element, random.GROUP)
        counter = [group * random.LANES + place % random.LANES, 2, 0, 0]
        block = random.threefry(*_KEY, *np.array(counter, np.uint64))
        assert words[element] == block[place // random.LANES]


def _fill(kind, first, count, dtype=np.float64):
    out = np.empty(count, dtype)
    {
        "random": lambda: random.random_into(out, _KEY, first),
        "normal": lambda: random.normal_into(out, _KEY, first, 1.0, 2.0),
        "exponential": lambda: random.exponential_into(out, _KEY, first, 3.0),
        "integers": lambda: random.integers_into(out, _KEY, first, np.uint64(2**64 - 5), np.uint64(11)),
        "often refused": lambda: random.integers_into(out, _KEY, first, np.uint64(0), np.uint64(2**63 + 1)),
        "words": lambda: random.integers_into(out, _KEY, first, np.uint64(0), np.uint64(0)),
    }[kind]()
    return out


_DTYPES = {"random": "f8", "normal": "f8", "exponential": "f8", "integers": "i8", "often refused": "u8", "words": "u8"}


@pytest.mark.parametrize("kind", _DTYPES)
@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 300), count=st.integers(0, 1500), cut=st.integers(0, 1500))
def test_pieces_are_parts_of_the_whole(kind, first, count, cut):
    cut, whole = min(cut, count), _fill(kind, 0, 1800, _DTYPES[kind])
    pieces = _fill(kind, first, cut, _DTYPES[kind]), _fill(kind, first + cut, count - cut, _DTYPES[kind])
    np.testing.assert_array_equal(np.concatenate(pieces), whole[first : first + count])


@pytest.mark.parametrize("kind", ["random", "normal", "exponential"])
def test_single_precision(kind):
    x, wide = _fill(kind, 3, _MANY, np.float32), _fill(kind, 3, _MANY)
    if kind == "random":
        np.testing.assert_array_equal(x, np.floor(wide * 2**24) / 2**24)
        assert x.max() < 1
    else:
        np.testing.assert_array_equal(x, wide.astype(np.float32))


def test_far_elements_and_other_keys_are_others():
    far = _fill("words", 2**62, 1000, "u8")
    other = np.empty(1000, np.uint64)
    random.integers_into(other, _KEY[::-1].copy(), 0, np.uint64(0), np.uint64(0))
    assert len(np.unique(np.concatenate([_fill("words", 0, 1000, "u8"), far, other]))) == 3000


def test_transforms_of_the_words():
    """Against NumPy's functions of the same words."""
    words = _fill("words", 0, 64 * random.GROUP, "u8")
    np.testing.assert_array_equal(_fill("random", 0, words.size), (words >> np.uint64(11)) * 2.0**-53)
    unit = (words | np.uint64(1)).astype(float) * 2.0**-64
    np.testing.assert_allclose(_fill("exponential", 0, words.size), -3 * np.log(unit), rtol=1e-15)
    pairs = words.reshape(-1, 2, random.LANES)
    radius = np.sqrt(-2 * np.log(unit.reshape(pairs.shape)[:, 0]))
    turn = pairs[:, 1].astype(np.longdouble) / np.longdouble(2) ** 64 - np.longdouble(1) / 8
    angle = 2 * np.longdouble("3.14159265358979323846264338327950288") * turn
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()
    x = np.empty(words.size)
    random.normal_into(x, _KEY, 0, 0.0, 1.0)
    np.testing.assert_allclose(x, expected.astype(float), rtol=2e-15)


@pytest.mark.parametrize("word", [0, 1, 2, 2**62, 2**63 - 1, 2**63, 2**64 - 2**10, 2**64 - 1])
def test_tails_are_as_the_formula_says(word):
    unit = float(word | 1) * 2.0**-64
    assert random._minus_log(np.uint64(word)) == pytest.approx(-math.log(unit), rel=1e-15, abs=0)
    cosine, sine = random._on_circle(np.uint64(word))
    assert cosine**2 + sine**2 == pytest.approx(1, rel=1e-15)


def _farthest(x, distribution):
    """Kolmogorov and Smirnov's statistic, by its limit law: above 2.5 with the probability 7e-6."""
    x = np.sort(x)
    expected, places = distribution(x), np.arange(x.size + 1) / x.size
    return max(np.max(places[1:] - expected), np.max(expected - places[:-1])) * math.sqrt(x.size)


_erf = np.vectorize(math.erf)
_DISTRIBUTIONS = {
    "random": lambda x: x,
    "normal": lambda x: 0.5 + 0.5 * _erf((x - 1) / 2 / math.sqrt(2)),
    "exponential": lambda x: -np.expm1(-x / 3),
}


@pytest.mark.parametrize("kind", _DISTRIBUTIONS)
def test_distributions(kind):
    assert _farthest(_fill(kind, 77, 200_000), _DISTRIBUTIONS[kind]) < 2.5


def test_moments():
    size = _MANY
    u, z, e = _fill("random", 0, size), (_fill("normal", 0, size) - 1) / 2, _fill("exponential", 0, size) / 3
    for x, moments in ((u, (1 / 2, 1 / 3, 1 / 4, 1 / 5)), (z, (0, 1, 0, 3)), (e, (1, 2, 6, 24))):
        for power, moment in enumerate(moments, 1):
            terms = x**power
            assert abs(terms.mean() - moment) < 5 * terms.std() / math.sqrt(size)
    for x in (u, z, e):
        for lag in (1, 2, random.LANES, 2 * random.LANES, random.GROUP, 1000):
            assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / math.sqrt(size)
            assert abs(np.corrcoef(x[:-lag] ** 2, x[lag:] ** 2)[0, 1]) < 5 / math.sqrt(size)


def test_normal_tails_have_the_right_share():
    z = (_fill("normal", 10**9, 1 << 22) - 1) / 2
    for limit in (2.0, 3.0, 4.0, 5.0):
        expected = z.size * math.erfc(limit / math.sqrt(2))
        assert abs((abs(z) > limit).sum() - expected) < 5 * math.sqrt(expected)


def _too_uneven(counts, expected=None):
    """Whether chi-square is more than 5 standard deviations from what it is expected to be (Wilson, Hilferty 1931)."""
    expected = counts.sum() / counts.size if expected is None else expected
    freedom = counts.size - 1
    chi = ((counts - expected) ** 2 / expected).sum()
    z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return abs(z) > 5


@pytest.mark.parametrize("span", [2, 3, 11, 1000])
def test_small_integers_are_even(span):
    x = np.empty(_MANY, np.int64)
    random.integers_into(x, _KEY, 5, np.uint64(0), np.uint64(span))
    assert not _too_uneven(np.bincount(x, minlength=span))


@pytest.mark.parametrize("span", [3 * 2**62, 2**63 + 1, 2**64 - 1])
def test_large_integers_are_even(span):
    """With a product alone, thirds of 3 * 2**62 would have 1/2, 1/4, 1/4."""
    x = np.empty(1 << 17, np.uint64)
    random.integers_into(x, _KEY, 5, np.uint64(0), np.uint64(span))
    assert int(x.max()) < span
    assert not _too_uneven(np.bincount((x.astype(float) / span * 12).astype(int).clip(0, 11), minlength=12))
    assert not _too_uneven(np.bincount((x % np.uint64(7)).astype(int), minlength=7))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8"])
def test_integers_of_every_width(dtype):
    x = np.empty(1000, dtype)
    random.integers_into(x, _KEY, 0, np.uint64(0), np.uint64(100))
    y = np.empty(1000, np.int64)
    random.integers_into(y, _KEY, 0, np.uint64(0), np.uint64(100))
    np.testing.assert_array_equal(x, y)


def test_upper_half_of_a_product():
    words = _fill("words", 0, 200, "u8")
    for x, y in zip(words[:100], words[100:]):
        assert int(random.high_product(x, y)) == int(x) * int(y) >> 64


def test_one_after_the_other():
    state = np.zeros(random.STATE, np.uint64)
    state[:4], state[random.PLACE], state[random.HELD] = _KEY, 50, random.NO_GROUP
    count = 300
    drawn = [random.next_random(state) for _ in range(count)]
    np.testing.assert_array_equal(drawn, _fill("random", 50, count))
    drawn = [random.next_normal(state, 1.0, 2.0) for _ in range(count)]
    np.testing.assert_array_equal(drawn, _fill("normal", 50 + count, count))
    drawn = [random.next_exponential(state, 3.0) for _ in range(count)]
    np.testing.assert_array_equal(drawn, _fill("exponential", 50 + 2 * count, count))
    drawn = [random.next_below(state, np.uint64(2**63 + 1)) for _ in range(count)]
    np.testing.assert_array_equal(drawn, _fill("often refused", 50 + 3 * count, count, "u8"))
    drawn = [random.next_below(state, np.uint64(0)) for _ in range(count)]
    np.testing.assert_array_equal(drawn, _fill("words", 50 + 4 * count, count, "u8"))


# Permutations


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_are_equally_probable(n):
    count = 50 * math.factorial(n) + 20_000
    orders = np.empty((count, n), np.int64)
    for i in range(count):
        shuffle.shuffled_into(orders[i], _KEY, i * n, n)
    _, counts = np.unique(orders @ n ** np.arange(n), return_counts=True)
    assert counts.size == math.factorial(n)
    assert not _too_uneven(counts)


def test_a_shuffle_of_few_is_the_beginning():
    whole, few = np.empty(1000, np.int64), np.empty(700, np.int64)
    shuffle.shuffled_into(whole, _KEY, 17, 1000)
    shuffle.shuffled_into(few, _KEY, 17, 1000)
    np.testing.assert_array_equal(np.sort(whole), np.arange(1000))
    np.testing.assert_array_equal(few, whole[:700])


def _images(n, seed):
    keys, out = np.empty(random.GROUP, np.uint64), np.empty(n, np.int64)
    random.words_into(keys, _KEY, seed, 0)
    shuffle.images_into(out, keys[: shuffle.ROUND_KEYS], 0, n)
    return out, keys[: shuffle.ROUND_KEYS]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 65, 1000, 65537, 2**17, 2**17 + 1])
def test_images_are_a_permutation(n):
    whole, keys = _images(n, 3)
    np.testing.assert_array_equal(np.sort(whole), np.arange(n))
    part = np.empty(n - n // 3, np.int64)
    shuffle.images_into(part, keys, n // 3, n)
    np.testing.assert_array_equal(part, whole[n // 3 :])


@pytest.mark.parametrize("n", [2**62, 2**62 + 1, 2**63 - 1])
def test_images_of_more_than_can_be_counted(n):
    keys, out = np.arange(12, dtype=np.uint64), np.empty(1000, np.int64)
    shuffle.images_into(out, keys, n - 1000, n)
    assert len(set(out)) == 1000
    assert 0 <= out.min() < n // 2 < out.max() < n


def test_images_are_as_in_a_random_order():
    """Where each comes, neighbours, fixed points, ascents, parities: at 70000, which is walked to, many times."""
    n, times, cells = 70_000, 100, 64
    grid, steps, low = np.zeros((cells, cells)), np.zeros(cells), np.zeros((16, 16))
    fixed = successors = ascents = 0
    here = np.arange(n)
    for seed in range(times):
        images, _ = _images(n, seed)
        grid += np.bincount(here * cells // n * cells + images * cells // n, minlength=cells**2).reshape(grid.shape)
        low += np.bincount(here % 16 * 16 + images % 16, minlength=256).reshape(low.shape)
        step = np.diff(images)
        steps += np.bincount(step % n * cells // n, minlength=cells)
        fixed += (images == here).sum()
        successors += (step == 1).sum()
        ascents += (step > 0).sum()
    for counts in (grid, steps, low):
        assert not _too_uneven(counts.ravel())
    assert abs(fixed - times) < 5 * math.sqrt(times)
    assert abs(successors - times) < 5 * math.sqrt(times)
    assert abs(ascents - times * (n - 1) / 2) < 5 * math.sqrt(times * n / 12)
