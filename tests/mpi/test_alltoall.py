"""alltoall against cutting and concatenating the arrays of all ranks."""

import numpy as np
import oracle
import pytest
from arrays import DTYPES, LAYOUTS, assert_same, values
from cases import case_for, draws
from hypothesis import given, settings
from oracle import FORMS, check, check_plan, seed_of
from parallel import together


@settings(max_examples=40)
@given(d=draws())
def test_any_array(world, d):
    check(world, case_for("alltoall", world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    seed = seed_of(comm, 1)
    xs = [values((seed, rank), (2 * comm.size, 2), "f8") for rank in range(comm.size)]
    check(comm, oracle.alltoall(xs), form)


def test_every_dtype(world):
    for i, dtype in enumerate(DTYPES):
        xs = [values((i, rank), (world.size + 1, 2), dtype) for rank in range(world.size)]
        check(world, oracle.alltoall(xs))


def test_every_dtype_along_two_axes(world):
    for i, dtype in enumerate(DTYPES):
        xs = [values((i, rank), (world.size + 1, 2), dtype) for rank in range(world.size)]
        check(world, oracle.alltoall(xs, split_axis=0, concat_axis=1))


@pytest.mark.parametrize("split_axis", [0, 1, 2])
@pytest.mark.parametrize("concat_axis", [0, 1, 2])
@pytest.mark.parametrize("out", [None, *LAYOUTS[:3]])
def test_all_pairs_of_axes(world, split_axis, concat_axis, out):
    xs = [values((1, rank), (world.size, 2 * world.size, world.size + 1), "i4") for rank in range(world.size)]
    case = oracle.alltoall(xs, split_axis=split_axis, concat_axis=concat_axis)
    check(world, case, layout="Fortran", out=out)


def test_transposes_a_distributed_matrix(world):
    """Rows on each rank, then columns on each rank, and back."""
    whole = values(3, (5, 7), "f8")
    with together():
        rows = whole[world.block(5)]
        columns = world.alltoall(rows, split_axis=1, concat_axis=0)
        np.testing.assert_array_equal(columns, whole[:, world.block(7)])
        np.testing.assert_array_equal(world.alltoall(columns, split_axis=0, concat_axis=1), rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tell_recv", [True, False])
def test_counts(world, form, tell_recv):
    table = [[(2 * source + 3 * dest) % 5 for dest in range(world.size)] for source in range(world.size)]
    xs = [values((1, rank), (sum(row), 2), "f4") for rank, row in enumerate(table)]
    check(world, oracle.alltoall(xs, send_counts=table, tell_recv=tell_recv), form)
    if tell_recv:
        check(world, oracle.alltoall(xs, send_counts=table, tell_recv=tell_recv), form, out="strided")


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("counts", [True, False])
def test_out_on_some_ranks(world, counts):
    table = [oracle.even(source + dest_shift, world.size) for source, dest_shift in enumerate([2] * world.size)]
    xs = [values((1, rank), (sum(row),), "i4") for rank, row in enumerate(table)]
    case = oracle.alltoall(xs, send_counts=table if counts else None)
    with together():
        expected = case.expected[world.rank]
        out = np.zeros_like(expected) if world.rank % 2 else None
        result = world.alltoall(**case.arguments[world.rank], out=out)
        np.testing.assert_array_equal(result, expected)
        assert out is None or result is out


def test_nothing_to_send(world):
    check(world, oracle.alltoall([np.empty((0, 3))] * world.size))
    check(world, oracle.alltoall([np.empty((4, 0), "i2")] * world.size, split_axis=0, concat_axis=1))
    one = [np.arange(4) if rank == 0 else np.empty(0, int) for rank in range(world.size)]
    check(world, oracle.alltoall(one))


def test_large(world):
    xs = [values((1, rank), (30_000 + rank,), "f8") for rank in range(world.size)]
    for form in FORMS:
        check(world, oracle.alltoall(xs), form)


def test_in_place(world):
    """out is x: what is received is the size of what is sent."""
    xs = [values((1, rank), (2 * world.size,), "f8") for rank in range(world.size)]
    check(world, oracle.alltoall(xs), out="in place")


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("concat_axis", [0, 1])
@pytest.mark.parametrize("out", [None, "Fortran"])
def test_plan_sends_what_is_now_in_x(world, layout, concat_axis, out):
    first, second = (
        oracle.alltoall(
            [values((i, rank), (world.size, 2), "f4") for rank in range(world.size)], concat_axis=concat_axis
        )
        for i in range(2)
    )
    check_plan(world, first, second, layout=layout, out=out)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("needs_checks")  # else blocks that differ need counts
def test_in_place_where_blocks_differ(comm, form):
    """On the ranks that receive as much as they send, and on no others: MPI_IN_PLACE would not do."""
    lengths = [[11, 9, 7, 10][rank % 4] + comm.size for rank in range(comm.size)]
    xs = [values((seed_of(comm, 8), rank), (n,), "i8") for rank, n in enumerate(lengths)]
    case = oracle.alltoall(xs)
    x, expected = xs[comm.rank], case.expected[comm.rank]
    with together():
        out = x if expected.shape == x.shape else np.empty_like(expected)
        assert_same(oracle.invoke(comm, "alltoall", form, {"x": x, "out": out}), expected)
