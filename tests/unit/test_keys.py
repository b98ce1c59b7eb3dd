"""Keys are sorted alike, whichever way is the quicker one here."""

import numpy as np
import pytest

from dcomp import _keys


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
            np.testing.assert_array_equal(_keys.sort_keys(found)[0], np.sort(keys))  # in order already
            order = np.arange(n)
            found, order = _keys.sort_keys(keys.copy(), order)
            np.testing.assert_array_equal(found, np.sort(keys))
            np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    assert len(asked) == 12


def test_what_takes_how_long():
    of_a_digit, of_numpy = _keys._seconds_to_sort(np.dtype(np.uint64))
    assert 1e-7 < of_a_digit < 1 and 1e-6 < of_numpy < 1
