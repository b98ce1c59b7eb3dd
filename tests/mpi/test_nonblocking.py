"""Requests: in flight together, waited for in any order, across communicators, and dropped."""

import gc
import time

import numpy as np
import oracle
import pytest
from arrays import assert_same
from cases import case_for, example_draw
from oracle import ROWS
from parallel import all_raise, together

import dcomp as dc


def _start(comm: dc.Communicator, name: str, seed: int) -> tuple[dc.Request, object]:
    case = case_for(name, comm, example_draw(seed=seed))
    return getattr(comm, f"i{name}")(**case.arguments[comm.rank]), case.expected[comm.rank]


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_waited_for_in_another_order_on_every_rank(comm, shift):
    with together():
        started = [_start(comm, name, i) for i, name in enumerate(ROWS)]
        order = np.random.default_rng((shift, comm.rank)).permutation(len(started))
        for i in order:
            request, expected = started[i]
            assert_same(request.wait(), expected)


def test_many_of_one_kind(world):
    with together():
        requests = [world.iallreduce(np.full(10 + i, i)) for i in range(50)]
        for i in reversed(range(50)):
            np.testing.assert_array_equal(requests[i].wait(), np.full(10 + i, i * world.size))


def test_blocking_calls_go_on_meanwhile(world):
    with together():
        pending = [world.iallgather(np.arange(world.rank + 1)), world.ibarrier()]
        assert world.allreduce(1) == world.size
        pending.append(world.iscan(2))
        assert_same(world.bcast(np.arange(3) if world.rank == 0 else None), np.arange(3))
        assert world.scan(1) == world.rank + 1
        gathered, nothing, scanned = dc.wait_all(pending)
        assert gathered.size == world.size * (world.size + 1) // 2
        assert nothing is None
        assert scanned == 2 * (world.rank + 1)


def test_waiting_on_two_communicators_in_crossing_order(world):
    """Rank 0 waits for A and then meets on B; the others meet on B first."""
    with together(), world.dup() as a, world.dup() as b:
        for _ in range(5):
            request = a.iallreduce(np.full(1000, world.rank))
            if world.rank == 0:
                result = request.wait()
                b.barrier()
            else:
                b.barrier()
                result = request.wait()
            np.testing.assert_array_equal(result, np.full(1000, sum(range(world.size))))


def test_uneven_gather_across_communicators(world):
    """A request that takes two exchanges gets on while its rank waits elsewhere."""
    with together(), world.dup() as a, world.dup() as b:
        request = a.iallgather(np.arange(world.rank + 1))
        if world.rank == 0:
            result = request.wait()
            b.barrier()
        else:
            b.barrier()
            result = request.wait()
        np.testing.assert_array_equal(result, np.concatenate([np.arange(n + 1) for n in range(world.size)]))


def test_request_gets_on_while_the_program_computes(world):
    """Rank 0 needs the result of a call of which the others wait only after they hear from rank 0."""
    if world.size == 1:
        pytest.skip("needs a second rank")
    with together():
        request = world.iallgather(np.arange(world.rank + 1))
        if world.rank == 0:
            size = request.wait().size
            for other in range(1, world.size):
                dc.COMM_WORLD.mpi.send(size, other, 77)
        else:
            while not dc.COMM_WORLD.mpi.iprobe(0, 77):
                time.sleep(1e-3)
            assert dc.COMM_WORLD.mpi.recv(source=0, tag=77) == request.wait().size


def test_test_does_not_wait(world):
    with together():
        if world.rank == 0 and world.size > 1:
            request = world.iallreduce(3)
            assert request.test() == (False, None)
            world.send(0, world.size - 1)
            while not request.test()[0]:
                pass
        elif world.rank == world.size - 1 and world.size > 1:
            world.recv(0)
            request = world.iallreduce(3)
        else:
            request = world.iallreduce(3)
        assert request.wait() == 3 * world.size
        assert request.test() == (True, 3 * world.size)
        assert request.wait() == 3 * world.size


def test_test_until_done(world):
    with together():
        request = world.iallgather(np.arange(2 * world.rank))
        done, result = request.test()
        while not done:
            assert result is None
            done, result = request.test()
        assert result.size == world.size * (world.size - 1)


