"""scatter against numpy.split."""

import numpy as np
import oracle
import pytest
from arrays import DTYPES, LAYOUTS, assert_same, values
from cases import case_for, draws
from hypothesis import given
from oracle import FORMS, check, check_plan, cut, seed_of
from parallel import together


@given(d=draws())
def test_any_array(world, d):
    check(world, case_for("scatter", world, d), d.form, layout=d.layout, out=d.out if d.out is None else "C")


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    for i in range(3):  # the parts of a split communicator differ in size
        root = (i - 1) % comm.size
        x = values(seed_of(comm, i), (2 * comm.size + 1, 3), "f8")
        check(comm, oracle.scatter(comm.size, x, root=root), form)


def test_every_dtype(world):
    for i, dtype in enumerate(DTYPES):
        x = values(i, (world.size + 1, 2), dtype)
        check(world, oracle.scatter(world.size, x, root=i % world.size))


@pytest.mark.parametrize("n", range(0, 18, 3))
def test_blocks_of_array_split(world, n):
    with together():
        x = np.arange(n)
        mine = world.scatter(x if world.rank == 0 else None)
        np.testing.assert_array_equal(mine, np.array_split(x, world.size)[world.rank])
        np.testing.assert_array_equal(mine, x[world.block(n)])


@pytest.mark.parametrize("out", LAYOUTS[:4])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_out_of_every_layout(world, out, axis):
    x = values(5, (2 * world.size, world.size + 1, 3), "i4")
    check(world, oracle.scatter(world.size, x, axis=axis), layout="Fortran", out=out)


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("counts", [True, False])
def test_out_on_some_ranks(world, counts):
    n = 3 * world.size + 1
    lengths = oracle.even(n, world.size)[::-1]
    with together():
        x = np.arange(n)
        blocks = cut(x, lengths, 0) if counts else np.array_split(x, world.size)
        out = np.zeros(len(blocks[world.rank]), int) if world.rank % 2 else None
        given = lengths if counts and world.rank == 0 else None
        result = world.scatter(x if world.rank == 0 else None, counts=given, out=out)
        np.testing.assert_array_equal(result, blocks[world.rank])
        assert out is None or result is out


@pytest.mark.parametrize("told", ["root", "all"])
@pytest.mark.parametrize("form", FORMS)
def test_counts(world, told, form):
    counts = [(3 * rank) % 5 for rank in range(world.size)]
    x = values(1, (sum(counts), 2), "f8")
    root = world.size - 1
    check(world, oracle.scatter(world.size, x, root=root, counts=counts, told=told), form)


def test_counts_of_numpy(world):
    counts = np.arange(world.size, dtype=np.int32)
    x = np.arange(counts.sum())
    with together():
        mine = world.scatter(x if world.rank == 0 else None, counts=counts)
        np.testing.assert_array_equal(mine, cut(x, counts, 0)[world.rank])


def test_many_dimensions_and_records(world):
    for dtype in ("i2", [("a", "i4"), ("b", "f8", (2,))]):
        x = values(2, (2, 1, 2, 1, world.size + 2, 1, 2), dtype)
        check(world, oracle.scatter(world.size, x, axis=4))
        check(world, oracle.scatter(world.size, x, axis=-3), out="C")


def test_list(world):
    with together():
        mine = world.scatter(list(range(2 * world.size)) if world.rank == 0 else None)
        np.testing.assert_array_equal(mine, [2 * world.rank, 2 * world.rank + 1])


def test_all_on_one_rank(world):
    counts = [0] * world.size
    counts[-1] = 4
    check(world, oracle.scatter(world.size, np.arange(4), counts=counts))


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("axis", [0, 1])
def test_plan_sends_what_is_now_in_x(world, layout, axis):
    shape = (world.size + 1, world.size)
    first, second = (oracle.scatter(world.size, values(i, shape, "f4"), axis=axis) for i in range(2))
    check_plan(world, first, second, layout=layout)


@pytest.mark.parametrize("form", FORMS)
def test_in_place_where_the_root_keeps_all(comm, form):
    n, root = 50, comm.size - 1
    counts = [0] * (comm.size - 1) + [n]
    case = oracle.scatter(comm.size, values(seed_of(comm, 9), (n,), "f8"), root=root, counts=counts)
    arguments, expected = case.arguments[comm.rank], case.expected[comm.rank]
    with together():
        if comm.rank == root:
            arguments["out"] = arguments["x"]
        assert_same(oracle.invoke(comm, "scatter", form, arguments), expected)
