"""Sums, dot products and norms of whole distributed arrays, as quick as they come or exact.

Each rank works on its block; one exchange, `Communicator._combine`, brings the parts together and compares the calls.
The exact ones send what `kernels.exact` accumulates, whose elementwise sum is that of all ranks.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from ._buffers import as_array
from ._checks import dtype_text
from ._communicator import Communicator
from ._draws import flag
from ._errors import ShapeMismatchError
from ._functions import _combine
from ._world import or_world

_PIECE = 1 << 14  # elements that are converted at a time, so that they stay in the cache
_EXACT = {np.dtype(code) for code in ("f2", "f4", "f8", "c8", "c16")}


def sum(x: Any, *, reproducible: bool = False, comm: Communicator | None = None) -> Any:
    """Sum all elements of a distributed array.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, any shape     This rank's block, of numbers or bool; blocks may differ in shape, and be empty.
    reproducible : bool     Whether the sum is exact, and rounded once, at the end.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    NumPy scalar, identical on every rank; dtype as of `numpy.sum`: int64 or uint64 of bool and integers, else of `x`

    Raises
    ------
    TypeError                   If `x` is not of numbers or bool; of longdouble, if `reproducible`.
    CollectiveMismatchError     On every rank, if dtype or `reproducible` differ, or another rank's arguments are wrong.

    Notes
    -----
    By default each rank sums its block as NumPy does, float16 in float32, and an allreduce of one number adds the sums:
    the last bits depend on the number of ranks, on how the array is cut, and where no memory is shared on MPI.

    With `reproducible` the result is the exact sum of all elements, rounded to nearest, half to even; of complex
    numbers the real and the imaginary part, each by itself. So its bits depend on nothing but the elements. IEEE 754
    holds for the rest: Inf, -Inf or NaN if there are such (NaN for Inf - Inf), Inf where the exact sum is beyond the
    greatest number, and only there, subnormal results, and -0.0 for a sum of nothing but -0.0. It takes about as long
    as `numpy.sum`, longer where elements close to each other differ by more than 2**49, and an allreduce of 1.1 KiB, or
    2.2 KiB of complex numbers. Integers are exact anyway; they wrap. Arrays of more dimensions that are not contiguous
    are copied; what else is not float64 in order is converted piece by piece.

    In compiled code `reproducible` is written out, ``True`` or ``False``, and `x` is an array, but not of float16; each
    rank's own sum is exact there in either case.

    References
    ----------
    R. Neal, Fast exact summation using small and large superaccumulators, arXiv:1505.05571 (2015). S. Rump, T. Ogita,
    S. Oishi, Accurate floating-point summation part I, SIAM J. Sci. Comput. 31 (2008).

    Examples
    --------
    rank 0 [1e16 1], rank 1 [-1e16], reproducible  ->  both 1.0
    """
    comm = or_world(comm)
    try:
        array = _checked("sum", "x", x, reproducible)
    except (TypeError, ValueError) as fault:
        comm._refuse("sum", fault)
    told = _told(array.dtype, bool(reproducible))
    if not reproducible or array.dtype not in _EXACT:
        local = array.sum(dtype=np.float32 if array.dtype == np.float16 else None)
        return _merged(comm, "sum", told, local, array)
    states = _accumulate([[(part, None)] for part in _parts(array)])
    return _rounded(_combine(states, "sum", told, comm=comm), array.dtype)


def dot(x: Any, y: Any, *, reproducible: bool = False, comm: Communicator | None = None) -> Any:
    """Sum the products of the elements of two distributed arrays.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x, y : arrays, any shape, the same
        This rank's blocks, of numbers or bool, both of integers, both real or both complex; blocks may differ in shape
        between ranks, and be empty. Complex numbers are not conjugated, as in `numpy.dot`; pass ``x.conj()`` for that.
    reproducible : bool     Whether the sum of the products is exact, and rounded once, at the end.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    NumPy scalar, identical on every rank; dtype as of `numpy.dot`, but int64 of bool

    Raises
    ------
    TypeError                   If `x` or `y` is not of numbers or bool, or they are not of one kind; of longdouble, if
                                `reproducible`.
    ShapeMismatchError          If `x` and `y` of this rank have different shapes.
    CollectiveMismatchError     On every rank, if dtype or `reproducible` differ, or another rank's arguments are wrong.

    Notes
    -----
    As `sum`, of which all of the notes hold. With `reproducible` also products that are beyond the greatest number, or
    below the smallest, are exact; a product of Inf and zero is NaN. It takes up to three times as long as `numpy.dot`
    on one core for what is in the cache. Of complex numbers each part is a sum of two dot products.

    References
    ----------
    T. Ogita, S. Rump, S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005).

    Examples
    --------
    rank 0 [1 2] [3 4], rank 1 [5] [6]  ->  both 41
    """
    comm = or_world(comm)
    try:
        left, right = _checked("dot", "x", x, reproducible), _checked("dot", "y", y, reproducible)
        left, right = _alike(left, right)
    except (TypeError, ValueError) as fault:
        comm._refuse("dot", fault)
    told = _told(left.dtype, bool(reproducible))
    if not reproducible or left.dtype not in _EXACT:
        return _merged(comm, "dot", told, _plain_dot(left, right), left)
    a, b = _parts(left), _parts(right)
    products = [[(a[0], b[0])]]
    if len(a) == 2:
        products = [[(a[0], b[0]), (a[1], -b[1])], [(a[0], b[1]), (a[1], b[0])]]
    return _rounded(_combine(_accumulate(products), "dot", told, comm=comm), left.dtype)


def norm(x: Any, *, reproducible: bool = False, comm: Communicator | None = None) -> Any:
    """The Euclidean norm of a distributed array: the square root of the sum of the squared magnitudes of all elements.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, any shape     This rank's block, of numbers or bool; blocks may differ in shape, and be empty.
    reproducible : bool     Whether the norm is exact, and rounded once.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    NumPy scalar, identical on every rank; of the precision of `x`, float64 of bool and integers

    Raises
    ------
    TypeError                   If `x` is not of numbers or bool; of longdouble, if `reproducible`.
    CollectiveMismatchError     On every rank, if dtype or `reproducible` differ, or another rank's arguments are wrong.

    Notes
    -----
    By default the squares of this rank's block are summed as `numpy.dot` does, float16 in float32, and an allreduce of
    one number adds the sums. They overflow where elements exceed the root of the greatest number.

    With `reproducible` the result is the exact norm, rounded once to nearest, half to even: the squares have the range
    that they need, so it is Inf only if the norm itself is beyond the greatest number or an element is infinite, and
    the norm of one element is its magnitude. NaN if an element is. Integers are converted to float64 first, which
    rounds those beyond 2**53. Cost: as `dot`.

    References
    ----------
    As of `dot`.

    Examples
    --------
    rank 0 [3], rank 1 [4]  ->  both 5.0
    """
    comm = or_world(comm)
    try:
        array = _checked("norm", "x", x, reproducible)
    except (TypeError, ValueError) as fault:
        comm._refuse("norm", fault)
    told = _told(array.dtype, bool(reproducible))
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    real = array.real.dtype.type
    if reproducible:
        states = _accumulate([[(part, part) for part in _parts(array)]])
        return _rounded(_combine(states, "norm", told, comm=comm), np.dtype(real), root=True)
    local = [_plain_dot(part, part) for part in _flat(array.real, array.imag)[: 1 + (array.dtype.kind == "c")]]
    squares = _combine(np.array([np.add.reduce(local)]), "norm", told, comm=comm)[0]
    return real(np.sqrt(squares))


def _checked(function: str, argument: str, x: Any, reproducible: bool) -> np.ndarray:
    """x as an array that can be summed, in the machine's byte order.

    Raises
    ------
    TypeError     If it cannot be, or if `reproducible` is no bool.
    """
    array, _ = as_array(x, function, argument)
    flag(function, "reproducible", reproducible)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{function}: {argument} must be of numbers or bool; got {dtype_text(array.dtype)}")
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    if reproducible and native.kind in "fc" and native not in _EXACT:
        raise TypeError(
            f"{function}: {argument} must be of float16, float32, float64, complex64, complex128, integers or bool to "
            f"be summed reproducibly; got {dtype_text(native)}. Convert it, or leave reproducible out"
        )
    return array if native is array.dtype else array.astype(native)


def _alike(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays as flat ones of one dtype, elements in the same order; copies only where they must be.

    Raises
    ------
    ShapeMismatchError, TypeError     If they do not fit together.
    """
    if x.shape != y.shape:
        raise ShapeMismatchError(f"dot: y must have the shape of x, {x.shape}; got {y.shape}")
    if x.dtype == y.dtype and x.dtype.kind != "b":
        left, right = _flat(x, y)
        return left, right
    kinds = {"i" if one.dtype.kind in "biu" else one.dtype.kind for one in (x, y)}
    if len(kinds) > 1:
        raise TypeError(
            "dot: y must be of the kind of x, both of integers, both real or both complex; got "
            f"{dtype_text(x.dtype)} and {dtype_text(y.dtype)}. Convert one of them"
        )
    dtype = np.result_type(x, y)
    if dtype == np.bool_:
        dtype = np.dtype(np.int64)
    if dtype.kind not in ("iu" if kinds == {"i"} else "fc"):
        raise TypeError(
            f"dot: x and y must have a dtype of integers for both; got {dtype_text(x.dtype)} and "
            f"{dtype_text(y.dtype)}. Convert one of them"
        )
    left, right = _flat(x.astype(dtype, copy=False), y.astype(dtype, copy=False))
    return left, right


