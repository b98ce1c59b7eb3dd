"""Plans whose ranks each have a part to do, which a rank may come to late."""

import gc
import time
from dataclasses import replace

import numpy as np
import oracle
import pytest
from arrays import assert_same, values
from cases import case_of
from parallel import all_raise, together

import dcomp as dc
from dcomp.engine import rounds
from dcomp.engine.choose import Rules
from dcomp.kernels import words

NAMES = [name for name in oracle.ROWS if name != "barrier"]
LENGTHS = [1500, 40_000, 200_000]  # 200,000 are more than is played at once


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("out", ["new", "ordinary", "backwards", "shared"])
def test_round_after_round(world, name, n, out):
    """Played, and started with other calls before the wait; x is refilled every time."""
    case = case_of(world, name, n, 0)
    arguments = case.arguments[world.rank]
    expected = case.expected[world.rank]
    x = arguments.get("x")
    place = None
    receives = expected is not None and not (name == "bcast" and x is not None)
    if out != "new" and receives:
        place = np.empty(expected.shape)
        if out == "backwards":
            place = place[::-1]
        elif out == "shared":
            place = dc.empty(expected.shape)
    with together():
        plan = getattr(world, f"{name}_init")(**arguments, **({} if place is None else {"out": place}))
        first = None
        for turn in range(4):
            case = case_of(world, name, n, turn)
            if x is not None:
                x[...] = case.arguments[world.rank]["x"]
            if turn % 2:
                plan.start()
                assert world.allreduce(turn) == turn * world.size
                assert_same(world.scan(np.full(3000, 1.0)), np.full(3000, world.rank + 1.0))
                result = plan.wait()
            else:
                result = plan()
            assert_same(result, case.expected[world.rank])
            first = result if first is None else first
            assert result is first
            assert place is None or result is place
            if x is not None and name != "bcast":
                assert_same(x, case.arguments[world.rank]["x"])
        plan.free()


@pytest.mark.parametrize("name", ["allreduce", "scan", "exscan", "alltoall", "reduce"])
@pytest.mark.parametrize("shared", [False, True], ids=["ordinary", "shared"])
def test_in_place(world, name, shared):
    n = 8400
    x = dc.empty(n) if shared else np.empty(n)
    root = {"root": world.size - 1} if name == "reduce" else {}
    receives = name != "reduce" or world.rank == world.size - 1
    with together():
        plan = getattr(world, f"{name}_init")(x, **root, out=x if receives else None)
        for turn in range(3):
            xs = [values((turn, rank), (n,), "i4").astype("f8") for rank in range(world.size)]
            case = oracle.alltoall(xs) if name == "alltoall" else oracle.reduction(name, xs, **root)
            x[...] = xs[world.rank]
            result = plan()
            assert_same(result, case.expected[world.rank])
            assert result is (x if receives else None)
        plan.free()


def test_started_in_one_order_and_waited_for_in_another(world):
    """Every rank waits for another plan first, and all get on."""
    n = 50_000
    with together():
        xs = [np.full(n, float(index + 1)) for index in range(3)]
        plans = [world.allreduce_init(x) for x in xs]
        for _ in range(3):
            for plan in plans:
                plan.start()
            for index in range(3):
                place = (index + world.rank) % 3
                assert_same(plans[place].wait(), np.full(n, float(world.size * (place + 1))))
        for index, plan in enumerate(plans):
            assert (plan() == world.size * (index + 1)).all()
            plan.free()


def test_a_started_round_gets_on_while_its_rank_waits_elsewhere(world):
    """Rank 0 goes into the other communicator's barrier only after the round."""
    n = 50_000
    x = np.full(n, world.rank + 1.0)
    with together(), world.dup() as other:
        plan = world.allreduce_init(x)
        for _ in range(3):
            plan.start()
            if world.rank == 0:
                result = plan.wait()
                other.barrier()
            else:
                other.barrier()
                result = plan.wait()
            assert_same(result, np.full(n, world.size * (world.size + 1) / 2))
        plan.free()


def test_a_started_round_gets_on_while_the_program_computes(world):
    if world.size == 1:
        pytest.skip("needs a second rank")
    n = 50_000
    with together():
        plan = world.allreduce_init(np.ones(n))
        plan.start()
        if world.rank == 0:
            total = float(plan.wait().sum())
            for other in range(1, world.size):
                dc.COMM_WORLD.mpi.send(total, other, 78)
        else:
            while not dc.COMM_WORLD.mpi.iprobe(0, 78):
                time.sleep(1e-3)
            assert dc.COMM_WORLD.mpi.recv(source=0, tag=78) == plan.wait().sum() == n * world.size
        plan.free()


