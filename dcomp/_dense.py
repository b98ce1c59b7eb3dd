"""Products and factorizations of dense matrices by block rows; each rank's own part is computed by NumPy."""

from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from ._buffers import as_array
from ._checks import dtype_text
from ._communicator import Communicator
from ._errors import ShapeMismatchError
from ._layout import displacements
from ._whole import agree
from ._world import or_world

_PIECE = 1 << 25  # bytes of b that a rank has at a time
_ROWS = 1024  # of a product that is added to the result
_CACHED = 1 << 19  # bytes of a block whose factorization stays in the cache


def matmul(a: Any, b: Any, *, comm: Communicator | None = None) -> np.ndarray:
    """The product of two matrices that are distributed by block rows; so is the result.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    a : array of numbers or bool, shape (n, k)     This rank's rows; k is that of the whole.
    b : array of numbers or bool, shape (m, c)     This rank's rows; the ranks' m add up to k.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array, shape (n, c), of the dtype that NumPy gives a product: this rank's rows of ``a @ b``

    Raises
    ------
    TypeError, ValueError     On every rank, if a or b is no matrix of numbers on one.
    ShapeMismatchError        On every rank, if the shapes do not fit together.
    CollectiveMismatchError   On every rank, if dtypes differ.

    Notes
    -----
    The ranks broadcast their rows of b one after the other, in pieces of 32 MiB, and each multiplies the columns of a
    that belong to them by NumPy's `matmul`, which is BLAS for floating-point numbers. Beside a, b and the result a rank
    needs the memory of two pieces and of 1024 rows of the result.

    References
    ----------
    R. van de Geijn, J. Watts, SUMMA: scalable universal matrix multiplication algorithm, Concurrency 9 (1997); for one
    column of ranks.

    Examples
    --------
    a of rank 0 [[1 2]], rank 1 [[3 4]]; b of rank 0 [[1 0]], rank 1 [[0 1]]  ->  rank 0 [[1 2]], rank 1 [[3 4]]
    """
    comm = or_world(comm)
    left = right = np.empty((0, 0))
    fault, facts = None, {}
    try:
        left, right = _matrix("matmul", "a", a), _matrix("matmul", "b", b)
        facts = {
            "dtype of a": dtype_text(left.dtype), "dtype of b": dtype_text(right.dtype),
            "shape of a": f"(n, {left.shape[1]})", "shape of b": f"(m, {right.shape[1]})",
        }  # fmt: skip
    except (TypeError, ValueError) as error:
        fault = error
    agree(comm, "matmul", fault, **facts)
    counts = comm.allgather(len(right)).tolist()
    if sum(counts) != left.shape[1]:
        raise ShapeMismatchError(
            f"matmul: b must have as many rows on all ranks together as a has columns, {left.shape[1]}; got "
            f"{' + '.join(map(str, counts))}. No data was moved."
        )
    result = np.zeros((len(left), right.shape[1]), np.result_type(left, right))
    step = max(_PIECE // max(right.shape[1] * right.itemsize, 1), 1)
    for root, (count, column) in enumerate(zip(counts, displacements(counts), strict=True)):
        for first in range(0, count, step):
            last = min(first + step, count)
            piece = comm.bcast(right[first:last] if root == comm.rank else None, root=root)
            _add_product(result, left[:, column + first : column + last], piece)
    return result


def _add_product(result: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    for first in range(0, len(result), _ROWS):
        result[first : first + _ROWS] += a[first : first + _ROWS] @ b


class QR(NamedTuple):
    """``a = q r``: this rank's rows of q, and r."""

    q: np.ndarray
    r: np.ndarray


class SVD(NamedTuple):
    """``a = u diag(s) vh``: this rank's rows of u; s, in descending order, and vh."""

    u: np.ndarray
    s: np.ndarray
    vh: np.ndarray


def qr(a: Any, *, comm: Communicator | None = None) -> QR:
    """The QR factorization of a tall matrix that is distributed by block rows.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    a : array of numbers, shape (n, k)
        This rank's rows, in any number, also none; k, the columns of the whole, is the same on every rank.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    QR, a named tuple
        q : array, shape (n, l), this rank's rows of a matrix with orthonormal columns; l is k, or the number of all
        rows if that is less. r : array, shape (l, k), upper triangular, its diagonal real and not negative; identical
        on every rank. Both of the dtype of a, float64 of integers and bool.

    Raises
    ------
    TypeError, ValueError                         On every rank, if a is no matrix of numbers on one.
    CollectiveMismatchError, ShapeMismatchError   On every rank, if dtype or k differ.

    Notes
    -----
    If the columns are linearly independent there is only one such factorization, so it depends on the number of ranks
    no more than rounding does. NaN and infinities spread, as in NumPy's.

    Each rank factorizes blocks of its rows that fit into its cache, by one thread, and their triangles together; then
    ranks put their triangles together two by two, in a tree: twice log2(p) exchanges of at most k x k numbers, and a
    broadcast. Memory: twice that of a, and log2(p) matrices of 2 k x k.

    References
    ----------
    J. Demmel, L. Grigori, M. Hoemmen, J. Langou, Communication-optimal parallel and sequential QR and LU
    factorizations, SIAM J. Sci. Comput. 34 (2012).

    Examples
    --------
    rank 0 [[3]], rank 1 [[-4]]  ->  q of rank 0 [[0.6]], of rank 1 [[-0.8]]; r of both [[5]]
    """
    comm = or_world(comm)
    array = _agreed("qr", a, comm)
    q, top, r = _factorize(comm, array)
    return QR(q @ top, comm.bcast(r if comm.rank == 0 else None))


def svd(a: Any, *, comm: Communicator | None = None) -> SVD:
    """The singular value decomposition of a tall matrix that is distributed by block rows.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    a, comm     As of `qr`.

    Returns
    -------
    SVD, a named tuple
        u : array, shape (n, l), this rank's rows of a matrix with orthonormal columns. s : array, shape (l,), singular
        values in descending order. vh : array, shape (l, k), with orthonormal rows. s and vh are identical on every
        rank. l and dtypes as of `qr`; s is real.

    Raises
    ------
    TypeError, ValueError                         On every rank, if a is no matrix of numbers on one.
    CollectiveMismatchError, ShapeMismatchError   On every rank, if dtype or k differ.
    numpy.linalg.LinAlgError                      On every rank, if it does not converge, as with NaN.

    Notes
    -----
    As `qr`, whose triangle the first rank decomposes. Signs are as they come.

    References
    ----------
    As of `qr`.

    Examples
    --------
    rank 0 [[3]], rank 1 [[4]]  ->  s of both [5]
    """
    comm = or_world(comm)
    array = _agreed("svd", a, comm)
    q, top, r = _factorize(comm, array)
    u = s = vh = None
    if comm.rank == 0:
        with suppress(np.linalg.LinAlgError):
            u, s, vh = np.linalg.svd(r, full_matrices=False)
    if not comm.bcast(u is not None if comm.rank == 0 else None):
        raise np.linalg.LinAlgError("svd: it does not converge, as with NaN or infinities in a")
    return SVD(q @ (top @ comm.bcast(u)), comm.bcast(s), comm.bcast(vh))


def _agreed(function: str, a: Any, comm: Communicator) -> np.ndarray:
    """A matrix of one of LAPACK's dtypes, on which the ranks agree."""
    array, fault, facts = np.empty((0, 0)), None, {}
    try:
        array = _matrix(function, "a", a)
        facts = {"dtype": dtype_text(array.dtype), "shape of a": f"(n, {array.shape[1]})"}
        wanted = np.result_type(array, np.float32) if array.dtype.kind in "fc" else np.dtype(np.float64)
        if wanted.char not in "fdFD":
            raise TypeError(f"{function}: a must be of 64 bits at most for each real number; got {array.dtype}")
        array = array.astype(wanted, copy=False)
    except (TypeError, ValueError) as error:
        fault = error
    agree(comm, function, fault, **facts)
    return array


def _matrix(function: str, name: str, x: Any) -> np.ndarray:
    """x as a matrix of numbers, in the machine's byte order."""
    array, _ = as_array(x, function, name)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{function}: {name} must be of numbers or bool; got {dtype_text(array.dtype)}")
    if array.ndim != 2:
        raise ValueError(f"{function}: {name} must have two dimensions; got shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _factorize(comm: Communicator, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The factorization of all ranks' rows: this rank's rows of q are the product of two matrices; and r, on rank 0."""
    rank, size = comm.rank, comm.size
    q, r = _qr(a)
    levels: list[tuple[int, np.ndarray, int]] = []  # with whom, the factor, and how many of its rows are this rank's
    parent = None
    step = 1
    while step < size:  # up the tree
        joins = rank % (2 * step) == 0
        if parent is None and not joins:
            parent = rank - step
            came = comm.exchange({parent: r})
        else:
            came = comm.exchange({})
        for child, other in came.items():
            factor, joined = _qr(np.concatenate([r, other]))
            levels.append((child, factor, len(r)))
            r = joined
        step *= 2
    top = np.empty((0, 0), a.dtype)
    if rank == 0:
        top, r = _signs(r)
    while step > 1:  # and down
        step //= 2
        parts = {}
        if levels and levels[-1][0] == rank + step:
            child, factor, mine = levels.pop()
            top = factor @ top
            parts[child], top = top[mine:], top[:mine]
        came = comm.exchange(parts)
        if came:
            (top,) = came.values()
    return q, top, r


def _signs(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A diagonal matrix of numbers of magnitude 1, and r with a diagonal that is not negative: their product is r."""
    diagonal = np.diagonal(r)
    magnitude = np.abs(diagonal)
    signs = np.where(magnitude > 0, diagonal / np.where(magnitude > 0, magnitude, 1), 1).astype(r.dtype)
    r = signs.conj()[:, None] * r
    places = np.arange(len(signs))
    r[places, places] = magnitude
    return np.diag(signs), np.triu(r)


def _qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factorization of one rank's rows: of blocks that fit into the cache, whose triangles follow each other."""
    rows, columns = a.shape
    blocks = rows // max(_CACHED // max(columns * a.itemsize, 1), 4 * columns, 1)
    if blocks < 2:
        return np.linalg.qr(a)
    height, triangles = rows // blocks, blocks * columns
    whole = blocks * height  # the few rows behind are put to the triangles
    with _libraries().limit(
        limits=1, user_api="blas"
    ):  # threads that share a block wait for each other most of the time
        parts, some = np.linalg.qr(a[:whole].reshape(blocks, height, columns))
        joined, r = _qr(np.concatenate([some.reshape(triangles, columns), a[whole:]]))
        q = np.empty((rows, joined.shape[1]), a.dtype)
        np.matmul(parts, joined[:triangles].reshape(blocks, columns, -1), out=q[:whole].reshape(blocks, height, -1))
    q[whole:] = joined[triangles:]
    return q, r


@cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """What has been loaded that has threads; it takes milliseconds to find."""
    return threadpoolctl.ThreadpoolController()
