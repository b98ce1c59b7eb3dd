"""`dc.sum`, `dc.dot` and `dc.norm` in compiled code: the kernels, and `_combine`, without Python.

Also where the sum need not be exact, a rank adds its block by these kernels: numba's own loops, which keep to one
order, take several times as long.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable
from numba.np import numpy_support

from ..kernels import exact
from ._objects import NUMBERS, CommunicatorType
from ._rules import bare_of, place

_WORDS = exact.WORDS
_PIECE = 1 << 14  # numbers that are converted at a time


def know_sums(module: Any) -> None:
    """Have numba know the functions of `dcomp._sums`; it compares signatures, of which annotations are a part."""

    @overload(module.sum, prefer_literal=True)
    def sum_of(x, reproducible=False, comm=None):
        return _of_one("sum", x, reproducible, comm)

    @overload(module.norm, prefer_literal=True)
    def norm_of(x, reproducible=False, comm=None):
        return _of_one("norm", x, reproducible, comm)

    @overload(module.dot, prefer_literal=True)
    def dot_of(x, y, reproducible=False, comm=None):
        work = _work("dot", {"x": x, "y": y}, reproducible, comm)

        def dot(x, y, reproducible=False, comm=None):
            if x.shape != y.shape:
                raise ValueError("dot: y must have the shape of x")
            return work(x, y, comm)

        return dot


def _of_one(name: str, x: Any, reproducible: Any, comm: Any) -> Callable:
    work = _work(name, {"x": x}, reproducible, comm)

    def function(x, reproducible=False, comm=None):
        return work(x, x, comm)

    return function


def _work(name: str, arrays: dict[str, Any], reproducible: Any, comm: Any) -> Callable:
    """What ``name(x, y, comm)`` does, of arrays of these types.

    Raises
    ------
    TypeError     If it cannot be compiled; it names the function and the argument.
    """
    try:
        dtype = _common_dtype(name, arrays)
        is_exact = _literal_bool(name, reproducible)
        if not _is_none(comm) and not isinstance(comm, CommunicatorType):
            raise TypeError(f"{name}: comm must be a communicator; got {comm}")
    except TypeError as error:
        raise TypeError(f"{error} (in compiled code{place()}).") from None
    merge = _merger(name, f"dtype of x: {dtype.name}; reproducible: {is_exact}", comm)
    flat = _flat if arrays["x"].ndim == 1 else _flattened
    is_plain = all(
        kind.dtype == types.float64 and kind.layout == "C" and kind.mutable and kind.aligned for kind in arrays.values()
    )
    if dtype.kind in "biu" and name != "norm":
        return _integers(name, dtype, flat, merge)
    if dtype.kind in "biu":
        return _norm_of_integers(_floats(name, np.dtype(np.float64), is_exact, True, _flat, merge), flat)
    return _floats(name, dtype, is_exact, is_plain, flat, merge)


def _norm_of_integers(work: Callable, flat: Callable) -> Callable:
    @register_jitable
    def converted(x, y, comm):
        numbers = flat(x).astype(np.float64)
        return work(numbers, numbers, comm)

    return converted


def _common_dtype(name: str, arrays: dict[str, Any]) -> np.dtype:
    dtypes = []
    for argument, kind in arrays.items():
        if not isinstance(kind, types.Array) or not isinstance(kind.dtype, NUMBERS) or kind.dtype == types.float16:
            raise TypeError(
                f"{name}: {argument} must be an array of numbers (but float16) or bool in compiled code; got {kind}"
            )
        dtypes.append(numpy_support.as_dtype(kind.dtype))
    common: np.dtype = np.result_type(*dtypes)
    if common == np.bool_ and name == "dot":
        common = np.dtype(np.int64)
    kinds = {"i" if one.kind in "biu" else one.kind for one in (*dtypes, common)}
    if len(kinds) > 1:
        told = " and ".join(map(str, dtypes))
        raise TypeError(f"{name}: y must be of the kind of x, both of integers, both real or both complex; got {told}")
    if len({kind.ndim for kind in arrays.values()}) > 1:
        raise TypeError(f"{name}: y must have the shape of x; got other dimensions")
    return common


def _literal_bool(name: str, of: Any) -> bool:
    value = getattr(of, "literal_value", getattr(of, "value", of))
    if not isinstance(value, bool):
        raise TypeError(f"{name}: reproducible must be written out, True or False, in compiled code; got {of}")
    return value


def _is_none(of: Any) -> bool:
    return of is None or bare_of(of) is types.none


def _merger(name: str, told: str, comm: Any) -> Callable:
    # Not at the import of this module: an entry of numba's cache may bring it before the program has used dcomp.
    combine: Any = sys.modules["dcomp._functions"]._combine
    if _is_none(comm):

        def merge(x, comm):
            return combine(x, name, told)
    else:

        def merge(x, comm):
            return comm._combine(x, name, told)

    return register_jitable(merge)


def _integers(name: str, dtype: np.dtype, flat: Callable, merge: Callable) -> Callable:
    """Sums and dot products of integers, which wrap."""
    is_dot = name == "dot"
    total = dtype if is_dot else np.dtype("u8" if dtype.kind == "u" else "i8")
    wide = np.uint64 if total.kind == "u" else np.int64

    @register_jitable
    def work(x, y, comm):
        left, right, local = flat(x), flat(y), wide(0)
        for i in range(left.size):
            local += wide(left[i]) * wide(right[i]) if is_dot else wide(left[i])
        part = np.empty(1, total)
        part[0] = local
        return merge(part, comm)[0]

    return work


def _floats(name: str, dtype: np.dtype, is_exact: bool, is_plain: bool, flat: Callable, merge: Callable) -> Callable:
    """`is_plain`: kernels take the arrays as they are."""
    is_complex, is_norm = dtype.kind == "c", name == "norm"
    parts = 2 if is_complex and not is_norm else 1
    add = _adder(name, is_complex, is_plain)
    real: np.dtype = np.zeros(0, dtype).real.dtype
    result = real if is_norm else dtype
    finish = _finisher(parts, result, exact.format_of(real), is_exact and is_norm)

    if is_exact:

        @register_jitable
        def work(x, y, comm):
            states = np.zeros((parts, _WORDS), np.int64)
            add(states, flat(x), flat(y))
            return finish(merge(states, comm))
    else:

        @register_jitable
        def work(x, y, comm):
            states = np.zeros((parts, _WORDS), np.int64)
            add(states, flat(x), flat(y))
            part = np.empty(1, result)
            part[0] = finish(states)
            total = merge(part, comm)[0]
            return np.sqrt(total) if is_norm else total

    return work


def _finisher(parts: int, dtype: np.dtype, form: tuple, is_root: bool) -> Callable:
    """From states to a number of this dtype."""
    digits, lowest, limit = form
    cast, finish = numpy_support.from_dtype(dtype), exact.root if is_root else exact.rounded
    if parts == 1:

        def number(states):
            return cast(finish(states[0], digits, lowest, limit))
    else:

        def number(states):
            return cast(complex(finish(states[0], digits, lowest, limit), finish(states[1], digits, lowest, limit)))

    return register_jitable(number)


@register_jitable
def _flat(x):
    return x


@register_jitable
def _flattened(x):
    return np.ascontiguousarray(x).reshape(x.size)


@register_jitable
def _add_converted_sum(state, x):
    spare = np.empty(_PIECE)
    for start in range(0, x.size, _PIECE):
        part = x[start : start + _PIECE]
        u = spare[: part.size]
        u[:] = part
        exact.add_sum(state, u)


@register_jitable
def _add_converted_dot(state, x, y):
    spare = np.empty((2, _PIECE))
    for start in range(0, x.size, _PIECE):
        part = x[start : start + _PIECE]
        u, v = spare[0, : part.size], spare[1, : part.size]
        u[:] = part
        v[:] = y[start : start + _PIECE]
        exact.add_dot(state, u, v)


def _adder(name: str, is_complex: bool, is_plain: bool) -> Callable:
    """What adds arrays, or their products, to states."""
    add_sum = exact.add_sum if is_plain else _add_converted_sum
    add_dot = exact.add_dot if is_plain else _add_converted_dot

    def sum_of_reals(states, x, y):
        add_sum(states[0], x)

    def sum_of_complex(states, x, y):
        add_sum(states[0], x.real)
        add_sum(states[1], x.imag)

    def dot_of_reals(states, x, y):  # also for norm
        add_dot(states[0], x, y)

    def dot_of_complex(states, x, y):
        add_dot(states[0], x.real, y.real)
        add_dot(states[0], x.imag, -y.imag)
        add_dot(states[1], x.real, y.imag)
        add_dot(states[1], x.imag, y.real)

    def squares_of_complex(states, x, y):
        add_dot(states[0], x.real, x.real)
        add_dot(states[0], x.imag, x.imag)

    if name == "sum":
        return register_jitable(sum_of_complex if is_complex else sum_of_reals)
    if is_complex:
        return register_jitable(squares_of_complex if name == "norm" else dot_of_complex)
    return register_jitable(dot_of_reals)
