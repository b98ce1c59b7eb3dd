"""What `kernels.py` compares: for each case what dcomp does, what the reference does, and their arguments.

Where memory is the limit the reference is STREAM's triad, compiled by numba, over as many elements as move the same
bytes: each array that must be read or written, once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse as scipy_sparse

import dcomp as dc
from dcomp.kernels import exact, prefix, reduce, sparse, stencil, transpose, vectors

DOUBLE = exact.format_of(np.float64)
IN_CACHE, FROM_MEMORY = 1 << 14, 1 << 25  # elements of 8 bytes: 128 KiB, 256 MiB
SORTED = 10_000_000


@dataclass(frozen=True)
class Case:
    """What is compared: two functions of the arguments that `make` makes."""

    name: str
    run: Callable[..., object]
    reference: Callable[..., object]
    make: Callable[[int], tuple]
    sizes: tuple[int, ...] = (IN_CACHE, FROM_MEMORY)
    most: tuple[float, ...] = ()  # ratios that are the goal, one for each size


def normals(count: int, dtype: type = np.float64) -> Callable[[int], tuple]:
    """Arguments: so many arrays of normal random numbers."""
    return lambda n: tuple(np.random.default_rng(i).normal(size=n).astype(dtype) for i in range(count))


def integers(n: int) -> tuple:
    """Arguments: an array of any int64."""
    return (np.random.default_rng(0).integers(-(1 << 63), (1 << 63) - 1, n),)


def same(n: int) -> tuple:
    """Arguments: the number itself."""
    return (n,)


@dc.jit
def triad(a: np.ndarray, b: np.ndarray, c: np.ndarray, s: float) -> None:
    """STREAM's."""
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


