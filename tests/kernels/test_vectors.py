"""Updates of vectors and dot products against NumPy, in more precision."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcomp.kernels import vectors
from dcomp.kernels._vector_width import use_long_vectors

DTYPES = [np.float32, np.float64, np.complex128]
LENGTHS = [0, 1, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 3000]


def numbers(rng, n, dtype):
    x = rng.normal(size=n)
    return (x + 1j * rng.normal(size=n) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def exact_dot(x, y):
    """The real part of ``conj(x) y`` in long double, and the sum of the magnitudes."""
    wide = [np.concatenate([one.real, one.imag]).astype(np.longdouble) for one in (x, y)]
    return wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1])


def assert_dot(value, x, y):
    expected, magnitude = exact_dot(x, y)
    real = x.real.dtype
    error = (len(x) / 16 + 8) * np.finfo(real).eps * magnitude + len(x) * np.finfo(real).smallest_subnormal
    assert abs(value - expected) <= error


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_updates(dtype, n):
    rng = np.random.default_rng(n)
    x, y, z = (numbers(rng, n, dtype) for _ in range(3))
    real = x.real.dtype.type
    a, b = real(0.75), real(-1.25)
    rough = {"rtol": 0, "atol": 20 * np.finfo(dtype).eps}
    assert_dot(vectors.dot(x, y), x, y)
    into = y.copy()
    vectors.axpy_into(into, a, x)
    np.testing.assert_allclose(into, y + a * x, **rough)
    into = y.copy()
    assert_dot(vectors.axpy_dot(into, a, x), into, into)
    np.testing.assert_allclose(into, y + a * x, **rough)
    into, factors = np.empty_like(y), numbers(rng, n, real)
    assert_dot(vectors.scale_dot(into, factors, x), x, into)
    np.testing.assert_allclose(into, factors * x, **rough)
    into = y.copy()
    vectors.xpby_into(into, x, b)
    np.testing.assert_allclose(into, x + b * y, **rough)
    sum_, into = z.copy(), y.copy()
    vectors.advance(sum_, into, a, x, b)
    np.testing.assert_allclose(sum_, z + a * y, **rough)
    np.testing.assert_allclose(into, x + b * y, **rough)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e150, max_value=1e150)))
def test_dot_of_any_numbers(values):
    x = np.array(values, np.float64)
    y = x[::-1].copy()
    assert_dot(vectors.dot(x, y), x, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 31, 1030, 1056])
def test_nan_and_infinity_are_seen(bad, place):
    x = np.ones(1057)
    x[place] = bad
    np.testing.assert_equal(vectors.dot(x, np.ones(1057)), bad)
    np.testing.assert_equal(vectors.axpy_dot(np.zeros(1057), 1.0, x), bad)


def test_long_vectors():
    """LLVM is told of the function in which it is said."""

    @numba.njit
    def scale(x):
        use_long_vectors()
        for i in range(x.size):
            x[i] *= 3.0

    x = np.arange(100.0)
    scale(x)
    np.testing.assert_array_equal(x, 3 * np.arange(100.0))
    (code,) = scale.inspect_llvm().values()
    assert '"prefer-vector-width"="512"' in code
