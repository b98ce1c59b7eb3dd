"""Messages, requests, communicators and grids inside `@numba.njit`."""

import compiled_others as compiled
import numba
import numpy as np
import pytest
from arrays import assert_same
from parallel import all_raise, together

import dcomp as dc


@pytest.mark.parametrize("n", [2, 60_000])
def test_messages(world, n):
    p, me = world.size, world.rank
    with together():
        out = np.zeros(n)
        first, second, third, number = compiled.messages(world, np.full(n, float(me)), out)
        assert first is out
        for result in (first, second, third):
            assert_same(result, np.full(n, float((me - 1) % p)))
        assert number == (me - 1) % p


def test_probe(world):
    with together():
        envelope, out = compiled.a_message_to_itself(world, np.arange(3))
        assert envelope == dc.Envelope(world.rank, 5)
        assert_same(out, np.arange(3))


def test_requests(comm):
    with together():
        x = np.arange(3.0) + comm.rank
        result, (total, most, on_root, nothing) = compiled.requests(comm, x)
        assert_same(result, comm.allreduce(x))
        assert_same(total, result)
        assert_same(most, np.arange(3.0) + comm.size - 1)
        assert nothing is None
        assert (on_root is None) == (comm.rank > 0)
        assert on_root is None or np.array_equal(on_root, total)


def test_communicators(world):
    p, me = world.size, world.rank
    with together():
        total, only, place, joined, on_node, is_leader, part = compiled.communicators(world)
        alike = [rank for rank in range(p) if rank % 2 == me % 2]
        assert (total, only, place) == (p, int(me == 0), alike[::-1].index(me))
        assert joined.tolist() == alike[::-1]
        assert on_node == world.node.size
        assert is_leader == (world.leaders is not None)
        assert_same(part, np.array_split(np.arange(11), p)[me])


def test_a_grid(world):
    p, me = world.size, world.rank
    before, after = (me - 1) % p, (me + 1) % p
    with together():
        told, x, y = compiled.grid(world, 3)
        assert told == (me, p, True, before, after, 3 * me)
        assert_same(x[:, 1], np.array([before, me, me, me, after], float))
        assert_same(y, 10 * x)


def test_ghost_layers_in_two_parts(world):
    me, p = world.rank, world.size
    with together(), world.cart(0, True) as cart:
        x = np.zeros((4, 3))
        assert compiled.in_two_parts(cart, x) == p * (p - 1) // 2
        assert (x[0] == (me - 1) % p + 2).all()
        assert (x[-1] == (me + 1) % p + 2).all()


def test_a_grid_from_python(world):
    p, me = world.size, world.rank
    with together(), world.cart((p, 1)) as cart:
        x = np.full((3, 3), float(me))
        assert compiled.on_a_grid(cart, x) == ((me, 0), p * (p - 1) // 2)
        assert x[0, 1] == max(me - 1, 0)
        assert x[2, 1] == min(me + 1, p - 1)


def test_nothing_is_left_of_communicators(world):
    """Who counts references in compiled code gives them back."""
    import sys

    with together():
        compiled.requests(world, np.ones(2))
        before = sys.getrefcount(world)
        for _ in range(50):
            compiled.requests(world, np.ones(2))
        assert sys.getrefcount(world) - before < 10


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda comm: comm.recv(0), "recv: out must be given in compiled code"),
        (lambda comm: comm.irecv(0), "irecv: out must be given in compiled code"),
        (lambda comm: comm.iallreduce("one"), "iallreduce: x must be an array of numbers"),
        (lambda comm: comm.send(1.0, 0.5), "send: dest must be an integer; got float64"),
        (lambda comm: comm.send(1.0, 0, tag=True), "send: tag must be an integer; got"),
        (lambda comm: comm.split(0.5), "split: color must be an integer; got float64"),
        (lambda comm: comm.cart([2, 2]), "cart: dims must be an integer or a tuple in compiled code; got"),
        (
            lambda comm: dc.wait_all([comm.ibarrier()]),
            "wait_all: requests must be a tuple of requests in compiled code",
        ),
        (lambda comm: comm.block(2.5), "block: n must be an integer; got float64"),
    ],
)
def test_what_cannot_be_compiled(world, call, told):
    with together():
        with pytest.raises(TypeError, match=told):
            numba.njit(call)(world)


def test_errors_come_out_of_wait(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with all_raise(dc.ShapeMismatchError, "iallreduce: shape must fit together"):
        compiled.requests(world, np.ones(2 + min(world.rank, 1)))


@pytest.mark.parametrize("n", [3, 60_000])
def test_plans_of_python(world, n):
    p, turns = world.size, 6
    with together():
        for out in (None, np.empty(n), np.empty(2 * n)[::2]):
            x = np.empty(n)
            plan = world.allreduce_init(x, out=out)
            assert compiled.play(plan, x, turns) == 2 * p * sum(range(turns))
            assert out is None or np.array_equal(out, np.full(n, p * (turns - 1.0)))
            plan.free()
    with all_raise(dc.UsageError, "allreduce_init: the plan has been freed"):
        compiled.play(plan, x, 1)


@pytest.mark.parametrize("n", [3, 60_000])
def test_plans(world, n):
    p, me, turns = world.size, world.rank, 5
    with together():
        total = compiled.plans(world, np.empty(n), turns)
        ranks, of_turns = sum(range(p)), sum(range(turns))
        expected = turns * ranks + p * of_turns + of_turns
        assert total == expected + (of_turns + turns * (p - 1) if me == 0 else 0)


def test_a_plan_takes_no_arguments(world):
    @numba.njit
    def function(plan):
        return plan(1)

    with all_raise((TypeError, numba.TypingError), "takes no arguments"):
        function(world.barrier_init())


def test_types_of_plans(world):
    with together():
        x = np.zeros((2, 3), "f4")
        plans = (
            (world.allreduce_init(x), numba.types.float32[:, ::1]),
            (world.allreduce_init(x, out=np.zeros((2, 3), "f4", order="F")), numba.types.float32[::1, :]),
            (world.allreduce_init(2.5), numba.types.float64),
            (world.barrier_init(), numba.types.none),
            (world.reduce_init(x), numba.types.float32[:, ::1] if world.rank == 0 else numba.types.none),
        )
        for plan, result in plans:
            assert numba.typeof(plan).result == result
