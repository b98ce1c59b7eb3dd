"""The way for 2**31 elements and more, with a small limit: every collective again."""

import numpy as np
import oracle
import pytest
from arrays import assert_same, values
from cases import SUMMABLE, case_for, draws, example_draw
from hypothesis import given
from oracle import FORMS, ROWS, check, check_plan
from parallel import together
from test_user_op import LINE, _lines, _then_of_arrays, then

import dcomp as dc
from dcomp.engine import pieces
from dcomp.engine.channel import channels

_NAMES = [name for name in ROWS if name != "barrier"]


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    """No message of more than seven elements, on all ranks alike."""
    monkeypatch.setattr(pieces, "LIMIT", 7)
    monkeypatch.setattr(pieces, "force", True)
    _forget_routes()
    yield
    _forget_routes()


def _forget_routes():
    """Routes made with another limit must not be taken."""
    for channel in channels.values():
        channel.terms.clear()


@pytest.fixture
def counted(monkeypatch):
    """How often the way was asked for and taken."""
    taken: list[int] = []
    for name in ("too_many", "too_many_to_reduce"):
        original = getattr(pieces, name)

        def asked(elements: int, original=original) -> bool:
            answer = original(elements)
            taken.append(elements) if answer else None
            return answer

        monkeypatch.setattr(pieces, name, asked)
    return taken


@pytest.mark.parametrize("name", _NAMES)
def test_is_the_way_taken(world, name, counted):
    if name == "bcast" and world.size == 1:
        pytest.skip("the one rank has the array")
    with together():
        case = case_for(name, world, example_draw(shape=(6, 6), uneven=False, seed=77))
        result = getattr(world, name)(**case.arguments[world.rank])
        assert_same(result, case.expected[world.rank])
        assert counted


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("out", [None, "C", "Fortran"])
def test_every_collective(world, name, form, uneven, out):
    counts = uneven and out is not None
    draw = example_draw(shape=(5, 4), uneven=uneven, counts=counts, out=out, root=2)
    check(world, case_for(name, world, draw), form, out=out)


@pytest.mark.parametrize("name", _NAMES)
def test_every_communicator(comm, name):
    check(comm, case_for(name, comm, example_draw(shape=(5, 4))))


@pytest.mark.parametrize("name", ["scatter", "gather", "allgather", "alltoall", "reduce_scatter"])
@pytest.mark.parametrize("axis", [1, 2])
def test_other_axes(world, name, axis):
    for other in (0, 1, 2) if name == "alltoall" else (0,):
        draw = example_draw(shape=(3, 4, 2), axis=axis, other_axis=other)
        check(world, case_for(name, world, draw), layout="Fortran", out="strided")


@pytest.mark.parametrize("name", _NAMES)
@given(d=draws(SUMMABLE))
def test_any_array(world, name, d):
    check(world, case_for(name, world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("name", ["allreduce", "scan", "exscan"])
@pytest.mark.parametrize("form", FORMS)
def test_in_place(world, name, form):
    xs = [values((1, rank), (30,), "f8") for rank in range(world.size)]
    check(world, oracle.reduction(name, xs), form, out="in place")


def test_reduce_in_place(world):
    xs = [values((1, rank), (30,), "f8") for rank in range(world.size)]
    with together():
        x = xs[world.rank].copy()
        result = world.reduce(x, out=x if world.rank == 0 else None)
        assert_same(result, sum(xs) if world.rank == 0 else None)


@pytest.mark.parametrize("name", _NAMES)
def test_plans_send_what_is_now_in_x(world, name):
    first, second = (case_for(name, world, example_draw(shape=(5, 4)), seed) for seed in range(2))
    check_plan(world, first, second)


@pytest.mark.parametrize("name", ["reduce", "allreduce", "reduce_scatter", "scan", "exscan"])
def test_noncommutative_records(world, name):
    xs = [_lines(rank, 5 * world.size + 3) for rank in range(world.size)]
    check(world, oracle.reduction(name, xs, then, identity=np.array((1, 0), LINE), twin=_then_of_arrays))


@pytest.mark.parametrize("n", [3000, 20_000])
def test_messages(world, n):
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    with together():
        request = world.isend(values(world.rank, (n,), "u1"), right)
        assert_same(world.recv(left), values(left, (n,), "u1"))
        request.wait()
        received = world.exchange({right: values(world.rank, (n,), "u1")})
        assert_same(received[left], values(left, (n,), "u1"))


def test_objects(world):
    with together():
        things = world.allgather_object(["x" * 100, world.rank])
        assert things == [["x" * 100, rank] for rank in range(world.size)]


def test_several_in_flight(world):
    """Pieces of one call must not be taken for those of another."""
    with together():
        requests = []
        for i in range(4):
            requests.append(world.iallgather(np.full(20 + world.rank, i)))
            requests.append(world.ialltoall(np.full(20 * world.size, -i)))
        for i, (gathered, exchanged) in enumerate(zip(requests[::2], requests[1::2], strict=True)):
            assert (exchanged.wait() == -i).all()
            assert (gathered.wait() == i).all()
    with together():
        assert dc.wait_all([]) == []
