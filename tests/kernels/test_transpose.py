"""Transposition against NumPy."""

import numpy as np
import pytest

from dcomp.kernels import transpose

SHAPES = [(0, 5), (1, 1), (7, 9), (8, 8), (17, 33), (64, 70), (130, 515), (1100, 19)]


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.float32, np.float64, np.complex128])
def test_transpose(dtype):
    for shape in SHAPES:
        x = np.random.default_rng(3).integers(-100, 100, shape).astype(dtype)
        for shift in (0, 3):  # elements by which a line of the cache begins elsewhere
            out = np.full(x.size + shift + 1, 77).astype(dtype)
            transpose.transpose_into(out[shift:-1].reshape(shape[::-1]), x)
            np.testing.assert_array_equal(out[shift:-1].reshape(shape[::-1]), x.T)
            assert out[-1] == np.array(77).astype(dtype)


def test_each_of_a_batch():
    x = np.random.default_rng(4).normal(size=(3, 20, 18))
    out = np.empty((3, 18, 20))
    transpose.transpose_into(out, x)
    np.testing.assert_array_equal(out, x.swapaxes(1, 2))


@pytest.mark.parametrize("shape", [(1456, 1457), (1457, 1456), (2051, 1032)])
def test_what_does_not_fit_the_caches(shape):
    """Written past them, where a row of the result begins with a line."""
    x = np.random.default_rng(5).normal(size=shape)
    for shift in (0, 8, 3):  # bytes; at the last no element is aligned
        out = np.zeros(x.nbytes + 8, np.uint8)[shift : shift + x.nbytes].view(x.dtype).reshape(shape[::-1])
        transpose.transpose_into(out, x)
        np.testing.assert_array_equal(out, x.T)
