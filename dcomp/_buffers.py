"""From what the user passes to what MPI can move: arrays, contiguous buffers, places to receive into."""

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np


def as_array(x: Any, function: str, argument: str = "x") -> tuple[np.ndarray, bool]:
    """`x` as an array that can be communicated, and whether it came as a scalar.

    Raises
    ------
    TypeError     For Python objects and strings.
    """
    try:
        array = x if type(x) is np.ndarray else np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{function}: {argument} must be an array; {error}") from None
    scalar = array.ndim == 0 and not isinstance(x, np.ndarray)
    if array.dtype.hasobject:
        collective = function.removesuffix("_init")
        twin = collective if collective in _HAVE_OBJECT_TWIN else collective.removeprefix("i")
        hint = "Only the *_object functions take Python objects"
        if twin in _HAVE_OBJECT_TWIN:
            hint = f"Use {twin}_object for Python objects"
        raise TypeError(f"{function}: {argument} must be numeric; got dtype object ({type(x).__name__}). {hint}")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{function}: {argument} must be a plain array; got a masked one. Pass x.filled(value), or x.data"
        )
    if array.dtype.kind in "SUT":
        raise TypeError(
            f"{function}: {argument} must be numeric; got strings ({array.dtype}). "
            "Use the *_object functions, or a view as integers"
        )
    return array, scalar


def plain(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x as compiled code takes it: numba would compile anew, for seconds, for a read-only array or one out of line."""
    return x if x.dtype == dtype and x.flags.carray else np.array(x, dtype, order="C")


def layout_of(shape: Any, dtype: Any, function: str) -> tuple[tuple[int, ...], np.dtype]:
    """The extents and the dtype of an array to be made.

    Raises
    ------
    TypeError, ValueError     If there is no such array that can be communicated.
    """
    try:
        element = np.zeros(0, dtype).dtype
        extents = tuple(map(index, shape)) if isinstance(shape, Iterable) else (index(shape),)
    except (TypeError, ValueError) as error:
        told = f"{function}: shape must be integers, and dtype one of NumPy's; got {shape!r}, {dtype!r}"
        raise type(error)(told) from None
    as_array(np.zeros(0, element), function, "dtype")
    if min(extents, default=0) < 0:
        raise ValueError(f"{function}: shape must not be negative; got {extents}")
    return extents, element


_HAVE_OBJECT_TWIN = {"bcast", "scatter", "gather", "allgather", "send", "recv"}


def check_out(out: Any, x: np.ndarray | None, function: str, argument: str = "out") -> None:
    """Check what can be said about `out` without its shape and dtype.

    Raises
    ------
    TypeError     If it is no array, or a masked one.
    ValueError    If it is read-only, or shares a part of its memory with `x`.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: {argument} must be a NumPy array; got {type(out).__name__}")
    check_memory(out, x, function, argument)


def is_in_place(x: np.ndarray | None, out: np.ndarray | None) -> bool:
    """Whether both are given, and the same memory."""
    return x is not None and out is not None and is_same_memory(out, x)


def check_memory(out: np.ndarray, x: np.ndarray | None, function: str, argument: str = "out") -> bool:
    """Check that `out` can be written while `x` is read, and say whether they are the same memory.

    Raises
    ------
    TypeError     If it is a masked array, which may refuse to be written.
    ValueError    If it is read-only, or shares a part of its memory with `x`.
    """
    if type(out) is not np.ndarray and isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{function}: {argument} must be a plain array; got a masked one. Pass {argument}.data")
    if not out.flags.writeable:
        raise ValueError(f"{function}: {argument} must be writable; got a read-only array")
    if x is None or x is out or not np.may_share_memory(out, x):
        return x is out
    if is_same_memory(out, x):
        return True
    if np.shares_memory(out, x):
        raise ValueError(
            f"{function}: out must be x itself or must not overlap it; got an out that shares a part of x's memory. "
            "Pass a copy of x"
        )
    return False


def check_out_layout(
    out_shape: tuple[int, ...],
    out_dtype: np.dtype | None,
    shape: tuple[int, ...],
    dtype: np.dtype | None,
    function: str,
) -> None:
    """Check the shape and dtype of `out` against those of the result.

    Raises
    ------
    ValueError     If the shape differs.
    TypeError      If the dtype differs, its byte order included.
    """
    if out_dtype != dtype:
        raise TypeError(f"{function}: out must have dtype {dtype}; got {out_dtype}")
    if out_shape != shape:
        raise ValueError(f"{function}: out must have shape {shape}; got {out_shape}")


def is_same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both arrays are the same elements in the same order."""
    return a is b or (
        a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )
