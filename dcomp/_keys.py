"""From arrays of any dtype that orders to unsigned integers in the same order, and back.

Keys have 32 or 64 bits, so that few kernels have to be compiled.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from ._arrays import empty
from ._buffers import plain

_WORTH = 1 << 12  # keys from which on it pays to ask which way of sorting is the quicker one
_SAMPLE = 1 << 14  # keys that are sorted to find out


def check_ordered(dtype: np.dtype, function: str) -> None:
    """Check that elements of a dtype can be ordered.

    Raises
    ------
    TypeError     If not.
    """
    if dtype.names:
        for name in dtype.names:
            check_ordered(dtype[name].base, function)
    elif dtype.kind not in "biufcmM":
        raise TypeError(f"{function}: x must have elements that can be ordered; got dtype {dtype}")


def is_plain(dtype: np.dtype) -> bool:
    """Whether elements of a dtype have one key each, from which `from_keys` makes them again."""
    return dtype.kind in "biufmM" and dtype.itemsize <= 8


def to_keys(x: np.ndarray, *, itemsize: int = 4, canonical: bool = False) -> np.ndarray:
    """Keys, at least so many bytes long, of the elements of a plain dtype; NaN and NaT are last.

    `canonical`: elements that are equal, and all NaNs, have one key; else each bit pattern has its own, -0.0 a lesser
    one than 0.0.
    """
    wide = plain(x, _wide(x.dtype, itemsize))
    bits = wide.view(f"u{wide.itemsize}")
    keys = empty(bits.shape, bits.dtype)
    if wide.dtype.kind == "f":
        from .kernels.sort import float_keys

        float_keys(keys, bits, _infinity(wide.dtype), canonical)
    elif wide.dtype.kind == "u":
        keys[...] = bits
    else:
        np.bitwise_xor(bits, _sign(bits.dtype), out=keys)
        if wide.dtype.kind in "mM":  # NaT is the least of all integers
            np.subtract(keys, keys.dtype.type(1), out=keys)
    return keys


def from_keys(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The elements of this dtype, in the memory of their keys if they are as long."""
    wide = _wide(dtype, keys.itemsize)
    if wide.kind == "f":
        from .kernels.sort import float_bits

        float_bits(keys, keys, _infinity(wide))
    elif wide.kind != "u":
        if wide.kind in "mM":
            np.add(keys, keys.dtype.type(1), out=keys)
        np.bitwise_xor(keys, _sign(keys.dtype), out=keys)
    return keys.view(wide).astype(dtype, copy=False)


def sort_keys(keys: np.ndarray, values: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
    """Keys in order, stably, and values along with them; what is passed is overwritten.

    Keys by themselves are sorted by NumPy where that is quicker, which it is on processors whose vectors it uses.
    """
    from .kernels.sort import radix_sort, survey

    if values is None and len(keys) >= _WORTH:
        spread, is_sorted = survey(keys)
        if is_sorted:
            return keys, None
        of_a_digit, of_numpy = _seconds_to_sort(keys.dtype)
        if of_numpy < spread.bit_length() / 8 * of_a_digit:
            keys.sort()
            return keys, None
    other, other_values = others(keys, values)
    return (other, other_values) if radix_sort(keys, other, values, other_values) else (keys, values)


def others(keys: np.ndarray, values: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The second arrays that kernels need, which sort and merge."""
    return empty(keys.shape, keys.dtype), None if values is None else empty(values.shape, values.dtype)


@cache
def _seconds_to_sort(dtype: np.dtype) -> tuple[float, float]:
    """What a pass of radix sort takes for some keys here, and what NumPy takes for all of it."""
    from .kernels.sort import radix_sort

    sample = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, _SAMPLE, dtype, endpoint=True)
    other = np.empty_like(sample)
    # With None said: numba compiles once more for an argument that is omitted.
    of_radix_sort = _least_seconds(lambda keys: radix_sort(keys, other, None, None), sample)
    return of_radix_sort / dtype.itemsize, _least_seconds(np.ndarray.sort, sample)


def _least_seconds(sort: Callable[[np.ndarray], object], sample: np.ndarray) -> float:
    found = []
    for _ in range(3):
        keys = sample.copy()
        start = time.perf_counter()
        sort(keys)
        found.append(time.perf_counter() - start)
    return min(found)


def words_of(x: np.ndarray, names: Sequence[str] | None = None) -> list[np.ndarray]:
    """Arrays of 64-bit keys which, the first one first, order the elements of x as NumPy does.

    Equal elements have equal keys. `names`: the fields of records that count, in this order; omitted, all.
    """
    return list(_words(x, names))


def _words(x: np.ndarray, names: Sequence[str] | None) -> Iterator[np.ndarray]:
    dtype = x.dtype
    if dtype.names is not None:
        for name in dtype.names if names is None else names:
            parts = x[name].reshape(len(x), prod(x[name].shape[1:]))
            for i in range(parts.shape[1]):
                yield from _words(parts[:, i], None)
    elif is_plain(dtype):
        yield to_keys(x, itemsize=8, canonical=True)
    elif dtype.kind == "c":  # numbers with a NaN behind all without, and again those with a NaN in the real part
        yield 2 * np.isnan(x.real).astype(np.uint64) + np.isnan(x.imag)
        yield from _words(x.real, None)
        yield from _words(x.imag, None)
    else:
        yield from _long_words(x)


def _long_words(x: np.ndarray) -> Iterator[np.ndarray]:
    """Of floats longer than 64 bits: the exponent with the sign, and the mantissa in pieces of float64, exactly."""
    mantissa, exponent = np.frexp(x)
    finite = np.isfinite(x)
    order = np.copysign(np.where(finite, exponent + 2.0**20, 2.0**30), x)
    order[x == 0] = 0
    order[np.isnan(x)] = np.nan
    yield from _words(order.astype(np.float64), None)
    rest = np.where(finite, mantissa, 0)
    for _ in range(-(-(np.finfo(dtype := x.dtype).nmant + 1) // 53)):
        piece = rest.astype(np.float64)
        yield from _words(piece, None)
        rest = rest - piece.astype(dtype)


def _wide(dtype: np.dtype, itemsize: int) -> np.dtype:
    """The native dtype with the same elements, and more, that is at least so long."""
    if dtype.kind in "mM":
        return dtype.newbyteorder("=")
    return np.dtype(f"{'u' if dtype.kind == 'b' else dtype.kind}{max(dtype.itemsize, itemsize)}")


def _infinity(dtype: np.dtype) -> int:
    """The bits of +inf."""
    return int(np.array(np.inf, dtype).view(f"u{dtype.itemsize}")[()])


def _sign(dtype: np.dtype) -> Any:
    return dtype.type(1 << (8 * dtype.itemsize - 1))
