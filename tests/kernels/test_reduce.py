"""Sums and extremes against NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_arrays import numbers

from dcomp.kernels import reduce

ORDERED = [np.bool_, np.int8, np.uint64, np.float32, np.float64]
LENGTHS = [1, 2, 31, 32, 33, 255, 256, 257, 2048, 2049, 6145, 40000]


def assert_sum(value, x):
    """Within the error that is promised; exact sums by `math.fsum`."""
    parts = 2 if x.dtype.kind == "c" else 1
    bound = (100 + math.log2(max(len(x), 2048) / 2048)) * np.finfo(x.dtype).eps
    for part in ("real", "imag")[:parts]:
        there = getattr(x, part).astype(float).tolist()
        assert abs(float(getattr(value, part)) - math.fsum(there)) <= parts * bound * math.fsum(map(abs, there))


@pytest.mark.parametrize("dtype", [*ORDERED, np.complex128])
def test_sum(dtype):
    assert reduce.sum(np.zeros(0, dtype)) == 0
    for n in LENGTHS:
        x = numbers(dtype, n)
        if x.dtype.kind in "fc":
            assert_sum(reduce.sum(x), x)
        else:
            assert reduce.sum(x) == x.sum()


def test_many_equal_numbers_add_up():
    """Which one sum after the other does not: 0.1 is rounded each time."""
    x = np.full(1 << 20, 0.1, np.float32)
    assert_sum(reduce.sum(x), x)


@pytest.mark.parametrize("dtype", ORDERED)
def test_extremes(dtype):
    for n in LENGTHS:
        x = numbers(dtype, n)
        assert reduce.min_place(x) == (x.min(), x.argmin())
        assert reduce.max_place(x) == (x.max(), x.argmax())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [5, 300, 9000])
def test_nan_and_ties(n, dtype):
    x = np.full(n, 7, dtype)
    assert (reduce.min_place(x), reduce.max_place(x)) == ((7, 0), (7, 0))
    places = sorted({0, 1, n // 2, n - 2, n - 1})
    for first in places:
        x = numbers(dtype, n)
        x[[first, n - 1]] = np.nan
        for function in (reduce.min_place, reduce.max_place):
            value, place = function(x)
            assert math.isnan(value)
            assert place == first
        x[[first, n - 1]] = -np.inf
        assert reduce.min_place(x) == (-np.inf, first)
        x[[first, n - 1]] = np.inf
        assert reduce.max_place(x) == (np.inf, first)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(width=64), min_size=1, max_size=80))
def test_extremes_of_any_numbers(values):
    x = np.tile(np.array(values, np.float64), 5)
    np.testing.assert_equal(reduce.min_place(x), (x.min(), x.argmin()))
    np.testing.assert_equal(reduce.max_place(x), (x.max(), x.argmax()))


def test_values_alone():
    x = numbers(np.float64, 300)
    assert (reduce.min(x), reduce.max(x)) == (x.min(), x.max())


def test_no_numbers_have_no_extreme():
    for function in (reduce.min, reduce.max, reduce.min_place, reduce.max_place):
        with pytest.raises(ValueError, match="x must have numbers"):
            function(np.zeros(0))
