"""Messages between ranks of a node, whose little data is in rings and whose much data is read where it is; and the same
calls where they go through MPI.
"""

import gc
import threading
import time

import compiled_messages as compiled
import numpy as np
import pytest
from arrays import assert_same, values
from parallel import all_raise, together

import dcomp as dc

_SIZES = (0, 1, 3, 4, 8, 100, 1000, 4095, 4096, 5000, 20_000, 200_000)  # of float64: in the record, and beside it


def _ring(comm: dc.Communicator) -> tuple[int, int]:
    return (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size


@pytest.mark.parametrize("seed", range(12))
def test_many_messages(world, seed):
    """Every rank sends to every other, in any order of sizes, dtypes and tags, and receives in another order.

    Of one pair and tag messages come in the order in which they were sent.
    """
    random = np.random.default_rng(seed)  # the same on all ranks
    plan: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
    for source in range(world.size):
        for dest in range(world.size):
            n = int(random.integers(0, 25))
            sizes, tags = random.choice(_SIZES[: 12 if seed % 3 == 0 else 9], n), random.integers(0, 3, n)
            dtypes = random.choice(["f8", "i4", "c16", "u1"], n)
            plan[source, dest] = list(zip(sizes.tolist(), tags.tolist(), dtypes.tolist(), strict=True))
    mine = np.random.default_rng((seed, world.rank))
    wanted = [(source, tag) for source in range(world.size) for _, tag, _ in plan[source, world.rank]]
    mine.shuffle(wanted)

    def content(source: int, dest: int, index: int) -> np.ndarray:
        n, _, dtype = plan[source, dest][index]
        return (np.arange(n) % 100 + source + 3 * dest + 5 * index).astype(dtype)

    with together():
        requests = []
        for dest in mine.permutation(world.size).tolist():
            for index, (_, tag, _) in enumerate(plan[world.rank, dest]):
                requests.append(world.isend(content(world.rank, dest, index), dest, tag=tag))
        seen: dict[tuple[int, int], int] = {}
        for source, tag in wanted:
            indices = [index for index, (_, one, _) in enumerate(plan[source, world.rank]) if one == tag]
            index = indices[seen.setdefault((source, tag), 0)]
            seen[source, tag] += 1
            expected = content(source, world.rank, index)
            out = np.empty_like(expected) if mine.integers(2) else None
            result = world.recv(source, tag=tag, out=out)
            assert out is None or result is out
            assert_same(result, expected)
        dc.wait_all(requests)


@pytest.mark.parametrize("n", [1, 3, 200, 4096])
def test_a_long_queue(world, n):
    """Sent before anyone receives, with the receivers in a barrier: far more than a ring has room for."""
    if world._channel.mail is None:
        pytest.skip("how much MPI takes before it is received is not said")
    right, left = _ring(world)
    count = 3000 if n < 1000 else 100
    with together():
        other = world.dup()
        if world.rank % 2 == 0:
            for index in range(count):
                world.send(np.full(n, index), right)
            other.barrier()
        else:
            other.barrier()
        if left % 2 == 0:
            for index in range(count):
                assert_same(world.recv(left), np.full(n, index))
        world.barrier()
        other.free()


@pytest.mark.parametrize("n", [1, 500])
def test_all_send_before_they_receive(world, n):
    if world._channel.mail is None:
        pytest.skip("how much MPI takes before it is received is not said")
    right, left = _ring(world)
    with together():
        for index in range(2000):
            world.send(np.full(n, index), right, tag=index % 2)
        for tag in (1, 0):
            for index in range(tag, 2000, 2):
                assert_same(world.recv(left, tag=tag), np.full(n, index))


def test_what_looks_like_flags(world):
    """Data of small integers, wherever in a ring it lies, is not taken for the number of a message."""
    right, left = _ring(world)
    with together():
        for turn in range(300):
            n = turn * 7 % 900
            x = np.arange(n) + turn
            out = np.empty(n, int)
            assert_same(world.sendrecv(x, right, left, out=out), np.arange(n) + turn)


@pytest.mark.parametrize("n", _SIZES)
def test_in_place(world, n):
    right, left = _ring(world)
    with together():
        for call in (world.sendrecv, lambda x, *others, out: compiled.in_place(world, x)):
            x = values(world.rank, (n,), "f8")
            call(x, right, left, out=x)
            assert_same(x, values(left, (n,), "f8"))


def test_overlapping_arrays(world):
    """What arrives in part of what is sent does not change what is sent."""
    right, left = _ring(world)
    x = np.arange(200_000.0) + world.rank
    with together():
        out = x[50_000:150_000]
        expected = x[:100_000] - world.rank + left
        world.sendrecv(x[:100_000], right, left, out=out)
        assert_same(out, expected)


@pytest.mark.parametrize("n", [3, 20_000, 300_000])
def test_in_shared_memory(world, n):
    right, left = _ring(world)
    with together():
        x, out = dc.empty(n), dc.empty(n)
        x[:] = world.rank
        assert_same(world.sendrecv(x, right, left, out=out), np.full(n, float(left)))
        result = world.sendrecv(x, right, left)
        again = world.sendrecv(result, right, left)
        assert_same(again, np.full(n, float((left - 1) % world.size)))


@pytest.mark.parametrize("who", ["no one", "senders"])
@pytest.mark.parametrize("n", [20_000, 300_000])
def test_memory_that_cannot_be_reached(world, who, n):
    """Where ranks may not read each other's memory, and where it turns out that they cannot."""
    if world._channel.mail is None:
        pytest.skip("takes shared memory")
    right, left = _ring(world)
    with together():
        comm = world.dup()
        if who == "no one":
            comm._channel.meeting._words[32] = 0
            assert comm._channel.meeting._words[31] == 0
        else:
            comm._channel.meeting._pids[:] = 2**30  # of no process
        x = np.arange(float(n)) + comm.rank
        for _ in range(3):
            assert_same(comm.sendrecv(x, right, left), np.arange(float(n)) + left)
        request = comm.isend(x, right)
        assert_same(comm.recv(left, out=np.empty(n)), np.arange(float(n)) + left)
        request.wait()
        comm.free()


def test_more_exposed_than_there_are_cells(world):
    right, left = _ring(world)
    with together():
        requests = [world.isend(np.full(30_000, i), right, tag=i) for i in range(30)]
        for i in reversed(range(30)):
            assert_same(world.recv(left, tag=i), np.full(30_000, i))
        dc.wait_all(requests)


def test_another_thread_is_in_a_call(world):
    if world.size == 1:
        pytest.skip("needs a second rank")
    got: list = []
    with together():
        comm = world.dup()
        thread = threading.Thread(target=lambda: got.append(comm.recv(1)))
        if world.rank == 0:
            thread.start()
            time.sleep(0.1)
            for call in (
                lambda: comm.send(np.ones(3), 1),
                lambda: comm.recv(1, out=np.ones(3)),
                lambda: comm.send(1, 1),
            ):
                with pytest.raises(dc.UsageError, match="another thread"):
                    call()
        world.barrier()
        if world.rank == 1:
            comm.send(np.arange(4), 0)
        if world.rank == 0:
            thread.join()
            assert_same(got[0], np.arange(4))
        comm.free()


# In compiled code


@pytest.mark.parametrize("n", [1, 3, 100, 5000, 30_000, 300_000])
@pytest.mark.parametrize("dtype", ["f8", "i4", "c16"])
def test_compiled(world, n, dtype):
    left, turns = (world.rank - 1) % world.size, 30
    with together():
        x, out = np.full(n, world.rank, dtype), np.empty(n, dtype)
        total = compiled.around(world, x, out, turns)
        assert total == sum(left + turn for turn in range(turns))
        assert_same(out[:-1], np.full(n - 1, left, dtype))
        result = compiled.there_and_back(world, np.full(n, world.rank, dtype), out, turns)
        assert result is out
        if world.rank ^ 1 < world.size:
            assert_same(out, np.full(n, world.rank if world.rank % 2 == 0 else world.rank ^ 1, dtype))


@pytest.mark.parametrize("x", [1, 2.5, 1j, True, np.float32(0.5), np.int8(3)])
def test_compiled_numbers(world, x):
    with together():
        result = compiled.numbers(world, x, world.size * 3)
        assert result == x
        assert compiled.numbers(world, world.rank, 4) == (world.rank - 4) % world.size


@pytest.mark.parametrize("n", [1, 30_000])
def test_compiled_along_a_line(world, n):
    with together():
        out = compiled.along_a_line(world, np.full(n, float(world.rank)), np.full(n, -1.0), 20)
        assert_same(out, np.full(n, float(world.rank - 1)))


@pytest.mark.parametrize("n", [None, 3, 30_000])
def test_compiled_from_no_one_and_without_an_out(world, n):
    """None comes, as in Python; of a number, too, which compiled code has no other word for."""
    with together():
        x = float(world.rank) if n is None else np.full(n, float(world.rank))
        first, last, nothing = compiled.of_neighbours(world, x, 5)
        assert nothing is None
        for got in (first, last):
            if world.rank == 0:
                assert got is None
            else:
                assert (got == world.rank - 1).all() if n else got == world.rank - 1


@pytest.mark.parametrize("n", [1, 30_000])
def test_compiled_from_any(world, n):
    with together():
        total = compiled.all_to_the_first(world, np.full(n, float(world.rank)), np.empty(n), 50)
        assert total == (50 * sum(range(world.size)) if world.rank == 0 else 0)


def test_compiled_of_many_shapes(world):
    with together():
        assert compiled.growing(world, 1300)


def test_compiled_and_python_meet(world):
    if world.size == 1:
        pytest.skip("a send to oneself may wait for its receive")
    right, left = _ring(world)
    with together():
        for _ in range(3):
            if world.rank % 2 == 0:
                compiled.send_to(world, np.arange(5.0), right, 7)
            else:
                for _ in range(3):
                    world.send(np.arange(5.0), right, tag=7)
            for index in range(3):
                if index % 2:
                    assert_same(compiled.receive_from(world, np.empty(5), left, 7), np.arange(5.0))
                else:
                    assert_same(world.recv(left, tag=7), np.arange(5.0))


@pytest.mark.parametrize(
    ("dest", "tag", "error", "told"),
    [
        (99, 0, ValueError, "dest must be a rank"),
        (-7, 0, ValueError, "dest must be a rank"),
        (0, 40000, ValueError, "tag must"),
    ],
)
def test_compiled_wrong_sends(world, dest, tag, error, told):
    if world.size == 1:
        pytest.skip("a send to oneself may wait for its receive")
    right, left = _ring(world)
    x = np.arange(4.0)
    with together():
        compiled.send_to(world, x, right, 1)
        for _ in range(3):
            compiled.receive_from(world, np.empty(4), left, 1)
    with all_raise(error, told):
        compiled.send_to(world, x, dest, tag)
    with all_raise(ValueError, "source must be a rank"):
        compiled.receive_from(world, x, 99, 1)
    with together():
        compiled.send_to(world, x, right, 1)
        for _ in range(3):
            assert_same(compiled.receive_from(world, np.empty(4), left, 1), x)


@pytest.mark.parametrize("n", [4, 30_000])
def test_compiled_message_that_does_not_fit_is_kept(world, n):
    right, left = _ring(world)
    with together():
        requests = [world.isend(np.full(n, float(index)), right, tag=2) for index in range(3)]
        assert_same(compiled.receive_from(world, np.empty(n), left, 2), np.zeros(n))
    with all_raise(ValueError, "out must have shape"):
        compiled.receive_from(world, np.empty(n + 1), left, 2)
    with all_raise(TypeError, "out must have dtype"):
        compiled.receive_from(world, np.empty(n, "i8"), left, 2)
    with together():
        for index in (1, 2):
            assert_same(compiled.receive_from(world, np.empty(n), left, 2), np.full(n, float(index)))
        dc.wait_all(requests)


def test_compiled_on_a_freed_communicator(world):
    with together():
        comm = world.dup()
        out = np.empty(3)
        compiled.around(comm, np.zeros(3), out, 5)
        comm.free()
    with all_raise(dc.UsageError, "has been freed"):
        compiled.around(comm, np.zeros(3), out, 5)


def test_python_is_not_asked(world, monkeypatch):
    """Once made in a place, a message is sent and received there without Python."""
    if world._channel.mail is None:
        pytest.skip("takes shared memory")
    with together():
        asked = [0]
        original = world.sendrecv

        def count(*args, **kws):
            asked[0] += 1
            return original(*args, **kws)

        monkeypatch.setattr(world, "sendrecv", count)
        compiled.around(world, np.zeros(3), np.empty(3), 900)
        assert 1 <= asked[0] <= 5  # the first, and now and then one


# What a hostile reader found


def small_ring(world, monkeypatch):
    """A communicator whose rings are as short as with many ranks on the node."""
    from dcomp.engine import mail

    monkeypatch.setattr(mail, "_MOST_SLOT", 16 << 10)
    return world.dup()


@pytest.mark.parametrize("n", [900, 2000, 5000])
def test_in_place_with_short_rings(world, monkeypatch, n):
    """What lies beside the record although it is little must not be overwritten before it has been read."""
    if world._channel.mail is None:
        pytest.skip("takes shared memory")
    right, left = _ring(world)
    with together():
        comm = small_ring(world, monkeypatch)
        for _ in range(50):
            x = np.full(n, comm.rank + 1.0)
            comm.sendrecv(x, right, left, out=x)
            assert_same(x, np.full(n, left + 1.0))
        comm.free()


@pytest.mark.parametrize("call", ["recv", "probe", "isend"])
def test_a_message_that_comes_after_collectives_in_flight(world, call):
    """Who waits for it lets those begin without which it is not sent."""
    if world.size == 1:
        pytest.skip("needs a second rank")
    large = np.arange(50_000.0)
    with together():
        if world.rank == world.size - 1:
            time.sleep(0.1)
        requests = [world.iallreduce(np.ones(n)) for n in (5, 6)]
        if world.rank == 0:
            if call == "isend":
                world.isend(large, 1).wait()
            else:
                if call == "probe":
                    assert world.probe(1) == (1, 0)
                assert_same(world.recv(1), np.ones(2))
        elif world.rank == 1:
            if call == "isend":
                assert world.probe(0) == (0, 0)
                assert_same(world.recv(0), large)
            else:
                dc.wait_all(requests)
                world.send(np.ones(2), 0)
        for n, result in zip((5, 6), dc.wait_all(requests), strict=True):
            assert_same(result, np.full(n, float(world.size)))


def test_who_never_stops_to_send(world):
    """What one rank waits for is found among what another goes on to send."""
    if world._channel.mail is None or world.size == 1:
        pytest.skip("takes shared memory, and two ranks")
    with together():
        comm = world.dup()
        if comm.rank == 1:
            stop = comm.irecv(0)
            while not stop.test()[0]:
                for _ in range(100):
                    comm.send(np.arange(4.0), 0)
            comm.send(np.zeros(1), 0, tag=1)
        elif comm.rank == 0:
            start = time.perf_counter()
            comm.probe(1)
            assert_same(comm.recv(1), np.arange(4.0))
            taken = time.perf_counter() - start
            comm.send(np.zeros(1), 1)
            comm.recv(1, tag=1)
            assert taken < 5.0
        world.barrier()


def test_descriptions_that_are_too_long(world):
    right, left = _ring(world)
    x = np.zeros(2, [(f"a_field_of_a_long_name_{i}", "f4") for i in range(3000)])
    for call in (
        lambda: world.send(x, right),
        lambda: world.isend(x, right),
        lambda: world.sendrecv(x, right, left),
        lambda: world.sendrecv(x, right, left, out=np.zeros_like(x)),
    ):
        with all_raise(TypeError, "must have a description of at most"):
            call()
    with together():
        assert world.sendrecv(np.int64(world.rank), right, left) == left


def test_a_kept_message_goes_to_the_next_that_waits(world):
    if world._channel.mail is None:
        pytest.skip("MPI has matched them before anyone knows what the message is")
    right, left = _ring(world)
    with together():
        wrong, fitting = world.irecv(left, out=np.zeros(2)), world.irecv(left, out=np.zeros(3))
        world.barrier()
        requests = [world.isend(np.full(3, index), right) for index in (1.0, 2.0)]
        with pytest.raises(ValueError, match="out must have shape"):
            wrong.wait()
        assert_same(fitting.wait(), np.full(3, 1.0))
        assert_same(world.recv(left), np.full(3, 2.0))
        dc.wait_all(requests)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [3, 300_000])
def test_a_sendrecv_that_fails_leaves_no_request(world, n):
    right, left = _ring(world)
    with all_raise(ValueError, "out must have shape"):
        world.sendrecv(np.full(n, float(world.rank)), right, left, out=np.empty(n + 1))
    with together():
        gc.collect()
        assert_same(world.recv(left), np.full(n, float(left)))


def test_many_in_flight(world):
    right, left = _ring(world)
    with together():
        receives = [world.irecv(left, tag=tag) for tag in range(2000)]
        sends = [world.isend(np.full(4, tag), right, tag=tag) for tag in range(2000)]
        for tag in reversed(range(2000)):
            assert_same(receives[tag].wait(), np.full(4, tag))
        dc.wait_all(sends)


def test_kernels_are_called_with_what_they_were_compiled_for(world):
    """Another type, such as bool for int64, makes numba start all that it compiles with, in the middle of a program."""
    if world._channel.mail is None:
        pytest.skip("takes shared memory")
    from dcomp.kernels import mail

    with together():
        assert {function.__name__ for function, _ in mail.CALLED if len(function.signatures) > 1} == set()
