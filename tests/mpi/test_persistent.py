"""Plans: checked once, called many times."""

import numpy as np
import pytest
from arrays import assert_same
from cases import case_for, example_draw
from oracle import ROWS
from parallel import all_raise, together

import dcomp as dc


@pytest.mark.parametrize("name", ROWS)
def test_every_collective_many_times(comm, name):
    case = case_for(name, comm, example_draw())
    with together():
        plan = getattr(comm, f"{name}_init")(**case.arguments[comm.rank])
        for _ in range(5):
            assert_same(plan(), case.expected[comm.rank])
        plan.free()


def test_result_is_the_same_array_every_time(world):
    with together():
        plan = world.allreduce_init(np.ones(3))
        assert plan() is plan()
        plan.free()


def test_start_and_wait(world):
    x = np.zeros(4)
    with together():
        plan = world.allreduce_init(x)
        for i in range(4):
            x[:] = i
            plan.start()
            assert (plan.wait() == i * world.size).all()
        plan.free()


def test_start_twice_and_wait_without_start(world):
    with together():
        plan = world.allreduce_init(np.ones(3))
    with all_raise(RuntimeError, "allreduce_init: wait must follow start"):
        plan.wait()
    plan.start()
    with all_raise(RuntimeError, "allreduce_init: start must follow the wait"):
        plan.start()
    with together():
        assert (plan.wait() == world.size).all()
        assert (plan() == world.size).all()
        plan.free()


def test_several_in_flight_and_other_calls_between(world):
    with together():
        x, y = np.ones(5), np.arange(world.rank + 1)
        first, second = world.allreduce_init(x), world.allgather_init(y)
        for i in range(3):
            x[:] = i
            first.start()
            second.start()
            request = world.iallreduce(i)
            assert world.allreduce(7) == 7 * world.size
            assert second.wait().size == world.size * (world.size + 1) // 2
            assert request.wait() == i * world.size
            assert (first.wait() == i * world.size).all()
        first.free()
        second.free()


def test_in_place(world):
    with together():
        x = np.ones((2, 3))
        plan = world.allreduce_init(x, out=x)
        for i in range(3):
            assert plan() is x
            assert (x == float(world.size) ** (i + 1)).all()
        plan.free()


def test_maximum_needs_no_check_twice(world):
    """An operation of our own, compiled, in a plan."""
    with together():
        x = np.full(3, float(world.rank))
        plan = world.allreduce_init(x, dc.MAX)
        assert (plan() == world.size - 1).all()
        x[:] = np.nan
        assert np.isnan(plan()).all()
        plan.free()


def test_freed_plan_cannot_be_started(world):
    with together():
        plan = world.allreduce_init(np.ones(3))
        plan()
        plan.free()
    with all_raise(RuntimeError, "allreduce_init"):
        plan.start()
    plan.free()


def test_plan_of_a_freed_communicator(world):
    with together():
        sub = world.dup()
        plan = sub.allreduce_init(np.ones(3))
        plan()
        plan.free()
        sub.free()
    with all_raise(dc.UsageError, "freed"):
        sub.allreduce_init(np.ones(3))
    with all_raise(dc.UsageError, "allreduce_init"):
        plan()


@pytest.mark.usefixtures("needs_checks")
def test_plans_are_checked_when_made(world):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    with all_raise(dc.ShapeMismatchError, "allreduce_init"):
        world.allreduce_init(np.ones(3 + (world.rank == 0)))
    with together():
        assert world.allreduce(1) == world.size


def test_interrupt_of_a_small_plan(world):
    """Others may be a round ahead or behind then."""
    if world._channel.meeting is None:
        pytest.skip("the ranks do not share memory")
    with together():
        comm = world.dup()
        plan = comm.allreduce_init(np.ones(1))
        play = plan._rounds._play

        def interrupted(state):
            play(state)
            raise ZeroDivisionError  # as from a handler of a signal, as soon as compiled code is over

        plan._rounds._play = interrupted
        with pytest.raises(ZeroDivisionError):
            plan()
        plan._rounds._play = play
        for call in (plan, comm.barrier, plan.start):
            with pytest.raises(dc.UsageError, match="interrupted"):
                call()