def triad_of(nbytes: int) -> tuple:
    """Three arrays of so many bytes together."""
    return tuple(np.ones(nbytes // 24) for _ in range(3))


def run_triad(*arguments: object) -> None:
    """On the three last arguments."""
    triad(*arguments[-3:], 3.0)


# Sums and dot products


def exact_sum(x: np.ndarray) -> object:
    """The reproducible sum."""
    return dc.sum(x, reproducible=True, comm=dc.COMM_SELF)


def exact_dot(x: np.ndarray, y: np.ndarray) -> object:
    """The reproducible dot product."""
    return dc.dot(x, y, reproducible=True, comm=dc.COMM_SELF)


def sum_kernel(x: np.ndarray) -> object:
    """The same without the public function around it."""
    state = exact.zeros_for(1)[0]
    exact.add_sum(state, x)
    return exact.rounded(state, *DOUBLE)


def dot_kernel(x: np.ndarray, y: np.ndarray) -> object:
    """The same without the public function around it."""
    state = exact.zeros_for(1)[0]
    exact.add_dot(state, x, y)
    return exact.rounded(state, *DOUBLE)


# Random numbers

OURS, THEIRS = dc.random.Generator(0, comm=dc.COMM_SELF), np.random.default_rng(0)

# Whole-data operations, on one rank


def alone(function: Callable) -> Callable:
    """A public function on one rank."""
    return lambda *arguments: function(*arguments, comm=dc.COMM_SELF)


# Grids and matrices


def square(n: int) -> tuple:
    """Arguments: where a square matrix of n elements goes, and the matrix."""
    side = round(n**0.5)
    x = np.random.default_rng(0).normal(size=(side, side))
    return np.zeros_like(x), x


def grid(axes: int, dtype: type) -> Callable[[int], tuple]:
    """Arguments: two grids with about n cells and ghost layers, and what moves as many bytes."""

    def make(n: int) -> tuple:
        side = round(n ** (1 / axes)) + 2
        x = np.random.default_rng(0).normal(size=(side,) * axes).astype(dtype)
        return np.zeros_like(x), x, *triad_of(2 * x.nbytes)

    return make


def weigh(weights: np.ndarray) -> Callable:
    """Apply a stencil of weights."""
    kind = stencil.Weights(weights)
    return lambda out, x, *_: stencil.apply(out, x, kind)


def compute(function: Callable) -> Callable:
    """Apply a stencil that is a function."""
    kind = stencil.Point(function, 1)
    return lambda out, x, *_: stencil.apply(out, x, kind)


def star(axes: int, arm: list) -> np.ndarray:
    """Weights along the axes: of the cell itself, and of those at distances 1, 2 ..."""
    width = len(arm) - 1
    weights = np.zeros((2 * width + 1,) * axes)
    for axis in range(axes):
        line = np.moveaxis(weights, axis, -1)[(width,) * (axes - 1)]
        line[:] = [*arm[:0:-1], *arm]
    return weights


BOX = np.array([-8 / 3, 0.1, 1 / 6, 1 / 12])[np.abs(np.indices((3, 3, 3)) - 1).sum(0)]


def five(u):
    """A step of heat."""
    return u[0, 0] + 0.1 * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4 * u[0, 0])


def rows_of(per_row: int) -> Callable[[int], tuple]:
    """Arguments: y, a sparse matrix of n rows with entries near the diagonal, x, SciPy's matrix, and triad's arrays."""

    def make(n: int) -> tuple:
        rng = np.random.default_rng(0)
        columns = (np.arange(n)[:, None] + rng.integers(-500, 500, (n, per_row))) % n
        parts = (
            np.arange(0, n * per_row + 1, per_row, np.int32),
            columns.astype(np.int32).ravel(),
            rng.normal(size=columns.size),
        )
        matrix = scipy_sparse.csr_array((parts[2], parts[1], parts[0]), (n, n))
        nbytes = sum(part.nbytes for part in parts) + 16 * n
        return np.empty(n), *parts, rng.normal(size=n), matrix, *triad_of(nbytes)

    return make


def multiply(y, indptr, indices, data, x, *_) -> None:
    """By the kernel."""
    sparse.csr_matvec_into(y, indptr, indices, data, x)


def multiply_by_scipy(y, indptr, indices, data, x, matrix, *_) -> object:
    """By SciPy."""
    return matrix @ x


def with_triad(count: int, nbytes: int, dtype: type = np.float64) -> Callable[[int], tuple]:
    """Arguments: arrays, and what moves so many bytes for each of their elements."""
    return lambda n: (*normals(count, dtype)(n), *triad_of(nbytes * n))


BIG = 1 << 24
GRIDS = (BIG,)
AT_TRIAD = (1 / 0.9,)  # 0.9 of its bandwidth

CASES = (
    Case("sum, exact: kernel", sum_kernel, np.sum, normals(1), most=(4.0, 1.5)),
    Case("dot, exact: kernel", dot_kernel, np.dot, normals(2), most=(3.0, 3.0)),
    Case("sum, exact", exact_sum, np.sum, normals(1), most=(4.0, 1.5)),
    Case("dot, exact", exact_dot, np.dot, normals(2), most=(3.0, 3.0)),
    Case("reduce: sum", reduce.sum, np.sum, normals(1), most=(1.0, 1.0)),
    Case("reduce: sum, int64", reduce.sum, np.sum, integers, most=(1.0, 1.0)),
    Case("reduce: min", reduce.min, np.min, normals(1), most=(1.0, 1.0)),
    Case("reduce: max place", reduce.max_place, np.argmax, normals(1), most=(1.0, 1.0)),
    Case(
        "prefix: inclusive",
        lambda out, x: prefix.inclusive_sum_into(out, x, 0.0),
        lambda out, x: np.cumsum(x, out=out),
        normals(2),
        (IN_CACHE, BIG),
        (1.0, 1.0),
    ),
    Case("vectors: axpy", lambda y, x, *_: vectors.axpy_into(y, 0.5, x), run_triad, with_triad(2, 24), (BIG,)),
    Case("vectors: dot", vectors.dot, np.dot, normals(2)),
    Case(
        "transpose",
        transpose.transpose_into,
        lambda out, x: np.copyto(out, x.T),
        square,
        (100**2, 1000**2, 4096**2, 4100**2),
        (1.0,) * 4,
    ),
    Case("random", OURS.random, THEIRS.random, same, (IN_CACHE, BIG), (1.0, 1.0)),
    Case("normal", OURS.normal, THEIRS.standard_normal, same, (IN_CACHE, BIG), (1 / 1.2, 1 / 1.2)),
    Case("integers", OURS.integers, THEIRS.integers, lambda n: (0, 1000, n), (IN_CACHE, BIG), (1.0, 1.0)),
    Case("sort, float64", alone(dc.sort), np.sort, normals(1), (SORTED,)),
    Case("sort, int64", alone(dc.sort), np.sort, integers, (SORTED,)),
    Case("unique, int64", alone(dc.unique), np.unique, integers, (SORTED,), (0.7,)),
    Case("median", alone(dc.median), np.median, normals(1), (SORTED,), (0.7,)),
    Case(
        "quantile",
        lambda x: dc.quantile(x, 0.9, comm=dc.COMM_SELF),
        lambda x: np.quantile(x, 0.9),
        normals(1),
        (SORTED,),
        (0.7,),
    ),
    Case("csr, to SciPy", multiply, multiply_by_scipy, rows_of(27), (1 << 10, 1 << 20), (1.0, 1.0)),
    Case("csr, to triad", multiply, run_triad, rows_of(27), (1 << 20,), AT_TRIAD),
    Case("stencil: 5 points", weigh(star(2, [-4, 1])), run_triad, grid(2, np.float64), GRIDS, AT_TRIAD),
    Case("stencil: 9 points", weigh(star(2, [-5, 4 / 3, -1 / 12])), run_triad, grid(2, np.float64), GRIDS, AT_TRIAD),
    Case("stencil: 7 points", weigh(star(3, [-6, 1])), run_triad, grid(3, np.float64), GRIDS, AT_TRIAD),
    Case("stencil: 27 points", weigh(BOX), run_triad, grid(3, np.float64), GRIDS, AT_TRIAD),
    Case("stencil: 5, float32", weigh(star(2, [-4, 1])), run_triad, grid(2, np.float32), GRIDS, AT_TRIAD),
    Case("stencil: 9, float32", weigh(star(2, [-5, 4 / 3, -1 / 12])), run_triad, grid(2, np.float32), GRIDS, AT_TRIAD),
    Case("stencil: 7, float32", weigh(star(3, [-6, 1])), run_triad, grid(3, np.float32), GRIDS, AT_TRIAD),
    Case("stencil: 27, float32", weigh(BOX), run_triad, grid(3, np.float32), GRIDS, AT_TRIAD),
    Case("stencil: function", compute(five), run_triad, grid(2, np.float64), GRIDS, AT_TRIAD),
)
