"""Small calls made again by compiled code, without Python; and where it has to ask Python after all."""

import signal
import sys
import threading
import time

import compiled
import compiled_again
import numpy as np
import oracle
import pytest
from arrays import assert_same
from parallel import all_raise, together

import dcomp as dc

HERE = "compiled.py"


def is_without_python(comm: dc.Communicator) -> bool:
    return comm._inline is not None


def no_python(comm, monkeypatch):
    """Have every call by way of Python fail."""

    def fail(*args, **kws):
        raise AssertionError("Python was asked")

    for name in oracle.ROWS:
        monkeypatch.setattr(comm, name, fail)


@pytest.mark.parametrize("n", [1, 0, 24, 1500, 60_000])
@pytest.mark.parametrize("name", [*oracle.ROWS, "numbers", "out_on_root", "into", "in_place"])
def test_python_is_not_asked(world, monkeypatch, name, n):
    """A call is made in a loop; the first time by way of Python, which fails from then on."""
    if not is_without_python(world) or world.size == 1:
        pytest.skip("takes shared memory, and two ranks")
    with world.dup() as comm, together():
        p, me = comm.size, comm.rank
        x = np.arange(n * p * 1.0).reshape(n * p)
        call = getattr(compiled_again, name)
        for root in (0, p - 1):
            expected = call(comm, x, 1, root)
            with monkeypatch.context() as patched:
                no_python(comm, patched)
                for turns in (1, 4):
                    for one, other in zip(call(comm, x, turns, root), expected, strict=True):
                        if isinstance(other, np.ndarray):
                            assert_same(one, other * turns)
                        else:
                            assert one == (None if other is None else other * turns)
        assert me >= 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="numba 0.68 misses there what such a try in a loop raises")
def test_errors_in_a_loop(world, needs_checks):
    """What a call that has failed leaves is nothing that was there before."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    with together():
        for _ in range(3):
            assert (
                compiled_again.with_errors(world, np.ones(3), np.ones(2 + min(world.rank, 1)), 30)
                == 30 * world.size * 3
            )


def test_what_is_not_like_the_last_call(world):
    """One place of the code, and by turns other communicators, reductions, extents, and late ranks."""
    rng = np.random.default_rng(3)
    with together(), world.dup() as twin, world.split(world.rank % 2) as half:
        kept = {}
        for turn in range(300):
            comm = (world, twin, half)[rng.integers(3)]
            op = (dc.SUM, dc.MAX, dc.MIN)[rng.integers(3)]
            n = int(rng.integers(1, 5))
            x = np.arange(float(n)) + world.rank + turn
            expected = comm.allreduce(x, op)
            if turn % 50 == world.rank:
                time.sleep(0.02)
            result = compiled.allreduce(comm, x, op, 0, 0)
            assert_same(result, expected)
            kept[turn] = result, expected
            number = compiled.number(comm, turn)
            assert number == turn * comm.size
        for result, expected in kept.values():  # each is an array of its own
            assert_same(result, expected)


def test_large_results_without_an_out_take_nothing_else_from_the_heap(world):
    """A result of every new length was kept beside the one that the call returned."""
    if not is_without_python(world):
        pytest.skip("takes shared memory")
    with together(), world.dup() as comm:
        x = np.ones(20_000)
        for _ in range(3):
            compiled_again.allreduce(comm, x, 3, 0)
        kept = comm._inline._kept.values()
        assert comm.size == 1 or any(one.maker is not None for one in kept)
        assert all(one.place is None for one in kept)


def test_more_extents_than_are_kept(world):
    if not is_without_python(world):
        pytest.skip("takes shared memory")
    with together(), world.dup() as comm:
        number = int(comm._inline._words[0])
        for n in [*range(1, 250)] * 2 + [*range(1, 10)]:
            assert_same(compiled.in_place(comm, np.ones(n)), np.full(n, float(comm.size)))
        comm._inline._kept.update(dict.fromkeys(range(1024)))
        assert_same(compiled.in_place(comm, np.ones(251)), np.full(251, float(comm.size)))
        assert_same(compiled.in_place(comm, np.ones(251)), np.full(251, float(comm.size)))
        assert comm.size == 1 or int(comm._inline._words[0]) != number


def test_requests_in_flight_come_first(world):
    with together(), world.dup() as comm:
        for _ in range(3):
            requests = [comm.iallreduce(np.full(3, float(turn))) for turn in range(3)]
            assert_same(compiled.in_place(comm, np.ones(2)), np.full(2, float(comm.size)))
            for turn, request in enumerate(requests):
                assert_same(request.wait(), np.full(3, float(turn * comm.size)))


def test_an_out_that_overlaps(world):
    memory = np.arange(6.0)
    with together():
        compiled.into(world, memory[:3].copy(), np.empty(3))
    with all_raise(ValueError, "allreduce: out must be x itself or must not overlap it"):
        compiled.into(world, memory[:3], memory[1:4])
    with together():
        assert_same(memory, np.arange(6.0))


def test_a_mismatch_after_many_calls(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    x = np.ones(3)
    with together():
        for way in (0, 1, 0, 1):
            compiled.in_two_ways(world, x, way)
    for _ in range(2):
        with all_raise(dc.CollectiveMismatchError, rf"(?s)got barrier on rank.*allreduce.*{HERE}:\d+ in in_two_ways"):
            compiled.in_two_ways(world, x, min(world.rank, 1))
        with all_raise(dc.CollectiveMismatchError, "op must be the same on every rank"):
            compiled.allreduce(world, x, dc.MAX if world.rank else dc.SUM, 0, 0)
        with all_raise(dc.CollectiveMismatchError, "got scan on rank|got allreduce on rank"):
            if world.rank:
                world.scan(x)
            else:
                compiled.allreduce(world, x, dc.SUM, 0, 0)
        with together():
            assert_same(compiled.allreduce(world, x, dc.SUM, 0, 0), x * world.size)


def test_a_mismatch_of_numbers(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with together():
        for _ in range(3):
            assert compiled.number(world, 2) == 2 * world.size
            assert compiled.number(world, 2.5) == 2.5 * world.size
    with all_raise(dc.CollectiveMismatchError, "dtype must be the same on every rank"):
        compiled.number(world, 2 if world.rank else 2.5)
    with together():
        assert compiled.number(world, 2) == 2 * world.size


def test_a_communicator_that_was_freed_after_many_calls(world):
    comm = world.dup()
    with together():
        for _ in range(3):
            compiled.in_place(comm, np.ones(2))
        comm.free()
    for _ in range(2):
        with all_raise(dc.UsageError, "freed"):
            compiled.in_place(comm, np.ones(2))


def test_a_missing_rank_after_many_calls(world, monkeypatch):
    if world.size == 1:
        pytest.skip("no one to miss")
    comm = world.dup()
    with together():
        for _ in range(3):
            compiled.in_place(comm, np.ones(3))
    monkeypatch.setattr(comm._channel, "settings", comm._channel.settings.__class__(timeout=0.3))
    with together():
        if world.rank:
            with pytest.raises(
                dc.DeadlockError, match=r"(?s)rank 0.*missing.*in allreduce.*compiled\.py:\d+ in in_place"
            ):
                compiled.in_place(comm, np.ones(3))


def test_a_rank_in_python_meets_one_that_does_without(world):
    x = np.arange(4.0)
    with together():
        for turn in range(20):
            call = compiled.in_place if (world.rank + turn) % 2 else dc.Communicator.allreduce
            assert_same(call(world, x.copy()), x * world.size)


def test_another_kind_from_the_root_is_not_kept(world):
    """What the code is not for must not be taken for known: it would not fit."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    with together(), world.dup() as comm:
        like = np.ones(1)
        for sent in (np.ones(64, "c16"), np.ones((2, 3, 4)), np.ones(64)):
            for _ in range(3):
                if comm.rank == 0:
                    compiled.bcast(comm, sent, dc.SUM, 0, 0)
                elif sent.dtype == like.dtype and sent.ndim == 1:
                    assert_same(compiled.bcast(comm, like, dc.SUM, 0, 0), sent)
                else:
                    with pytest.raises(TypeError, match="bcast: x must have the dtype"):
                        compiled.bcast(comm, like, dc.SUM, 0, 0)


