"""The exact sum and dot product against fractions.Fraction, which rounds once when it becomes a float."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcomp.kernels import exact

DOUBLE, SINGLE, HALF = (exact.format_of(dtype) for dtype in ("f8", "f4", "f2"))
GREATEST, LEAST = float(np.finfo("f8").max), 5e-324
HALF_UNIT = 2.0**970  # of the greatest number


def exact_sum(x, form=DOUBLE):
    state = exact.zeros_for(1)[0]
    exact.add_sum(state, x)
    return exact.rounded(state, *form)


def exact_dot(x, y, form=DOUBLE):
    state = exact.zeros_for(1)[0]
    exact.add_dot(state, x, y)
    return exact.rounded(state, *form)


def exact_norm(x, form=DOUBLE):
    state = exact.zeros_for(1)[0]
    exact.add_dot(state, x, x)
    return exact.root(state, *form)


def fractions_of(x):
    return [Fraction(value) for value in x.tolist()]


def nearest(value):
    """A Fraction as a float, rounded half to even."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_nearest_root(root, value):
    """Whether a float is the square root of a Fraction, rounded half to even."""
    if value == 0 or root == 0:
        return value == root == 0
    if math.isinf(root):
        return value >= (Fraction(GREATEST) + Fraction(HALF_UNIT)) ** 2
    above = Fraction(np.nextafter(root, math.inf)) if root < GREATEST else Fraction(2) ** 1024
    low, high = (Fraction(root) + Fraction(np.nextafter(root, 0))) / 2, (Fraction(root) + above) / 2
    is_even = int(np.float64(root).view(np.int64)) % 2 == 0
    return low**2 <= value <= high**2 if is_even else low**2 < value < high**2


def numbers(rng, n, least, greatest):
    """Numbers of any 53 bits with exponents in a range."""
    fractions = rng.integers(-(2**53) + 1, 2**53, n).astype(float)
    return np.ldexp(fractions, rng.integers(least, greatest + 1, n) - 53)


