"""Arrays of every dtype and every memory layout, the same on every rank that asks with the same seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

PLAIN = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8",
    "f2", "f4", "f8", "g", "F", "D", "G", "M8[ns]", "M8[D]", "m8[s]",
]  # fmt: skip
SWAPPED = [">i2", ">u4", ">i8", ">f2", ">f4", ">f8", ">c8", ">c16", ">M8[s]", ">m8[ms]"]
PADDED = np.dtype([("flag", "u1"), ("value", "f8"), ("small", "i2")], align=True)
NESTED = np.dtype([("place", [("x", "f4"), ("y", ">f8")]), ("n", "i2", (2, 3)), ("when", "M8[s]")])
OFFSETS = np.dtype({"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [5, 1], "itemsize": 13})
RECORDS = [PADDED, NESTED, OFFSETS, np.dtype([("only", "c8")]), np.dtype("V5")]
DTYPES = [np.dtype(one) for one in [*PLAIN, *SWAPPED, *RECORDS]]

LAYOUTS = ["C", "Fortran", "strided", "reversed", "read-only", "unaligned", "a view"]

#: Bits below one in the values of floats: sums over a hundred ranks stay exact, whatever their order.
_FRACTION = {2: 2, 4: 12, 8: 40}


def values(seed: Any, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array in C order of numbers whose sum over some ranks is exact; every bit of integers varies."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    return _fill(rng, tuple(shape), dtype)


def _fill(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = np.zeros(shape, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            field = array[name]
            base = dtype[name].base
            array[name] = _fill(rng, field.shape, base)
    elif dtype.kind == "b":
        array[...] = rng.integers(0, 2, shape)
    elif dtype.kind in "iuV":
        raw = rng.bytes(array.size * dtype.itemsize)
        array = np.frombuffer(raw, dtype).reshape(shape).copy()
    elif dtype.kind in "mM":
        ticks = rng.integers(-(10**6), 10**6, shape)
        ticks[rng.random(shape) < 0.05] = np.iinfo(np.int64).min  # NaT
        array[...] = ticks.astype(np.int64).view(dtype.newbyteorder("="))
    elif dtype.kind == "c":
        part = np.dtype(dtype.char.lower() if dtype.isnative else f"f{dtype.itemsize // 2}")
        array.real = _fill(rng, shape, part)
        array.imag = _fill(rng, shape, part)
    else:
        bits = _FRACTION.get(dtype.itemsize, np.finfo(np.longdouble).nmant - 12)
        fraction = rng.integers(0, 2 ** min(bits, 60), shape).astype(np.longdouble) / np.longdouble(2) ** bits
        array[...] = rng.integers(-8, 8, shape) + fraction
    return array


def factors(seed: Any, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Numbers whose product over some ranks is exact and, of 16 ranks, fits float16."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    choices = [1, 1, 2] if dtype.kind in "bu" else [1, -1, 2]
    return rng.choice(choices, tuple(shape)).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same values at the same indices, otherwise in memory."""
    if layout == "Fortran":
        return np.array(x, order="F")
    if layout == "strided":
        if x.ndim == 0:
            return np.full(2, x, x.dtype)[1:].reshape(())
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    if layout == "reversed":
        if x.ndim == 0:
            return x.copy()
        every = (slice(None, None, -1),) * x.ndim
        return np.ascontiguousarray(x[every])[every]
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
        return x
    if layout == "unaligned":
        memory = np.zeros(x.nbytes + 1, np.uint8)
        shifted = np.ndarray(x.shape, x.dtype, memory.data, offset=1) if x.nbytes else x.copy()
        shifted[...] = x
        return shifted
    if layout == "a view":
        if x.ndim == 0:
            return x.copy()
        wide = np.zeros(tuple(n + 2 for n in x.shape), x.dtype)
        inside = wide[(slice(1, -1),) * x.ndim]
        inside[...] = x
        return inside
    return x.copy()


def out_like(shape: Sequence[int], dtype: Any, layout: str) -> np.ndarray:
    """A writable array for a result, full of 77s."""
    out = np.zeros(shape, dtype)
    out.reshape(-1).view(np.uint8)[:] = 77
    return laid_out(out, "C" if layout == "read-only" else layout)


def is_kept(out: np.ndarray) -> bool:
    """Whether `out_like`'s array is as it was made."""
    return bool((np.ascontiguousarray(out).reshape(-1).view(np.uint8) == 77).all())


def assert_same(result: Any, expected: Any) -> None:
    """Equal in kind, shape, dtype (byte order and fields included) and in every value."""
    if expected is None:
        assert result is None
        return
    if isinstance(expected, np.generic):
        assert type(result) is type(expected)
    else:
        assert type(result) is np.ndarray
        assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    if result.dtype.names is not None:
        for name in result.dtype.names:
            np.testing.assert_array_equal(result[name], expected[name])
    elif result.dtype.kind == "V":
        assert result.tobytes() == expected.tobytes()
    else:
        np.testing.assert_array_equal(result, expected)
