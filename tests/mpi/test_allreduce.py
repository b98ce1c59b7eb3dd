"""allreduce against NumPy's reduction of the arrays of all ranks."""

import numpy as np
import oracle
import pytest
from arrays import LAYOUTS, values
from cases import SUMMABLE, case_for, draws
from hypothesis import given
from oracle import FORMS, check, check_plan, seed_of
from parallel import together

import dcomp as dc


@given(d=draws(SUMMABLE, least_ndim=0))
def test_any_array(world, d):
    check(world, case_for("allreduce", world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    seed = seed_of(comm, 1)
    xs = [values((seed, rank), (3, 2), "f8") for rank in range(comm.size)]
    check(comm, oracle.reduction("allreduce", xs), form)


def test_every_dtype(world):
    for i, dtype in enumerate(SUMMABLE):
        xs = [values((i, rank), (2, 3), dtype) for rank in range(world.size)]
        check(world, oracle.reduction("allreduce", xs))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["f8", "i2", "?", "m8[s]", ">f4", "D"])
def test_scalars(world, form, dtype):
    xs = [values((1, rank), (), dtype)[()] for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs), form)


def test_zero_d_arrays_stay_arrays(world):
    check(world, oracle.reduction("allreduce", [np.array(3 * rank) for rank in range(world.size)]))


def test_empty(world):
    check(world, oracle.reduction("allreduce", [np.empty((0, 3))] * world.size))
    check(world, oracle.reduction("allreduce", [np.empty((2, 0), ">i2")] * world.size), out="C")


@pytest.mark.parametrize("out", LAYOUTS[:4])
@pytest.mark.parametrize("dtype", ["i4", ">f8"])
def test_out_of_every_layout(world, out, dtype):
    xs = [values((1, rank), (2, 3, 2), dtype) for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs), layout="Fortran", out=out)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "reversed"])
@pytest.mark.parametrize("dtype", ["i8", ">f8", "f2", "?"])
@pytest.mark.parametrize("form", FORMS)
def test_in_place(world, layout, dtype, form):
    xs = [values((1, rank), (3, 2), dtype) for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs), form, layout=layout, out="in place")


def test_large(world):
    xs = [values((1, rank), (50_000,), "f8") for rank in range(world.size)]
    for form in FORMS:
        check(world, oracle.reduction("allreduce", xs), form)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("out", [None, "Fortran"])
@pytest.mark.parametrize("dtype", ["f4", ">i4", "f2"])
def test_plan_combines_what_is_now_in_x(world, layout, out, dtype):
    first, second = (
        oracle.reduction("allreduce", [values((i, rank), (3, 2), dtype) for rank in range(world.size)])
        for i in range(2)
    )
    check_plan(world, first, second, layout=layout, out=out)


def test_product(world):
    """Complex products differ in the order of operands only by rounding; products of units are exact."""
    units = np.array([1, 1j, -1, -1j])
    xs = [np.roll(units, rank) for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs, dc.PROD, identity=1))


def test_identical_on_every_rank(world):
    """Sums that do round have the same bits everywhere."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((world.size, 1001))[world.rank]
    with together():
        total = world.allreduce(x)
        everyone = world.allgather(total[None])
        assert (everyone.view("u8") == total.view("u8")).all()
        np.testing.assert_allclose(total, np.random.default_rng(1).standard_normal((world.size, 1001)).sum(0))


@pytest.mark.parametrize("x", [2, 0.5, True, 1j])
def test_python_scalars(world, x):
    with together():
        result = world.allreduce(x)
        assert isinstance(result, np.generic)
        assert result.dtype == np.asarray(x).dtype
        assert result == (np.asarray(x) if x is True else x * world.size)


def test_list(world):
    with together():
        np.testing.assert_array_equal(world.allreduce([1, 2.5]), [world.size, 2.5 * world.size])


def test_functions_speak_of_the_world(world):
    with together():
        assert dc.rank == world.rank
        assert dc.size == world.size
        assert dc.allreduce(dc.rank) == sum(range(world.size))
