"""allgather against numpy.concatenate."""

import numpy as np
import oracle
import pytest
from arrays import DTYPES, LAYOUTS, values
from cases import case_for, draws
from hypothesis import given
from oracle import FORMS, check, check_plan, seed_of
from parallel import together


@given(d=draws())
def test_any_array(world, d):
    check(world, case_for("allgather", world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    seed = seed_of(comm, 1)
    xs = [values((seed, rank), (rank % 3, 2), "f8") for rank in range(comm.size)]
    check(comm, oracle.allgather(xs), form)


def test_every_dtype(world):
    for i, dtype in enumerate(DTYPES):
        xs = [values((i, rank), (2, 1), dtype) for rank in range(world.size)]
        check(world, oracle.allgather(xs))


@pytest.mark.parametrize("out", LAYOUTS[:4])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("counts", [True, False])
def test_out_of_every_layout(world, out, axis, counts):
    xs = [values((1, rank), (2, 3, 2), "i4") for rank in range(world.size)]
    options = {"counts": [xs[0].shape[axis]] * world.size} if counts else {}
    check(world, oracle.allgather(xs, axis=axis, **options), layout="Fortran", out=out)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("counts", [True, False])
def test_uneven_blocks(world, form, counts):
    lengths = [(5 * rank + 2) % 7 for rank in range(world.size)]
    xs = [values((2, rank), (3, n), "i8") for rank, n in enumerate(lengths)]
    options = {"counts": lengths} if counts else {}
    check(world, oracle.allgather(xs, axis=1, **options), form)


def test_scalars_make_a_vector(world):
    for dtype in ("f8", "i2", "?", "M8[s]", ">f4"):
        xs = [values((1, rank), (), dtype)[()] for rank in range(world.size)]
        check(world, oracle.allgather(xs))


def test_zero_d_arrays_make_a_vector(world):
    check(world, oracle.allgather([np.array(3 * rank) for rank in range(world.size)]))


def test_a_scalar_is_one_element(world):
    """Some ranks pass a scalar, others a block."""
    xs = [np.arange(rank) if rank % 2 == 0 else np.array(-rank) for rank in range(world.size)]
    check(world, oracle.allgather(xs))


def test_empty_everywhere(world):
    check(world, oracle.allgather([np.empty((0, 3))] * world.size))
    check(world, oracle.allgather([np.empty((2, 0, 3), "i1")] * world.size))


def test_list(world):
    with together():
        whole = world.allgather([world.rank, -1.5])
        expected = np.ravel([[rank, -1.5] for rank in range(world.size)])
        np.testing.assert_array_equal(whole, expected)


def test_large(world):
    xs = [values((1, rank), (50_000 + rank,), "f8") for rank in range(world.size)]
    for form in FORMS:
        check(world, oracle.allgather(xs), form)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("out", [None, "Fortran"])
def test_plan_sends_what_is_now_in_x(world, layout, axis, out):
    first, second = (
        oracle.allgather([values((i, rank), (2, 2), "f4") for rank in range(world.size)], axis=axis) for i in range(2)
    )
    check_plan(world, first, second, layout=layout, out=out)


@pytest.mark.usefixtures("needs_checks")
def test_out_on_some_ranks(world):
    with together():
        x = np.arange(world.rank + 1)
        expected = np.concatenate([np.arange(rank + 1) for rank in range(world.size)])
        out = np.zeros(expected.size, int) if world.rank % 2 else None
        result = world.allgather(x, out=out)
        np.testing.assert_array_equal(result, expected)
        assert out is None or result is out