def _flat(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays of one shape in one dimension, elements in the same order."""
    if arrays[0].ndim == 1:
        return list(arrays)
    in_memory = len({one.strides for one in arrays}) == 1
    return [one.ravel(order="K" if in_memory else "C") for one in arrays]


def _parts(x: np.ndarray) -> list[np.ndarray]:
    """The array, or its real and its imaginary part, in one dimension."""
    (flat,) = _flat(x)
    return [flat.real, flat.imag] if flat.dtype.kind == "c" else [flat]


@cache
def _told(dtype: np.dtype, reproducible: bool) -> str:
    return f"dtype of x: {dtype_text(dtype)}; reproducible: {reproducible}"


def _plain_dot(x: np.ndarray, y: np.ndarray) -> Any:
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    return np.dot(x.astype(wide, copy=False), y.astype(wide, copy=False))


def _merged(comm: Communicator, function: str, told: str, local: Any, x: np.ndarray) -> Any:
    """The sum of one number of each rank; where x is of float16, which is summed in float32, as such."""
    total = _combine(np.array([local]), function, told, comm=comm)[0]
    return total.astype(np.float16) if x.dtype == np.float16 else total


@cache
def _kernels() -> ModuleType:
    """Imported at the first use: numba takes a while to start."""
    from .kernels import exact

    return exact


def _accumulate(sums: Sequence[Sequence[tuple[np.ndarray, np.ndarray | None]]]) -> np.ndarray:
    """One state for each list: the sum of what the arrays hold, or of the products of two."""
    exact = _kernels()
    states = exact.zeros_for(len(sums))
    for state, terms in zip(states, sums, strict=True):
        for x, y in terms:
            if _is_plain(x) and (y is None or _is_plain(y)):
                parts = [slice(None)]
            else:
                parts = [slice(start, start + _PIECE) for start in range(0, x.size, _PIECE)]
            for part in parts:
                if y is None:
                    exact.add_sum(state, _converted(x[part]))
                else:
                    exact.add_dot(state, _converted(x[part]), _converted(y[part]))
    return states


def _is_plain(x: np.ndarray) -> bool:
    """Whether kernels take it: numba compiles for one kind of arrays."""
    return x.dtype == np.float64 and x.flags.carray


def _converted(x: np.ndarray) -> np.ndarray:
    return x if _is_plain(x) else np.array(x, np.float64)


@cache
def _form(dtype: np.dtype) -> tuple:
    """What `rounded` must know of the real part of a dtype."""
    return _kernels().format_of(dtype.type(0).real.dtype)


def _rounded(states: np.ndarray, dtype: np.dtype, *, root: bool = False) -> Any:
    """The number, real or complex, that merged states hold."""
    exact = _kernels()
    finish: Callable = exact.root if root else exact.rounded
    values = [finish(state, *_form(dtype)) for state in states]
    return dtype.type(complex(*values) if len(values) == 2 else values[0])
