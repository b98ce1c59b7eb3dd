"""Elementwise reductions as C functions: for an MPI library (MPI-4.1, 6.9.5, MPI_User_function), and for `exchange`."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import register_jitable

from ._jit import c_function

# void function(void *a, void *b, int *length, MPI_Datatype *datatype):  b[i] = a[i] op b[i]
_SIGNATURE = types.void(types.voidptr, types.voidptr, types.CPointer(types.intc), types.CPointer(types.voidptr))


# Not dispatchers: a function that holds one of those in its closure is compiled anew by every process, whatever the
# cache has, since each has an identity of its own.
_element = register_jitable


@_element
def add(a, b):
    """The sum of two numbers; integers wrap."""
    return a + b


@_element
def multiply(a, b):
    """The product of two numbers; integers wrap."""
    return a * b


@_element
def minimum(a, b):
    """The smaller of two numbers; NaN if one is NaN, as `numpy.minimum`."""
    return a if a < b or a != a else b


@_element
def maximum(a, b):
    """The greater of two numbers; NaN if one is NaN, as `numpy.maximum`."""
    return a if a > b or a != a else b


@_element
def logical_and(a, b):
    """Whether both numbers are not zero."""
    return (a != 0) & (b != 0)


@_element
def logical_or(a, b):
    """Whether one of two numbers is not zero."""
    return (a != 0) | (b != 0)


@_element
def logical_xor(a, b):
    """Whether just one of two numbers is not zero."""
    return (a != 0) ^ (b != 0)


@_element
def bitwise_and(a, b):
    """The bits that both integers have."""
    return a & b


@_element
def bitwise_or(a, b):
    """The bits that one of two integers has."""
    return a | b


@_element
def bitwise_xor(a, b):
    """The bits that just one of two integers has."""
    return a ^ b


def combiner(function: Any, dtype: np.dtype, *, cache: bool) -> Any:
    """Compile ``b[i] = function(a[i], b[i])`` over arrays of `dtype`; `.address` is the C function's.

    Parameters
    ----------
    function : one of the above, or a numba function of two scalars (records, for a structured `dtype`)
        Its result is converted to `dtype`; for records it returns one of its arguments, or a tuple with
        a value for every field.
    cache : bool     Only for functions that cannot change: the cache does not see what `function` calls.

    Raises
    ------
    numba.core.errors.NumbaError     If `function` cannot be compiled for `dtype`.
    """
    store = _store_for(function, dtype)

    def combine(a, b, length, datatype):
        left = numba.carray(a, length[0], dtype)
        right = numba.carray(b, length[0], dtype)
        for i in range(length[0]):
            store(right, i, function(left[i], right[i]))

    return c_function(_SIGNATURE, cached=cache)(combine)


# void function(void *out, void *a, void *b, int64 count, int64 in_place):  out[i] = a[i] op b[i]
_FOLD = types.void(types.voidptr, types.voidptr, types.voidptr, types.int64, types.int64)


def folder(function: Any, dtype: np.dtype, *, cache: bool) -> Any:
    """Compile ``out[i] = function(a[i], b[i])`` over arrays of `dtype`, where `out` may be `a`, and then `in_place` is
    not zero; `.address` is the C function's. Parameters and errors as `combiner`.
    """
    store = _store_for(function, dtype)

    def fold(out, a, b, count, in_place):
        result, right = numba.carray(out, count, dtype), numba.carray(b, count, dtype)
        if in_place:  # known to be the same, it needs no test for overlap
            for i in range(count):
                store(result, i, function(result[i], right[i]))
        else:
            left = numba.carray(a, count, dtype)
            for i in range(count):
                store(result, i, function(left[i], right[i]))

    return c_function(_FOLD, cached=cache)(fold)


def _store_for(function: Any, dtype: np.dtype) -> Any:
    """How a result of `function` becomes an element."""
    if not hasattr(function, "overloads"):
        return _store
    element = numba.from_dtype(dtype)
    function.compile((element, element))
    result = function.overloads[(element, element)].signature.return_type
    return _store_fields(dtype.names or ()) if isinstance(result, types.BaseTuple) else _store


@_element
def _store(array, i, value):
    array[i] = value


def _store_fields(names: tuple[str, ...]) -> Callable:
    """A function that stores a tuple as the fields of a record; numba wants constant field names."""
    first, rest = names[0], names[1:]
    if not rest:

        @numba.njit
        def store(array, i, value):
            array[i][first] = value[0]

    else:
        store_rest = _store_fields(rest)

        @numba.njit
        def store(array, i, value):
            array[i][first] = value[0]
            store_rest(array, i, value[1:])

    return store
