"""send, recv and their kin: any array, any size, in order, and what a wrong receive leaves behind."""

import gc

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, assert_same, laid_out, out_like, values
from cases import draws
from hypothesis import given
from parallel import all_raise, together

import dcomp as dc

_SMALL, _LARGE = (3, 4), (300, 50)


def _ring(comm: dc.Communicator) -> tuple[int, int]:
    """(whom to send to, whom to receive from)"""
    return (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size


@given(d=draws(least_ndim=0))
def test_any_array_around_the_ring(world, d):
    right, left = _ring(world)
    with together():
        x = laid_out(values((d.seed, world.rank), d.shape, d.dtype), d.layout)
        expected = values((d.seed, left), d.shape, d.dtype)
        out = None if d.out is None else out_like(d.shape, d.dtype, d.out)
        result = world.sendrecv(x, right, left, out=out)
        assert_same(result, expected)
        assert out is None or result is out


@pytest.mark.parametrize("shape", [_SMALL, _LARGE, (0, 3), (5,), ()])
def test_every_communicator(comm, shape):
    right, left = _ring(comm)
    with together():
        request = comm.isend(values(comm.rank, shape, "f8"), right)
        assert_same(comm.recv(left), values(left, shape, "f8"))
        assert request.wait() is None


def test_every_dtype(world):
    right, left = _ring(world)
    for dtype in DTYPES:
        with together():
            assert_same(world.sendrecv(values(world.rank, (2,), dtype), right, left), values(left, (2,), dtype))


@pytest.mark.parametrize("n", [16384, 16385, 16384 // 8, 16384 // 8 + 1, 0, 1])
def test_sizes_about_the_limit_of_one_message(world, n):
    right, left = _ring(world)
    for dtype in ("u1", "f8"):
        with together():
            assert_same(world.sendrecv(values(world.rank, (n,), dtype), right, left), values(left, (n,), dtype))


@pytest.mark.parametrize("x", [3, 2.5, True, 1j])
def test_scalars(world, x):
    right, left = _ring(world)
    with together():
        result = world.sendrecv(x, right, left)
        assert isinstance(result, np.generic)
        assert result == x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [_SMALL, _LARGE])
def test_layouts(world, layout, shape):
    right, left = _ring(world)
    with together():
        out = out_like(shape, "i4", layout)
        result = world.sendrecv(laid_out(values(world.rank, shape, "i4"), layout), right, left, out=out)
        assert result is out
        assert_same(out, values(left, shape, "i4"))


@pytest.mark.parametrize("shape", [_SMALL, _LARGE])
def test_messages_of_one_pair_arrive_in_order(world, shape):
    right, left = _ring(world)
    with together():
        requests = [world.isend(values((world.rank, i), shape, "f4"), right, tag=i % 2) for i in range(6)]
        for i in range(6):
            assert_same(world.recv(left, tag=i % 2), values((left, i), shape, "f4"))
        dc.wait_all(requests)


def test_large_and_small_messages_keep_their_order(world):
    right, left = _ring(world)
    shapes = [_LARGE, _SMALL, _LARGE, (0,), _LARGE, _SMALL]
    with together():
        requests = [world.isend(values((world.rank, i), shape, "f4"), right) for i, shape in enumerate(shapes)]
        receives = [world.irecv(left) for _ in shapes]
        for i, result in enumerate(dc.wait_all(receives)):
            assert_same(result, values((left, i), shapes[i], "f4"))
        dc.wait_all(requests)


@pytest.mark.parametrize("shape", [_SMALL, _LARGE])
def test_tags_choose(world, shape):
    right, left = _ring(world)
    with together():
        requests = [world.isend(values((world.rank, tag), shape, "f4"), right, tag=tag) for tag in (5, 0, 32767)]
        for tag in (32767, 5, 0):
            assert_same(world.recv(left, tag=tag), values((left, tag), shape, "f4"))
        dc.wait_all(requests)


@pytest.mark.parametrize("shape", [_SMALL, _LARGE])
def test_posted_receives_match_in_the_order_of_posting(world, shape):
    """A receive from anyone, posted first, gets the first message; one of a tag, posted later, the next of that tag."""
    right, left = _ring(world)
    with together():
        anything = world.irecv(dc.ANY_SOURCE, tag=dc.ANY_TAG)
        of_tag = world.irecv(left, tag=3)
        world.barrier()
        requests = [world.isend(values((world.rank, i), shape, "f4"), right, tag=3) for i in range(2)]
        assert_same(of_tag.wait(), values((left, 1), shape, "f4"))
        assert_same(anything.wait(), values((left, 0), shape, "f4"))
        dc.wait_all(requests)


@pytest.mark.parametrize("shape", [_SMALL, _LARGE])
def test_from_any_source(world, shape):
    with together():
        if world.rank == 0:
            seen = {}
            for _ in range(world.size - 1):
                source, tag = world.probe()
                assert tag == source + 10
                seen[source] = world.recv(source, tag=tag)
            assert sorted(seen) == list(range(1, world.size))
            for source, result in seen.items():
                assert_same(result, values(source, shape, "f4"))
        else:
            world.send(values(world.rank, shape, "f4"), 0, tag=world.rank + 10)


def test_probe_waits_and_takes_nothing(world):
    right, left = _ring(world)
    with together():
        request = world.isend(np.arange(3), right, tag=4)
        assert world.probe() == (left, 4)
        assert world.probe(left, tag=4) == dc.Envelope(left, 4)
        assert_same(world.recv(*world.probe()[:1], tag=4), np.arange(3))
        request.wait()


def test_large_receive_posted_before_a_barrier(world):
    """Its sender waits for the send and only then comes to the barrier."""
    if world.size == 1:
        pytest.skip("needs a second rank")
    x = np.arange(200_000.0)
    with together():
        last = world.size - 1
        if world.rank == last:
            request = world.irecv(0)
            world.barrier()
            assert_same(request.wait(), x)
        else:
            if world.rank == 0:
                world.isend(x, last).wait()
            world.barrier()


def test_large_receive_posted_before_a_barrier_on_another_communicator(world, communicators):
    if world.size == 1:
        pytest.skip("needs a second rank")
    other = communicators["duplicate"]
    x = np.arange(200_000.0)
    with together():
        last = world.size - 1
        if world.rank == last:
            request = world.irecv(0)
            other.barrier()
            assert_same(request.wait(), x)
        else:
            if world.rank == 0:
                world.isend(x, last).wait()
            other.barrier()


def test_large_receives_posted_one_by_one_before_a_barrier(world):
    """Several of them, from all, in one channel, none waited for until everyone is through."""
    x = np.arange(100_000.0)
    with together():
        requests = [world.irecv(source) for source in range(world.size)]
        sends = [world.isend(x + world.rank, dest) for dest in range(world.size)]
        dc.wait_all(sends)
        world.barrier()
        for source, result in enumerate(dc.wait_all(requests)):
            assert_same(result, x + source)


def test_everyone_sends_before_receiving(world):
    """isend, and a receive before the wait: no deadlock for large messages."""
    right, left = _ring(world)
    x = np.arange(100_000.0)
    with together():
        request = world.isend(x, right)
        assert_same(world.recv(left), x)
        request.wait()


def test_to_no_one_and_from_no_one(world):
    out = np.arange(3)
    with together():
        assert world.send(np.arange(3), None) is None
        assert world.recv(None) is None
        assert world.recv(None, out=out) is out
        assert world.isend(5, None).wait() is None
        assert world.irecv(None).wait() is None
        assert world.sendrecv(4, None, None) is None


def test_along_a_line(world):
    """Edges have no neighbour: None."""
    right = world.rank + 1 if world.rank + 1 < world.size else None
    left = world.rank - 1 if world.rank else None
    with together():
        received = world.sendrecv(np.int64(world.rank), right, left)
        assert received == (None if left is None else left)


def test_sendrecv_with_itself(world):
    with together():
        assert_same(world.sendrecv(np.arange(50_000), world.rank, world.rank), np.arange(50_000))


def test_sendrecv_tags(world):
    right, left = _ring(world)
    with together():
        for tag in (1, 2):
            result = world.sendrecv(tag, right, left, sendtag=tag, recvtag=tag)
            assert result == tag


def test_test_of_requests(world):
    right, left = _ring(world)
    with together():
        receive = world.irecv(left)
        send = world.isend(np.arange(100_000), right)
        done, result = receive.test()
        while not done:
            done, result = receive.test()
        assert_same(result, np.arange(100_000))
        send.wait()
        assert send.test() == (True, None)


@pytest.mark.parametrize("n", [3, 30_000])
@pytest.mark.parametrize(
    ("out", "error", "told"),
    [
        (lambda n: np.zeros(n + 1), ValueError, "out must have shape"),
        (lambda n: np.zeros(n, "f4"), TypeError, "out must have dtype float64"),
    ],
    ids=["shape", "dtype"],
)
def test_message_that_does_not_fit_is_kept(world, n, out, error, told):
    right, left = _ring(world)
    x = np.arange(float(n))
    with together():
        request = world.isend(x, right, tag=6)
        later = world.isend(2 * x, right, tag=6)
    with all_raise(error, told):
        world.recv(left, out=out(n))
    with together():
        assert world.probe(left) == (left, 6)
        assert_same(world.recv(left, tag=6, out=np.zeros(n)), x)
        assert_same(world.recv(left, tag=6), 2 * x)
        dc.wait_all([request, later])


@pytest.mark.parametrize("n", [3, 30_000])
def test_kept_messages_keep_their_order(world, n):
    """The one that was not accepted is older than those that follow it."""
    right, left = _ring(world)
    with together():
        requests = [world.isend(np.full(n, i), right) for i in range(3)]
    for _ in range(2):
        with all_raise(TypeError, "dtype"):
            world.recv(left, out=np.zeros(n, "f4"))
    with together():
        for i in range(3):
            assert_same(world.recv(left), np.full(n, i))
        dc.wait_all(requests)


@pytest.mark.parametrize("n", [3, 30_000])
def test_object_received_as_an_array_and_back(world, n):
    right, left = _ring(world)
    with together():
        request = world.isend(np.arange(n), right)
    with all_raise(TypeError, "is an array; use recv"):
        world.recv_object(left)
    with together():
        assert_same(world.recv(left), np.arange(n))
        request.wait()
        if world.rank == 0 and world.size > 1:
            world.send_object({"n": n, "x": np.arange(n)}, 1)
        if world.rank == 1:
            with pytest.raises(TypeError, match="is a Python object; use recv_object"):
                world.recv(0)
            assert world.recv_object(0)["n"] == n


@pytest.mark.parametrize("function", ["send", "isend"])
@pytest.mark.parametrize(
    ("x", "dest", "tag", "error", "told"),
    [
        (1, 99, 0, ValueError, "dest must be a rank"),
        (1, -5, 0, ValueError, "dest must be a rank"),
        (1, -1, 0, ValueError, "dest must be a rank"),  # MPI_PROC_NULL of one MPI or the other: None is no one
        (1, -2, 0, ValueError, "dest must be a rank"),
        (1, 1.5, 0, TypeError, "dest must be an integer"),
        (1, 0, -1, ValueError, "tag must lie between 0 and"),
        (1, 0, 32768, ValueError, "tag must lie between 0 and"),
        (1, 0, "x", TypeError, "tag must be an integer"),
        ({}, 0, 0, TypeError, "send_object"),
        ("text", 0, 0, TypeError, "object"),
        (None, 0, 0, TypeError, "send_object"),
    ],
)
def test_wrong_sends(world, function, x, dest, tag, error, told):
    with all_raise(error, f"{function}: .*{told}"):
        getattr(world, function)(x, dest, tag=tag)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("function", ["recv", "irecv"])
@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"source": 99}, ValueError, "source must be a rank"),
        ({"source": "x"}, TypeError, "source must be an integer"),
        ({"source": 0, "tag": 40000}, ValueError, "tag must lie between 0 and"),
        ({"out": [1, 2]}, TypeError, "out must be a NumPy array"),
        ({"out": laid_out(np.zeros(2), "read-only")}, ValueError, "out must be writable"),
    ],
)
def test_wrong_receives(world, function, arguments, error, told):
    with all_raise(error, f"{function}: .*{told}"):
        getattr(world, function)(**arguments)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(({}, 0, 0), TypeError), ((1, 99, 0), ValueError), ((1, 0, 99), ValueError)],
    ids=["object", "dest", "source"],
)
def test_wrong_sendrecv_leaves_nothing_behind(world, arguments, error):
    """A receive must not stay posted for a send that never was: it would take the next message."""
    right, left = _ring(world)
    with all_raise(error, "sendrecv: "):
        world.sendrecv(*arguments)
    with together():
        assert world.sendrecv(world.rank, right, left) == left


def test_dropped_receive_is_reported(world):
    with together():
        sub = world.dup()
        with pytest.warns(RuntimeWarning, match="irecv at .*dropped without a wait"):
            sub.irecv(0)
            gc.collect()
