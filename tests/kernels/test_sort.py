"""The kernels of sorting against NumPy, on random and on nasty keys."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcomp.kernels.sort import count_below, float_bits, float_keys, merge_runs, radix_sort

KEYS = [np.uint32, np.uint64]
FLOATS = [(np.float32, np.uint32), (np.float64, np.uint64)]
TOP = 2**64 - 1


def keys_of(kind: str, n: int, dtype: type) -> np.ndarray:
    rng = np.random.default_rng(n)
    top = int(np.iinfo(dtype).max)
    made = {
        "random": lambda: rng.integers(0, top, n, dtype, endpoint=True),
        "equal": lambda: np.full(n, top // 3, dtype),
        "two": lambda: rng.choice(np.array([0, top], dtype), n),
        "presorted": lambda: np.sort(rng.integers(0, top, n, dtype)),
        "reversed": lambda: np.sort(rng.integers(0, top, n, dtype))[::-1].copy(),
        "few bits": lambda: rng.integers(0, 50, n, dtype) << dtype(11),
        "one out of place": lambda: np.roll(np.arange(n, dtype=dtype), 1),
    }
    return made[kind]()


KINDS = ["random", "equal", "two", "presorted", "reversed", "few bits", "one out of place"]
LENGTHS = [0, 1, 2, 31, 32, 33, 34, 255, 300, 100_003]


@pytest.mark.parametrize("dtype", KEYS)
@pytest.mark.parametrize("kind", KINDS)
def test_radix_sort(kind, dtype):
    for n in LENGTHS:
        keys = keys_of(kind, n, dtype)
        mine, other = keys.copy(), np.empty_like(keys)
        result = other if radix_sort(mine, other) else mine
        np.testing.assert_array_equal(result, np.sort(keys))


@pytest.mark.parametrize("kind", KINDS)
def test_radix_sort_moves_values_along_and_is_stable(kind):
    for n in LENGTHS:
        keys = keys_of(kind, n, np.uint64)
        mine, other = keys.copy(), np.empty_like(keys)
        values, other_values = np.arange(n), np.empty(n, np.int64)
        is_there = radix_sort(mine, other, values, other_values)
        order = np.argsort(keys, kind="stable")
        np.testing.assert_array_equal(other_values if is_there else values, order)
        np.testing.assert_array_equal(other if is_there else mine, keys[order])


def test_every_short_length():
    for n in range(300):
        keys = np.random.default_rng(n).integers(0, 2**40, n, np.uint64)
        mine, other = keys.copy(), np.empty_like(keys)
        np.testing.assert_array_equal(other if radix_sort(mine, other) else mine, np.sort(keys))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([0, 1, 255, 256, 2**32, 2**63, TOP - 1, TOP]) | st.integers(0, TOP), max_size=80),
    st.data(),
)
def test_merge_of_any_runs(numbers, data):
    """Runs may be empty; equal keys stay in the order of the runs."""
    n = len(numbers)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=7)))
    bounds = np.array([0, *cuts, n])
    keys = np.array(numbers, np.uint64)
    for start, end in pairwise(bounds):
        keys[start:end].sort()
    order = np.argsort(keys, kind="stable")
    mine, other = keys.copy(), np.empty_like(keys)
    values, other_values = np.arange(n), np.empty(n, np.int64)
    is_there = merge_runs(mine, other, bounds, values, other_values)
    np.testing.assert_array_equal(other if is_there else mine, keys[order])
    np.testing.assert_array_equal(other_values if is_there else values, order)


@pytest.mark.parametrize("dtype", KEYS)
@pytest.mark.parametrize("kind", KINDS)
def test_merge_of_long_runs(kind, dtype):
    keys = keys_of(kind, 100_003, dtype)
    bounds = np.array([0, 7, 7, 30_000, 80_001, 80_002, 100_003, 100_003])
    for start, end in pairwise(bounds):
        keys[start:end].sort()
    mine, other = keys.copy(), np.empty_like(keys)
    np.testing.assert_array_equal(other if merge_runs(mine, other, bounds) else mine, np.sort(keys))


def nasty(dtype: type, unsigned: type) -> np.ndarray:
    info = np.finfo(dtype)
    numbers = [0.0, info.smallest_subnormal, info.tiny, 1, info.max, np.inf, np.nan]
    few = np.array([*numbers, *(-number for number in numbers)], dtype)
    bits = np.random.default_rng(1).integers(0, np.iinfo(unsigned).max, 100_000, unsigned, endpoint=True)
    payloads = np.array([np.inf, -np.inf], dtype).view(unsigned) + unsigned(5)  # NaNs of both signs
    return np.concatenate([few, bits.view(dtype), payloads.view(dtype)])


@pytest.mark.parametrize(("dtype", "unsigned"), FLOATS)
def test_float_keys_order_as_numpy(dtype, unsigned):
    x = nasty(dtype, unsigned)
    infinity = int(np.array(np.inf, dtype).view(unsigned))
    keys, back = np.empty(x.shape, unsigned), np.empty(x.shape, unsigned)
    float_keys(keys, x.view(unsigned), infinity, False)
    np.testing.assert_array_equal(x[np.argsort(keys)], np.sort(x))
    assert keys[np.signbit(x) & (x == 0)].max() < keys[~np.signbit(x) & (x == 0)].min()
    float_bits(back, keys, infinity)
    np.testing.assert_array_equal(back, x.view(unsigned))
    float_keys(keys, x.view(unsigned), infinity, True)
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.argsort(x, kind="stable"))
    assert len(np.unique(keys[x == 0])) == len(np.unique(keys[np.isnan(x)])) == 1


def test_count_below():
    rng = np.random.default_rng(2)
    keys = np.concatenate([np.sort(rng.integers(0, 30, 50, np.uint64)), np.sort(rng.integers(0, 30, 9, np.uint64))])
    starts, ends = np.array([0, 50, 10, 59]), np.array([50, 59, 10, 59])
    splitters = rng.integers(0, 32, (4, 20), np.uint64)
    splitters[:, 0] = TOP
    counts = np.empty((4, 20), np.int64)
    count_below(counts, keys, starts, ends, splitters)
    for i in range(4):
        np.testing.assert_array_equal(counts[i], np.searchsorted(keys[starts[i] : ends[i]], splitters[i]))