def test_plans_come_and_go(world):
    """Of any size, one after the other: places and results are used again."""
    with together(), world.dup() as comm:
        meeting = comm._channel.meeting
        for turn in range(12):
            n = [3, 5000, 100_000, 700, 20_000][turn % 5]
            plan = comm.allreduce_init(np.full(n, 1.0))
            kept = comm.scan_init(np.full(n, 2.0))
            assert_same(plan(), np.full(n, float(comm.size)))
            assert_same(kept(), np.full(n, 2.0 * (comm.rank + 1)))
            plan.free()
            kept.free()
            comm.barrier()  # now all have given them back
        if meeting is not None:
            assert len(meeting._places) <= 2 * 3


def test_a_plan_into_what_another_rank_sends(world):
    """Found when it is played, on every rank, and the communicator goes on."""
    meeting = world._channel.meeting
    if meeting is None or world.size == 1:
        pytest.skip("no memory is shared")
    n = 20_000
    with together():
        comm = world.dup()
        rows = comm.shared_array((comm.size, n))
        rows[comm.rank] = 1.0
        comm.barrier()
        plan = comm.allreduce_init(rows[comm.rank], out=rows[comm.rank - 1])
    for call in (plan, lambda: (plan.start(), plan.wait()), plan):
        with all_raise(ValueError, "allreduce_init: out must not overlap what another rank"):
            call()
    with together():
        assert comm.allreduce(1) == comm.size
        plan.free()
        good = comm.allreduce_init(rows[comm.rank])
        assert_same(good(), np.full(n, float(comm.size)))
        good.free()
        comm.free()


@pytest.mark.parametrize("played", [False, True], ids=["waited for", "played"])
def test_interrupt_of_a_large_plan(world, played, monkeypatch):
    """Its arrays are kept, for others may read and write them still."""
    if world._channel.meeting is None:
        pytest.skip("the ranks do not share memory")
    with together():
        comm = world.dup()
        plan = comm.allreduce_init(np.ones(100_000))

        def interrupted(*_):
            raise ZeroDivisionError  # as from a handler of a signal

        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(plan._rounds, "_play" if played else "_end_moving", interrupted)
            if played:
                plan()
            else:
                plan.start()
                plan.wait()
        for call in (plan, comm.barrier, plan.start):
            with pytest.raises(dc.UsageError, match="interrupted"):
                call()


@pytest.mark.parametrize("way", ["waited for", "another call waits"])
def test_a_round_that_times_out_keeps_its_arrays(world, way):
    """The rank that comes late still writes into them."""
    if world._channel.meeting is None or world.size == 1:
        pytest.skip("no memory is shared")
    n = 100_000
    with together():
        comm = world.dup()
        settings = comm._channel.settings
        plan = comm.allreduce_init(np.full(n, 7.0))
        address = plan().__array_interface__["data"][0]
        if world.rank == 0:
            comm._channel.settings = replace(settings, timeout=0.2)
            plan.start()
            with pytest.raises(dc.DeadlockError):
                plan.wait() if way == "waited for" else comm.barrier()
            del plan
            gc.collect()
            kept = [dc.empty(n) for _ in range(5)]
            assert address not in [one.__array_interface__["data"][0] for one in kept]


def test_a_forgotten_plan_gives_its_place_back(world):
    with together(), world.dup() as comm:
        meeting = comm._channel.meeting
        for _ in range(5):
            plan = comm.allreduce_init(np.ones(20_000))
            assert_same(plan(), np.full(20_000, float(comm.size)))
            del plan
            gc.collect()
            comm.barrier()
        if meeting is not None:
            assert len(meeting._places) == 1


@pytest.mark.parametrize("name", ["bcast", "gather", "allgather", "alltoall", "allreduce", "scan"])
def test_long_ones_into_ordinary_arrays(world, name):
    """Read and written across processes."""
    with together(), world.dup() as comm:
        comm._channel.rules = Rules({name: {"once": 0, "once_far": 0, "heap": 0}})
        case = case_of(comm, name, 40_000, 3)
        arguments, expected = case.arguments[comm.rank], case.expected[comm.rank]
        receives = expected is not None and not (name == "bcast" and "x" in arguments)
        out = np.empty(expected.shape) if receives else None
        plan = getattr(comm, f"{name}_init")(**arguments, **({} if out is None else {"out": out}))
        for _ in range(3):
            result = plan()
            assert_same(result, expected)
            assert out is None or result is out
        if comm._channel.meeting is not None and comm.size > 1:
            assert isinstance(plan._rounds, rounds.Rounds)
            is_fold_of_two = comm.size == 2 and name == "scan"  # no one writes into another's result
            assert is_fold_of_two or plan._rounds._place._words[words.ACROSS] == words.ORDINARY
        plan.free()
