"""What kernels cannot take is an error, before any number is read or written."""

import numpy as np
import pytest
from numba import TypingError

from dcomp.kernels import prefix, reduce, sparse, transpose, vectors

X, MORE, WHOLE = np.ones(9), np.ones(18), np.ones(9, np.int64)
SQUARE, WIDE = np.ones((9, 9)), np.ones((9, 18))
FROZEN = np.broadcast_to(X, (1, 9))[0]

WRONG = {
    "strided": (lambda: reduce.sum(MORE[::2]), TypingError, "contiguous arrays of one dimension"),
    "backwards": (lambda: reduce.min_place(X[::-1]), TypingError, "contiguous arrays of one dimension"),
    "two axes": (lambda: reduce.max(SQUARE), TypingError, "contiguous arrays of one dimension"),
    "dates": (lambda: reduce.sum(np.zeros(9, "m8[s]")), TypingError, "one dtype of numbers"),
    "prefix of strided": (lambda: prefix.inclusive_sum_into(X.copy(), MORE[::2], 0.0), TypingError, "contiguous"),
    "prefix of others": (lambda: prefix.inclusive_sum_into(WHOLE.copy(), X, 0.0), TypingError, "one dtype of numbers"),
    "prefix into nothing": (lambda: prefix.exclusive_max_into(FROZEN, X, 0.0), TypingError, "out must be writable"),
    "least of complex": (lambda: prefix.inclusive_min_into(X + 0j, X + 0j, 0j), TypingError, "x must be of integers"),
    "short": (lambda: prefix.inclusive_min_into(X.copy(), MORE, 0.0), ValueError, "out and x must have one length"),
    "dot of strided": (lambda: vectors.dot(X, MORE[::2]), TypingError, "contiguous"),
    "dot of two dtypes": (lambda: vectors.dot(X, X.astype(np.float32)), TypingError, "one dtype of numbers"),
    "dot of integers": (lambda: vectors.dot(WHOLE, WHOLE), TypingError, "dot products are of floating-point numbers"),
    "dot of two lengths": (lambda: vectors.dot(MORE, X), ValueError, "one length"),
    "axpy of two lengths": (lambda: vectors.axpy_into(MORE.copy(), 2.0, X), ValueError, "one length"),
    "few factors": (lambda: vectors.scale_dot(MORE.copy(), X, MORE), ValueError, "d must have the length of y"),
    "transposed shape": (
        lambda: transpose.transpose_into(SQUARE.copy(), WIDE),
        ValueError,
        "the shape of x transposed",
    ),
    "transposed dtype": (
        lambda: transpose.transpose_into(SQUARE.copy(), SQUARE.astype("i8")),
        TypingError,
        "the dtype",
    ),
    "Fortran": (lambda: transpose.transpose_into(SQUARE.copy(), SQUARE.T), ValueError, "rows of out and x must lie"),
    "columns": (
        lambda: transpose.transpose_into(SQUARE.copy(), WIDE[:, ::2]),
        ValueError,
        "rows of out and x must lie",
    ),
    "itself": (lambda: transpose.transpose_into(SQUARE, SQUARE), ValueError, "out must not be x"),
    "sparse": (
        lambda: sparse.csr_matmat_into(SQUARE.copy(), np.arange(10), np.arange(9), X, SQUARE.T),
        TypingError,
        "arrays must be in C order",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_misuse(case):
    call, error, told = WRONG[case]
    with pytest.raises(error, match=told):
        call()
    assert (MORE == 1).all()
    assert (SQUARE == 1).all()
    assert (FROZEN == 1).all()
