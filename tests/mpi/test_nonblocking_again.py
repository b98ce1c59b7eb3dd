"""Non-blocking calls that have been made before, of little data, among each other and among other calls."""

import gc
import time

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
    call = getattr(comm, f"i{name}")
    with together():
        for turn in range(6):
            requests = [call(**case.arguments[comm.rank]) for _ in range(1 + turn % 3)]
            for request in reversed(requests) if turn % 2 else requests:
                assert_same(request.wait(), case.expected[comm.rank])


def test_several_in_flight_of_several_kinds(comm):
    x, n = np.arange(5.0) + comm.rank, comm.size
    total = n * np.arange(5.0) + n * (n - 1) / 2
    big = np.full(50_000, comm.rank)
    with together():
        for turn in range(8):
            requests = [comm.iallreduce(x), comm.iallgather(big), comm.ibarrier(), comm.iallreduce(x), comm.iexscan(x)]
            if turn % 2:
                assert_same(comm.allreduce(x), total)
            requests.append(comm.ibcast(x if comm.rank == n - 1 else None, root=n - 1))
            results = dc.wait_all(requests)
            assert_same(results[0], total)
            assert_same(results[1], np.repeat(np.arange(n), 50_000))
            assert_same(results[3], total)
            assert_same(results[4], comm.rank * np.arange(5.0) + comm.rank * (comm.rank - 1) / 2)
            assert_same(results[5], np.arange(5.0) + n - 1)


def test_polled(comm):
    x = np.ones(3)
    with together():
        for _ in range(4):
            request = comm.iallreduce(x)
            done, result = request.test()
            while not done:
                done, result = request.test()
            assert_same(result, np.full(3, float(comm.size)))
            assert request.test() == (True, result)
            assert request.wait() is result


def test_into_the_same_array_and_in_place(comm):
    with together():
        for _ in range(3):
            x, out = np.ones(4), np.zeros(4)
            assert comm.iallreduce(x, out=out).wait() is out
            assert_same(out, np.full(4, float(comm.size)))
            assert comm.iallreduce(x, out=x).wait() is x
            assert_same(x, np.full(4, float(comm.size)))


def test_another_call_than_before_on_some_ranks(comm):
    """Whose array is of another dtype order, not in C order, or whose `out` is given."""
    n = 24
    total = np.full((n, 2), comm.size * (comm.size + 1) / 2)
    odd = comm.rank == comm.size - 1
    with together():
        for turn in range(12):
            x, out = np.full((n, 2), comm.rank + 1.0), None
            if odd and turn % 4 == 1:
                x = np.asfortranarray(x)
            if odd and turn % 4 == 2:
                out = np.empty((n, 4))[:, ::2]
            if odd and turn % 4 == 3:
                out = np.empty((n, 2))
            first, second = comm.iallreduce(x), comm.iallreduce(x, out=out)
            assert_same(first.wait(), total)
            assert_same(second.wait(), total)


def test_sizes_in_turn(comm):
    """The root's array is of another size each time, which the others cannot know."""
    with together():
        for turn in range(24):
            root, n = turn % comm.size, [3, 3000, 3, 700][turn % 4]
            x = np.full(n, turn) if comm.rank == root else None
            assert_same(comm.ibcast(x, root=root).wait(), np.full(n, turn))


@pytest.mark.usefixtures("needs_checks")
def test_faults_after_the_right_call(world):
    if world.size == 1:
        pytest.skip("no one differs")
    x = np.ones(5)
    is_last = world.rank == world.size - 1
    for _ in range(3):
        with together():
            assert_same(dc.wait_all([world.iallreduce(x), world.iallreduce(x)])[1], np.full(5, float(world.size)))
        wrong = world.iallreduce(x) if is_last else world.iscan(x)
        with all_raise(dc.CollectiveMismatchError, "iallreduce"):
            wrong.wait()
        before, wrong = world.iallreduce(x), world.iallreduce(x, out=np.zeros(4) if is_last else np.zeros(5))
        after = world.iallreduce(x)
        with all_raise((ValueError, dc.CollectiveMismatchError), "out must have shape"):
            wrong.wait()
        with together():
            assert_same(before.wait(), np.full(5, float(world.size)))
            assert_same(after.wait(), np.full(5, float(world.size)))
        with all_raise(dc.CollectiveMismatchError, "iallreduce"):
            world.iallreduce(x).wait() if is_last else world.allreduce(x)


def test_dropped(world):
    """A request that no one waits for says so, and the next call is right."""
    x = np.ones(2)
    with together():
        for _ in range(3):
            world.iallreduce(x).wait()
        with pytest.warns(RuntimeWarning, match="dropped without a wait"):
            world.iallreduce(x)
            world.barrier()  # until its result is there, the communicator holds it
            gc.collect()
        assert_same(world.allreduce(x), np.full(2, float(world.size)))


def test_a_later_call_that_another_rank_waits_for(world):
    """Whoever waits for the first of two calls moves the second on, of which one rank says later where its array is."""
    n, rank = world.size, world.rank
    several, x, ones = np.ones(1500, "f4"), np.ones((n, 2)), np.full((n, 2), float(n))
    out = np.zeros((1, 4))[:, ::2] if rank == n - 1 else None
    with together():
        for _ in range(4):
            world.iexscan(several).wait()
            world.ireduce_scatter(x, out=out).wait()
            world.reduce(x)
        for turn in range(40):
            world.barrier()
            if rank == 0 and turn % 4 == 0:
                time.sleep(0.003)
            first, second = world.iexscan(several), world.ireduce_scatter(x, out=out)
            if rank == n - 1:
                first.wait()
                assert_same(np.ascontiguousarray(second.wait()), ones[:1])
                world.reduce(x)
            else:
                total = world.reduce(x)
                assert rank > 0 or (total == ones).all()
                first.wait()
                assert_same(second.wait(), ones[:1])


def test_other_arrays_than_last_while_a_call_is_pending(world):
    """Shape, axis and kind of x are those of its own call, which begins later."""
    a, b, n = np.full(3, 1.0), np.full((2, 2), 1.0), world.size
    with together():
        for _ in range(4):
            world.iallgather(a, axis=-1).wait()
            world.iallreduce(a).wait()
        for _ in range(6):
            if world.rank == n - 1:
                time.sleep(0.01)
            listed = [1.0, 2.0, 3.0]
            first, second = world.iallreduce(a), world.iallgather(b, axis=-1)
            third = world.iallreduce(listed)
            listed[:] = [100.0] * 3
            assert_same(first.wait(), np.full(3, float(n)))
            assert_same(second.wait(), np.ones((2, 2 * n)))
            assert_same(third.wait(), np.arange(1.0, 4.0) * n)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")  # which NumPy still allows
def test_x_whose_shape_is_changed_before_the_call_is_known(world):
    """What is remembered is what the call was made with."""
    with together(), world.dup() as comm:
        for _ in range(2):
            x = np.arange(6.0).reshape(2, 3)
            request = comm.iallreduce(x)
            x.shape = (6,)
            request.wait()
        for _ in range(3):
            assert_same(comm.iallreduce(np.arange(6.0)).wait(), np.arange(6.0) * comm.size)
            assert_same(comm.iallreduce(np.ones((2, 3))).wait(), np.full((2, 3), float(comm.size)))
