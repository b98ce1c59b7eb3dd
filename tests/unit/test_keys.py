"""Keys are sorted alike, whichever way is the quicker one here."""

import numba
import numpy as np
import pytest

from dcomp import _keys
from dcomp.kernels import sort


@pytest.mark.parametrize("quicker", ["radix sort", "NumPy"])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_sort_keys(monkeypatch, dtype, quicker):
    asked = []

    def seconds(dtype):
        asked.append(dtype)
        return (1.0, 0.5) if quicker == "NumPy" else (1.0, 100.0)

    monkeypatch.setattr(_keys, "_seconds_to_sort", seconds)
    for n in (0, 1, 100, _keys._WORTH, 50_001):
        for least, most in ((0, np.iinfo(dtype).max), (7, 7), (5, 300)):
            keys = np.random.default_rng(n).integers(least, most, n, dtype, endpoint=True)
            found, _ = _keys.sort_keys(keys.copy())
            np.testing.assert_array_equal(found, np.sort(keys))
            again, _ = _keys.sort_keys(found)
            assert again is found  # in order already
            np.testing.assert_array_equal(again, np.sort(keys))
            order = np.arange(n)
            found, order = _keys.sort_keys(keys.copy(), order)
            np.testing.assert_array_equal(found, np.sort(keys))
            np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    assert len(asked) == 4  # of many keys that are not in order


def test_what_takes_how_long(monkeypatch):
    """What is measured is compiled for the same types as what sorts then."""
    types = set()

    def noted(*arguments):
        types.add(tuple(map(numba.typeof, arguments)))
        return radix_sort(*arguments)

    radix_sort = sort.radix_sort
    monkeypatch.setattr(sort, "radix_sort", noted)
    measure = _keys._seconds_to_sort.__wrapped__
    of_a_digit, of_numpy = measure(np.dtype(np.uint64))
    assert 1e-7 < of_a_digit < 1 and 1e-6 < of_numpy < 1
    monkeypatch.setattr(_keys, "_seconds_to_sort", lambda dtype: (0.0, 1.0))
    _keys.sort_keys(np.random.default_rng(1).integers(0, 100, 5000, np.uint64))
    assert len(types) == 1, types
