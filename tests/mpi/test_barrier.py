"""barrier: no one leaves before everyone has come."""

import time

import numpy as np
import pytest
from oracle import FORMS, invoke
from parallel import together


@pytest.mark.parametrize("form", FORMS)
def test_returns_nothing(comm, form):
    with together():
        assert invoke(comm, "barrier", form, {}) is None


def test_waits_for_the_last(world):
    """One clock for all ranks of a machine: everyone leaves after the last has come."""
    for last in range(min(world.size, 3)):
        with together():
            if world.rank == last:
                time.sleep(0.05)
            came = time.monotonic()
            world.barrier()
            left = time.monotonic()
            if world.node.size == world.size:
                times = world.allgather(np.array([[came, left]]))
                assert times[:, 1].min() >= times[:, 0].max()


def test_nonblocking_ends_after_the_last_has_come(world):
    with together():
        if world.rank == 0 and world.size > 1:
            request = world.ibarrier()
            assert request.test() == (False, None)
            world.send(1, world.size - 1)
            assert request.wait() is None
        else:
            if world.rank == world.size - 1 and world.size > 1:
                world.recv(0)
            world.ibarrier().wait()


def test_plan_many_times(world):
    with together():
        plan = world.barrier_init()
        for _ in range(20):
            assert plan() is None
        plan.free()
