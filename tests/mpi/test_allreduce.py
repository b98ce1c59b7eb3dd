"""What allreduce has of its own: results that are identical, and numbers. The rest is in `test_elementwise.py`."""

import numpy as np
import pytest
from parallel import together

import dcomp as dc


def test_identical_on_every_rank(world):
    """Sums that do round have the same bits everywhere."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((world.size, 1001))[world.rank]
    with together():
        total = world.allreduce(x)
        everyone = world.allgather(total[None])
        assert (everyone.view("u8") == total.view("u8")).all()
        np.testing.assert_allclose(total, np.random.default_rng(1).standard_normal((world.size, 1001)).sum(0))


@pytest.mark.parametrize("x", [2, 0.5, True, 1j])
def test_python_scalars(world, x):
    with together():
        result = world.allreduce(x)
        assert isinstance(result, np.generic)
        assert result.dtype == np.asarray(x).dtype
        assert result == (np.asarray(x) if x is True else x * world.size)


def test_list(world):
    with together():
        np.testing.assert_array_equal(world.allreduce([1, 2.5]), [world.size, 2.5 * world.size])


def test_functions_speak_of_the_world(world):
    with together():
        assert dc.rank == world.rank
        assert dc.size == world.size
        assert dc.allreduce(dc.rank) == sum(range(world.size))