def test_an_out_that_begins_where_x_does(world):
    memory = np.zeros(4 * world.size)
    with together():
        for _ in range(2):
            compiled_again.joined_into(world, memory[:4].copy(), memory)
    if world.size > 1:
        for _ in range(2):
            with all_raise(ValueError, "allgather: out must be x itself or must not overlap it"):
                compiled_again.joined_into(world, memory[:4], memory)


def test_mismatches_after_many_calls_are_caught(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with together():
        x = np.ones(3)
        for _ in range(3):
            assert_same(compiled_again.caught(world, x, dc.SUM), x * world.size)
        for _ in range(20):
            assert_same(compiled_again.caught(world, x, dc.MAX if world.rank else dc.SUM), np.full(1, -1.0))
            assert_same(compiled_again.caught(world, x, dc.SUM), x * world.size)


@pytest.mark.parametrize("x", [1 + 2j, np.uint64(2**63), np.float32(0.5), np.int8(3)], ids=repr)
def test_numbers_of_many_kinds(world, x):
    with together():
        expected = world.exscan(x), world.scan(x)
        for _ in range(4):
            assert compiled_again.two_scans(world, x) == expected


def test_two_threads_in_one_place(world):
    """Each with a communicator of its own; one waits while the other makes its call."""
    if world.size == 1:
        pytest.skip("no one to wait for")
    first, second = world.dup(), world.dup()
    with together():
        for comm, root in ((first, 0), (second, 1)):
            for _ in range(3):
                compiled_again.reduced(comm, root)
        found = []
        for _ in range(10):
            if world.rank == 1:
                time.sleep(0.01)
            thread = threading.Thread(target=lambda: found.append(compiled_again.reduced(first, 0)))
            thread.start()
            assert compiled_again.reduced(second, 1) == (3 * world.size if world.rank == 1 else None)
            thread.join()
        assert found == [3 * world.size if world.rank == 0 else None] * 10
        first.free()
        second.free()


def test_signals_are_let_in(world):
    """Also where no rank is ever late, and where the handler's exception comes when compiled code goes to Python."""

    def stop(*_):
        raise KeyboardInterrupt

    calls = [(compiled_again.after_work, 50_000_000)]
    if is_without_python(world):  # else the ranks that are left may be inside MPI, which no timeout can leave
        calls.append((compiled_again.for_ever, 2_000_000_000))
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for call, n in calls:
            with together():
                comm = world.dup()
                call(comm, np.ones(3), 10)
                x = np.ones(4 if call is compiled_again.after_work else 3)  # another: by way of Python
                comm._channel.settings = comm._channel.settings.__class__(timeout=0.5)
                if comm.rank == 0:
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(dc.DeadlockError if comm.rank else KeyboardInterrupt):
                    call(comm, x, n)
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
