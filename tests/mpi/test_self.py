"""A communicator of one rank: calls cost as little as between ranks, and give what they give there."""

import numpy as np
import oracle
import pytest
from arrays import assert_same
from parallel import together

import dcomp as dc


@pytest.fixture
def alone(world):
    """Each rank by itself."""
    with world.split(world.rank) as comm:
        yield comm


def test_calls_made_before_take_the_short_way(alone):
    """Without: five to ten times mpi4py's time."""
    if dc.COMM_WORLD.node._channel.meeting is None:
        pytest.skip("no memory is shared")
    with together():
        x = np.arange(5.0)
        for _ in range(2):
            assert_same(alone.allreduce(x), x)
        assert ("allreduce", dc.SUM, x.dtype, x.shape) in alone._known.made


@pytest.mark.parametrize("n", [1, 300, 9000, 400_000])  # of all the ways in shared memory
@pytest.mark.parametrize("name", [name for name in oracle.ROWS if name not in ("barrier", "exscan")])
def test_results_are_copies(alone, name, n):
    """Of whatever is reduced or moved; but of bcast, which gives the root its own array."""
    with together():
        x = np.arange(float(n))
        for _ in range(3):
            result = getattr(alone, name)(x)
            assert_same(result, x)
            assert (result is x) == (name == "bcast")


@pytest.mark.parametrize("n", [1, 9000, 400_000])
@pytest.mark.parametrize("name", ["allreduce", "reduce", "scan"])
def test_in_place(alone, name, n):
    with together():
        x = np.arange(float(n))
        for _ in range(3):
            assert getattr(alone, name)(x, out=x) is x
            assert_same(x, np.arange(float(n)))


@pytest.mark.parametrize("n", [0, 3, 9000, 400_000])
def test_message_to_oneself(alone, n):
    with together():
        x, out = np.arange(float(n)), np.empty(n)
        for _ in range(3):
            assert alone.sendrecv(x, 0, 0, out=out) is out
            assert_same(out, x)
            request = alone.isend(x, 0)
            assert_same(alone.recv(0), x)
            request.wait()


def test_operations_of_ones_own(alone):
    """One rank combines nothing, but what an operation is not defined for stays an error."""
    with together():
        assert alone.allreduce(3.5, dc.MAX) == 3.5
        with pytest.raises(TypeError, match="BAND"):
            alone.allreduce(np.ones(3), dc.BAND)
