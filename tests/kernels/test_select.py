"""The kernels of selection and of histograms against NumPy."""

import numpy as np
import pytest

from dcomp.kernels.select import count_in_bins, count_keys, key_bounds, take_keys


@pytest.mark.parametrize("n", [1, 2, 300, 100_003])
@pytest.mark.parametrize("top", [1, 1000, 2**64 - 1])
def test_count_and_take_keys(n, top):
    keys = np.random.default_rng(n).integers(0, top, n, np.uint64, endpoint=True)
    least, greatest = key_bounds(keys)
    assert (least, greatest) == (keys.min(), keys.max())
    shift = max((int(greatest) - int(least)).bit_length() - 8, 0)
    places = ((keys - least) >> np.uint64(shift)).astype(np.int64)
    counts = np.zeros(256, np.int64)
    count_keys(counts, keys, np.uint64(least), shift)
    np.testing.assert_array_equal(counts, np.bincount(places, minlength=256))
    wanted = np.arange(256) % 3 == places[0] % 3
    taken = np.empty(counts[wanted].sum(), np.uint64)
    take_keys(taken, keys, np.uint64(least), shift, wanted)
    np.testing.assert_array_equal(taken, keys[wanted[places]])


def nasty_edges() -> list[np.ndarray]:
    close = np.linspace(1, 1 + 40 * np.finfo(float).eps, 41)  # as near to each other as floats can be
    wide = np.arange(-8, 9) * 2e307  # from end to end it is more than the greatest float
    return [np.linspace(-2, 3, 101), np.array([0.0, 1.0]), close, np.linspace(0, 5e-323, 6), wide]


@pytest.mark.parametrize("edges", nasty_edges(), ids=len)
def test_count_in_bins(edges):
    """What is on an edge, or next to it, is on the right side of it."""
    rng = np.random.default_rng(3)
    spread = rng.uniform(edges[0] / 2, edges[-1] / 2, 10_000) * 2
    near = [np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]
    x = np.concatenate([spread, *near, [np.nan, np.inf, -np.inf, 0.0, -0.0]])
    counts = np.ones(len(edges) - 1, np.int64)
    count_in_bins(counts, x, edges)
    inside = x[(x >= edges[0]) & (x <= edges[-1])]
    places = np.minimum(np.searchsorted(edges, inside, side="right") - 1, len(edges) - 2)
    np.testing.assert_array_equal(counts - 1, np.bincount(places, minlength=len(edges) - 1))
