"""exchange: a sparse all-to-all of arrays of any kind."""

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, assert_same, laid_out, values
from hypothesis import given
from hypothesis import strategies as st
from parallel import all_raise, together

import dcomp as dc


def _message(seed: int, source: int, dest: int) -> np.ndarray:
    """What `source` sends to `dest`: another dtype, shape and size for every pair."""
    rng = np.random.default_rng((seed, source, dest))
    shape = rng.integers(0, 6, rng.integers(0, 4))
    if rng.random() < 0.2:
        shape = [20_000]  # a large one
    return values((seed, source, dest), shape, DTYPES[rng.integers(len(DTYPES))])


@given(seed=st.integers(0, 99), density=st.sampled_from([0.0, 0.3, 1.0]))
def test_any_pattern(world, seed, density):
    pairs = np.random.default_rng(seed).random((world.size, world.size)) < density
    with together():
        layout = LAYOUTS[seed % len(LAYOUTS)]
        parts = {
            dest: laid_out(_message(seed, world.rank, dest), layout)
            for dest in np.flatnonzero(pairs[world.rank]).tolist()
        }
        received = world.exchange(parts)
        assert list(received) == np.flatnonzero(pairs[:, world.rank]).tolist()
        for source, x in received.items():
            assert_same(x, _message(seed, source, world.rank))


def test_every_communicator(comm):
    right = (comm.rank + 1) % comm.size
    with together():
        received = comm.exchange({right: np.arange(comm.rank)})
        left = (comm.rank - 1) % comm.size
        assert_same(received[left], np.arange(left))
        assert len(received) == 1


def test_one_after_the_other(world):
    """Ranks may be one exchange apart; parts must not be taken for those of the next."""
    with together():
        for i in range(30):
            dest = (world.rank + i) % world.size
            received = world.exchange({dest: np.full(i, i)} if (world.rank + i) % 3 else {})
            source = (world.rank - i) % world.size
            assert list(received) == ([source] if (source + i) % 3 else [])
            for x in received.values():
                assert_same(x, np.full(i, i))


def test_large_parts_to_everyone(world):
    with together():
        parts = {dest: np.full(50_000 + dest, float(world.rank)) for dest in range(world.size)}
        received = world.exchange(parts)
        assert list(received) == list(range(world.size))
        for source, x in received.items():
            assert_same(x, np.full(50_000 + world.rank, float(source)))


def test_scalars_and_numpy_ranks(world):
    with together():
        received = world.exchange({np.int32(0): 2.5})
        assert received == (dict.fromkeys(range(world.size), 2.5) if world.rank == 0 else {})


def test_other_messages_meanwhile(world):
    """User messages with any tag do not mix with the exchange's own."""
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    with together():
        requests = [world.isend(np.full(3, tag), right, tag=tag) for tag in (0, 512, 513, 1024)]
        pending = world.iallreduce(1)
        assert list(world.exchange({right: np.arange(3)})) == [left]
        for tag in (1024, 513, 512, 0):
            assert_same(world.recv(left, tag=tag), np.full(3, tag))
        assert pending.wait() == world.size
        dc.wait_all(requests)


def test_function(world):
    with together():
        assert dc.exchange({}, comm=world) == {}


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({99: np.arange(3)}, ValueError),
        ({-1: np.arange(3)}, ValueError),
        ({"a": np.arange(3)}, TypeError),
        ({0: {}}, TypeError),
        ({0: ["a"]}, TypeError),
        ([1, 2], TypeError),
        (None, TypeError),
    ],
    ids=str,
)
@pytest.mark.parametrize("culprit", [0, -1])
def test_wrong_parts(world, parts, error, culprit):
    culprit %= world.size
    if world.rank == culprit:
        with all_raise(error, "exchange"):
            world.exchange(parts)
    else:
        with all_raise(dc.CollectiveMismatchError, f"exchange: .* on rank {culprit} of {world.size}"):
            world.exchange({})
    with together():
        assert list(world.exchange({world.rank: 1})) == [world.rank]
