"""Who holds which rows, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcomp._layout import block_bounds, block_counts, block_slice, dims_create, displacements, format_ranks

_N = st.integers(0, 200)
_SIZE = st.integers(1, 20)


@given(n=_N, size=_SIZE)
def test_blocks_are_those_of_array_split(n, size):
    blocks = np.array_split(np.arange(n), size)
    assert block_counts(n, size) == tuple(len(block) for block in blocks)
    for rank, block in enumerate(blocks):
        np.testing.assert_array_equal(np.arange(n)[block_slice(n, size, rank)], block)


@given(length=st.integers(0, 30), size=_SIZE, data=st.data())
def test_bounds_are_all_n_with_blocks_of_a_length(length, size, data):
    rank = data.draw(st.integers(0, size - 1))
    least, greatest = block_bounds(length, size, rank)
    fitting = [n for n in range(40 * 21) if block_counts(n, size)[rank] == length]
    assert list(range(least, greatest + 1)) == fitting


@given(counts=st.lists(st.integers(0, 9)))
def test_displacements(counts):
    assert displacements(counts) == np.cumsum([0, *counts])[:-1].tolist()


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        ([1], "rank 1"),
        ([0, 1], "ranks 0, 1"),
        ([2, 0, 1], "ranks 0-2"),
        ([0, 2, 3, 4], "ranks 0, 2-4"),
        ([0, 1, 5, 6, 9], "ranks 0, 1, 5, 6, 9"),
        (range(1000), "ranks 0-999"),
    ],
)
def test_ranks_in_words(ranks, told):
    assert format_ranks(ranks) == told


@given(size=st.integers(1, 300), free=st.integers(1, 4))
def test_dims_multiply_to_the_size_and_decrease(size, free):
    dims = dims_create(size, (0,) * free)
    assert len(dims) == free
    assert np.prod(dims) == size
    assert list(dims) == sorted(dims, reverse=True)


@pytest.mark.parametrize(
    ("size", "wanted", "dims"),
    [
        (12, (0, 0), (4, 3)), (8, (0, 0, 0), (2, 2, 2)), (16, (0, 0), (4, 4)), (7, (0, 0), (7, 1)),
        (12, (2, 0), (2, 6)), (12, (0, 3, 0), (2, 3, 2)), (6, (6,), (6,)), (1, (0, 0), (1, 1)),
        (30, (0, 0, 0), (5, 3, 2)), (1, (), ()),
    ],
)  # fmt: skip
def test_dims(size, wanted, dims):
    assert dims_create(size, wanted) == dims


@given(size=st.integers(1, 100))
def test_largest_of_two_dims_is_as_small_as_can_be(size):
    largest = dims_create(size, (0, 0))[0]
    assert largest == min(n for n in range(1, size + 1) if size % n == 0 and n * n >= size)


@pytest.mark.parametrize(
    ("size", "wanted"), [(6, (4, 0)), (6, (2, 2)), (6, (7,)), (6, ()), (4, (-2, -2)), (4, (-4, 0)), (4, (-1, 0))]
)
def test_dims_that_do_not_fit(size, wanted):
    with pytest.raises(ValueError, match="dims must multiply to"):
        dims_create(size, wanted)