@st.composite
def vectors(draw, most=3000):
    """Two vectors, narrow or wide in their exponents, small to huge; with zeros, and with much cancellation."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([1, 2, 3, 7, 8, 9, 100, 1000, 2047, 2048, 2049, most]))
    least = draw(st.integers(-1080, 1023))
    spread = draw(st.sampled_from([0, 3, 40, 48, 49, 50, 60, 120, 400, 2103]))
    x = numbers(rng, n, least, min(least + spread, 1023))
    if draw(st.booleans()):
        x = rng.permutation(np.concatenate([x, -x, numbers(rng, 2, -1080, 900)]))
    x[rng.random(x.size) < draw(st.sampled_from([0, 0.1, 0.9]))] = 0.0
    partner = draw(st.sampled_from([0, -least, least, -1074]))  # products near one, extreme, and beyond
    y = numbers(rng, x.size, max(-1080, partner - 30), min(max(partner + 30, -1040), 1023))
    return x, y


@given(vectors())
@settings(max_examples=150)
def test_any_numbers(case):
    x, y = case
    left, right = fractions_of(x), fractions_of(y)
    assert exact_sum(x) == nearest(sum(left))
    assert exact_dot(x, y) == nearest(sum(a * b for a, b in zip(left, right)))
    assert is_nearest_root(exact_norm(x), sum(a * a for a in left))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@settings(max_examples=200)
def test_as_the_standard_library_sums(numbers):
    try:
        expected = math.fsum(numbers)
    except OverflowError:  # of a part
        expected = nearest(sum(map(Fraction, numbers)))
    assert exact_sum(np.array(numbers)) == expected


@pytest.mark.parametrize("n", [1, 15, 1000, 2048, 5000])
def test_any_cut_and_order(n):
    rng = np.random.default_rng(n)
    x, y = (rng.normal(size=n) * 10.0 ** rng.integers(-12, 12, n) for _ in range(2))
    parts = exact.zeros_for(4)
    for state, part in zip(parts, np.array_split(rng.permutation(n), 4)):
        exact.add_dot(state, x[part], y[part])
    merged = sum(parts, np.zeros_like(parts[0]))
    assert exact.rounded(merged, *DOUBLE) == exact_dot(x, y)


def test_a_million_ranks():
    state = exact.zeros_for(1)[0]
    exact.add_sum(state, np.array([-GREATEST, LEAST, -1.0, 2.0**-1030]))
    assert exact.rounded(state * 2**20, *DOUBLE) == -math.inf
    state[:] = 0
    exact.add_sum(state, np.array([1e300, -1.0, 3e-310]))
    total = 2**20 * sum(map(Fraction, [1e300, -1.0, 3e-310]))
    assert exact.rounded(state * 2**20, *DOUBLE) == nearest(total)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([], 0.0),
        ([-0.0], -0.0),
        ([-0.0] * 3000, -0.0),
        ([-0.0, 0.0], 0.0),
        ([1.0, -1.0], 0.0),
        ([1.0, -1.0, -0.0], 0.0),
        ([LEAST, -LEAST], 0.0),
        ([GREATEST, GREATEST, -GREATEST], GREATEST),
        ([GREATEST, HALF_UNIT], math.inf),
        ([GREATEST, HALF_UNIT, -LEAST], GREATEST),
        ([-GREATEST, -HALF_UNIT], -math.inf),
        ([1.0, 2.0**-53], 1.0),
        ([1.0, 2.0**-53, LEAST], 1.0 + 2.0**-52),
        ([1.0 + 2.0**-52, 2.0**-53], 1.0 + 2.0**-51),
        ([math.inf, -GREATEST, 1.0], math.inf),
        ([-math.inf, math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([-math.inf, math.nan], math.nan),
        ([0.0] * 2500 + [-math.inf], -math.inf),
    ],
)
def test_as_ieee_754_has_it(x, expected):
    assert_same_number(exact_sum(np.array(x, float)), expected)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([], [], 0.0),
        ([-0.0], [2.0], -0.0),
        ([-0.0, 1.0], [-0.0, -0.0], 0.0),
        ([0.0], [math.inf], math.nan),
        ([-2.0, 1.0], [math.inf, 1.0], -math.inf),
        ([1e-200, 0.0], [1e-200, 1.0], 0.0),
        ([1e-200, 1.0], [1e-200, -0.0], 0.0),
        ([LEAST] * 2, [0.5, 0.5], LEAST),
        ([LEAST], [0.5], 0.0),
        ([-LEAST], [0.25], -0.0),
        ([1e200, 1e200, 3.0], [1e200, -1e200, 1.0], 3.0),
        ([GREATEST, GREATEST], [2.0, -1.0], GREATEST),
    ],
)
def test_products_as_ieee_754_has_them(x, y, expected):
    assert_same_number(exact_dot(np.array(x, float), np.array(y, float)), expected)


def assert_same_number(result, expected):
    assert result == expected or (math.isnan(result) and math.isnan(expected))
    assert math.isnan(expected) or math.copysign(1, result) == math.copysign(1, expected)


@pytest.mark.parametrize(("form", "dtype"), [(SINGLE, np.float32), (HALF, np.float16)])
def test_smaller_formats(form, dtype):
    """A sum of two float64 halfway between two of the format, or a little beside, must not be rounded twice."""
    greatest, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
    step = float(np.spacing(dtype(1)))
    beyond = (greatest - float(np.nextafter(dtype(greatest), dtype(0)))) / 2
    for x, expected in (
        ([1.0, step / 2], 1.0),
        ([1.0, step / 2, 1e-40], 1.0 + step),
        ([1.0 + step, step / 2, -1e-40], 1.0 + step),
        ([1.0 + step, step / 2], 1.0 + 2 * step),
        ([tiny / 2], 0.0),
        ([tiny / 2, 1e-60], tiny),
        ([tiny, tiny / 2], 2 * tiny),
        ([greatest, beyond], math.inf),
        ([greatest, beyond, -1e-50], greatest),
    ):
        assert exact_sum(np.array(x), form) == expected, x
    assert exact_norm(np.array([tiny, tiny]), form) == tiny
    assert exact_norm(np.array([greatest, tiny]), form) == greatest


def test_roots_halfway():
    odd = 2.0**24 + 1  # between two float32
    assert exact_norm(np.array([odd]), SINGLE) == 2.0**24
    assert exact_norm(np.array([odd, 1e-30]), SINGLE) == 2.0**24 + 2
    assert exact_norm(np.array([odd + 2]), SINGLE) == 2.0**24 + 4
