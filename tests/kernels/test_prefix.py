"""Prefix sums and extremes against NumPy."""

import numpy as np
import pytest
from random_arrays import numbers

from dcomp.kernels import prefix

LENGTHS = [0, 1, 2, 7, 8, 9, 16, 63, 64, 65, 1000]
SUMS = prefix.inclusive_sum_into, prefix.exclusive_sum_into, np.add
MINIMA = prefix.inclusive_min_into, prefix.exclusive_min_into, np.minimum
MAXIMA = prefix.inclusive_max_into, prefix.exclusive_max_into, np.maximum


def check(functions, x, carry):
    """Both functions, out of place and in place, and what they return."""
    inclusive, exclusive, ufunc = functions
    expected = ufunc.accumulate(np.append(carry, x).astype(x.dtype), dtype=x.dtype)
    if x.dtype.kind in "fc":
        size = np.abs(np.append(carry, x)[np.isfinite(np.append(carry, x))]).sum()
        close = {"rtol": 0, "atol": (len(x) / 8 + 15) * np.finfo(x.dtype).eps * float(size) * 2}
    else:
        close = {"rtol": 0, "atol": 0}
    for function, part in ((inclusive, expected[1:]), (exclusive, expected[:-1])):
        out = np.empty_like(x)
        np.testing.assert_allclose(function(out, x, carry), expected[-1], **close)
        np.testing.assert_allclose(out, part, **close)
        again = x.copy()
        function(again, again, carry)
        np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.float64, np.complex128])
def test_sums(dtype):
    for n in LENGTHS:
        check(SUMS, numbers(dtype, n), np.dtype(dtype).type(3))


@pytest.mark.parametrize("functions", [MINIMA, MAXIMA])
@pytest.mark.parametrize("dtype", [np.uint32, np.float64])
def test_extremes(dtype, functions):
    for n in LENGTHS:
        x = numbers(dtype, n).copy()
        check(functions, x, x.dtype.type(3))
        if n and x.dtype.kind == "f":
            x[n // 2] = np.nan
            check(functions, x, x.dtype.type(-3))
            check(functions, x, np.nan)


def test_parts_are_chained():
    """As the ranks' parts are: each begins with what the one before returned."""
    x = numbers(np.int64, 1000)
    whole, parts = np.empty_like(x), np.empty_like(x)
    total = prefix.exclusive_sum_into(whole, x, 0)
    carry = np.int64(0)
    for start, end in ((0, 3), (3, 3), (3, 500), (500, 1000)):
        carry = prefix.exclusive_sum_into(parts[start:end], x[start:end], carry)
    np.testing.assert_array_equal(parts, whole)
    assert carry == total


def test_zero_keeps_its_sign():
    out = np.empty(9)
    total = prefix.exclusive_sum_into(out, np.full(9, -0.0), -0.0)
    assert np.signbit(out).all()
    assert np.signbit(total)
