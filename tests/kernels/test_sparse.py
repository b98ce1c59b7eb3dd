"""Products of sparse matrices against NumPy's products of dense ones."""

import numpy as np
import pytest

from dcomp.kernels import sparse

KINDS = [(np.float32, np.int32), (np.float64, np.int32), (np.complex128, np.int64)]


def numbers(rng, shape, dtype):
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def matrix(rng, lengths, columns, dtype, index):
    """A matrix whose rows have so many entries, in any order and some at one place; and the dense one."""
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(index)
    indices = rng.integers(0, max(columns, 1), indptr[-1]).astype(index)
    data = numbers(rng, indptr[-1], dtype)
    dense = np.zeros((len(lengths), columns), dtype)
    np.add.at(dense, (np.repeat(np.arange(len(lengths)), lengths), indices), data)
    return (indptr, indices, data), dense


#: Lengths of rows, and columns.
SHAPES = {
    "some empty": ([0, 3, 0, 0, 1, 9, 0], 5),
    "no entries": ([0, 0, 0], 4),
    "no rows": ([], 3),
    "no columns": ([0, 0], 0),
    "one row": ([7], 3),
    "long rows": ([300, 0, 8, 16, 15, 17], 40),
    "one of each length": (list(range(35)), 30),
}


@pytest.mark.parametrize(("dtype", "index"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, dtype, index):
    rng = np.random.default_rng(5)
    lengths, columns = SHAPES[shape]
    parts, dense = matrix(rng, lengths, columns, dtype, index)
    x, z = numbers(rng, columns, dtype), numbers(rng, len(lengths), dtype)
    close = {"rtol": 0, "atol": 300 * np.finfo(dtype).eps * max(1, max(lengths, default=0))}
    y = np.full(len(lengths), np.nan, dtype)
    sparse.csr_matvec_into(y, *parts, x)
    np.testing.assert_allclose(y, dense @ x, **close)
    y = np.full(columns, np.nan, dtype)
    sparse.csr_matvec_transposed_into(y, *parts, z)
    np.testing.assert_allclose(y, dense.T @ z, **close)
    for width in (0, 1, 3, 4, 9):
        x, z = numbers(rng, (columns, width), dtype), numbers(rng, (len(lengths), width), dtype)
        y = np.full((len(lengths), width), np.nan, dtype)
        sparse.csr_matmat_into(y, *parts, x)
        np.testing.assert_allclose(y, dense @ x, **close)
        y = np.full((columns, width), np.nan, dtype)
        sparse.csr_matmat_transposed_into(y, *parts, z)
        np.testing.assert_allclose(y, dense.T @ z, **close)


def test_what_is_not_in_a_row_does_not_count():
    """NaN and infinity in x and in other rows' entries."""
    indptr = np.array([0, 9, 18], np.int32)
    indices = np.array([0] * 9 + [1] * 9, np.int32)
    data = np.array([1.0] * 9 + [np.nan] * 9)
    y = np.empty(2)
    sparse.csr_matvec_into(y, indptr, indices, data, np.array([1.0, 1.0]))
    assert y[0] == 9
    assert np.isnan(y[1])
    sparse.csr_matvec_into(y, indptr, indices, np.ones(18), np.array([2.0, np.inf]))
    assert y.tolist() == [18, np.inf]


def test_rows_that_begin_elsewhere():
    """`indptr` may be a part of a longer one."""
    rng = np.random.default_rng(6)
    (indptr, indices, data), dense = matrix(rng, [2, 5, 0, 4], 6, np.float64, np.int32)
    x, y = rng.normal(size=6), np.empty(2)
    sparse.csr_matvec_into(y, indptr[1:4], indices, data, x)
    np.testing.assert_allclose(y, dense[1:3] @ x)


@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_add_at(shape):
    rng = np.random.default_rng(7)
    places = np.array([3, 0, 3, 1, 9, 9])
    x, y = rng.normal(size=shape), rng.normal(size=(10, *shape[1:]))
    expected = y.copy()
    np.add.at(expected, places, x)
    sparse.add_at(y, places, x)
    np.testing.assert_allclose(y, expected, rtol=1e-15)


def test_diagonal():
    rng = np.random.default_rng(8)
    parts, dense = matrix(rng, [5, 0, 9, 4], 8, np.float64, np.int32)
    d = np.empty(4)
    sparse.diagonal_into(d, *parts, 2)
    np.testing.assert_allclose(d, dense[np.arange(4), 2 + np.arange(4)])