def test_wait_all_keeps_the_order(world):
    with together():
        results = dc.wait_all(world.iallreduce(i) for i in range(10))
        assert results == [i * world.size for i in range(10)]
        assert dc.wait_all([]) == []


def test_out_is_written_by_the_wait(world):
    out = np.zeros((4, 2))
    with together():
        request = world.iallreduce(np.ones((4, 2)), out=out)
        assert request.wait() is out
        assert (out == world.size).all()


def test_out_that_is_not_contiguous(world):
    out = np.zeros((4, 6))[:, ::2]
    with together():
        assert world.iallreduce(np.ones((4, 3)), out=out).wait() is out
        assert (out == world.size).all()


def test_x_may_be_a_temporary(world):
    """The request keeps what MPI reads."""
    with together():
        requests = [world.iallreduce(np.full((300, 100), float(i)).T[::2]) for i in range(8)]
        gc.collect()
        noise = [np.full((300, 100), -1.0) for _ in range(8)]
        for i, request in enumerate(requests):
            assert (request.wait() == i * world.size).all()
        assert len(noise) == 8


def test_dropped_request_is_reported(world):
    with together():
        with pytest.warns(RuntimeWarning, match=r"iallreduce at .*test_nonblocking.py:\d+.* dropped without a wait"):
            world.iallreduce(np.ones(100))
            world.barrier()  # until its data is under way, the communicator holds it
            gc.collect()
    with together():
        assert world.allreduce(1) == world.size


def test_repr_says_where_it_was_made(world):
    with together():
        request = world.ibarrier()
        assert "ibarrier at " in repr(request)
        assert "test_nonblocking.py" in repr(request)
        request.wait()
        assert "done" in repr(request)


@pytest.mark.usefixtures("needs_checks")
def test_error_belongs_to_its_own_request(world):
    """A wrong call between two right ones."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    with together():
        first = world.iallreduce(1)
        wrong = world.iallreduce(np.zeros(2 + (world.rank == 0)))
        last = world.iallreduce(2)
        assert last.wait() == 2 * world.size
    with all_raise(dc.ShapeMismatchError, "iallreduce"):
        wrong.wait()
    with all_raise(dc.ShapeMismatchError, "iallreduce"):
        wrong.test()
    with together():
        assert first.wait() == world.size


@pytest.mark.usefixtures("needs_checks")
def test_wait_all_ends_all_and_raises_the_first_error(world):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    with together():
        requests = [world.iallreduce(1), world.iallreduce(np.zeros(2 + (world.rank == 0))), world.iallreduce(2)]
        with pytest.raises(dc.ShapeMismatchError):
            dc.wait_all(requests)
        assert requests[2].test() == (True, 2 * world.size)


@pytest.mark.usefixtures("needs_checks")
def test_freeing_with_requests_in_flight(world):
    """Refused on every rank, and the communicator can go on."""
    if world.size == 1:
        pytest.skip("needs a sender")
    with together():
        sub = world.dup()
        pending = sub.irecv(world.size - 1) if world.rank == 0 else None
    with all_raise(dc.UsageError if world.rank == 0 else dc.CollectiveMismatchError, "in flight on rank 0"):
        sub.free()
    with together():
        if world.rank == world.size - 1:
            sub.send(5, 0)
        if pending is not None:
            assert pending.wait() == 5
        sub.free()


def test_all_collectives_on_two_communicators_at_once(world, communicators):
    other = communicators["split"]
    with together():
        here = [_start(world, name, i) for i, name in enumerate(ROWS)]
        there = [_start(other, name, i) for i, name in enumerate(ROWS)]
        for request, expected in there[::-1] + here[::-1]:
            assert_same(request.wait(), expected)


def test_results_match_for_large_data(world):
    x = np.arange(300_000.0)
    with together():
        requests = [world.iallreduce(x), world.ibcast(x if world.rank == 0 else None), world.iscan(x)]
        total, same, part = dc.wait_all(requests)
        np.testing.assert_array_equal(total, x * world.size)
        np.testing.assert_array_equal(same, x)
        np.testing.assert_array_equal(part, x * (world.rank + 1))


def test_oracle_knows_every_collective():
    assert set(ROWS) == {
        "barrier", "bcast", "scatter", "gather", "allgather", "alltoall",
        "reduce", "allreduce", "reduce_scatter", "scan", "exscan",
    }  # fmt: skip
    assert oracle.FORMS
