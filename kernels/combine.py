"""Elementwise reductions as C functions that an MPI library can call (MPI-4.1, 6.9.5, MPI_User_function)."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from ._jit import jit

# void function(void *a, void *b, int *length, MPI_Datatype *datatype):  b[i] = a[i] op b[i]
_SIGNATURE = types.void(types.voidptr, types.voidptr, types.CPointer(types.intc), types.CPointer(types.voidptr))


@jit
def add(a, b):
    """The sum of two numbers; integers wrap."""
    return a + b


@jit
def minimum(a, b):
    """The smaller of two numbers; NaN if one is NaN, as `numpy.minimum`."""
    return a if a < b or a != a else b


@jit
def maximum(a, b):
    """The greater of two numbers; NaN if one is NaN, as `numpy.maximum`."""
    return a if a > b or a != a else b


def combiner(function: Any, dtype: np.dtype, *, cache: bool) -> Any:
    """Compile ``b[i] = function(a[i], b[i])`` over arrays of `dtype`; `.address` is the C function's.

    Parameters
    ----------
    function : a numba function of two scalars (records, for a structured `dtype`)
        Its result is converted to `dtype`; for records it returns one of its arguments, or a tuple with
        a value for every field.
    cache : bool     Only for functions that cannot change: the cache does not see what `function` calls.

    Raises
    ------
    numba.core.errors.NumbaError     If `function` cannot be compiled for `dtype`.
    """
    element = numba.from_dtype(dtype)
    function.compile((element, element))
    result = function.overloads[(element, element)].signature.return_type
    store = _store_fields(dtype.names or ()) if isinstance(result, types.BaseTuple) else _store

    def combine(a, b, length, datatype):
        left = numba.carray(a, length[0], dtype)
        right = numba.carray(b, length[0], dtype)
        for i in range(length[0]):
            store(right, i, function(left[i], right[i]))

    return numba.cfunc(_SIGNATURE, cache=cache)(combine)


@jit
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
