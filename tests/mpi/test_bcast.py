"""bcast against the root's array."""

import numpy as np
import oracle
import pytest
from arrays import DTYPES, LAYOUTS, values
from cases import case_for, draws
from hypothesis import given
from oracle import FORMS, check, check_plan, seed_of
from parallel import together


@given(d=draws(least_ndim=0))
def test_any_array(world, d):
    check(world, case_for("bcast", world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    for i in range(3):  # the parts of a split communicator differ in size
        root = (i - 1) % comm.size
        x = values(seed_of(comm, i), (3, 4), "f8")
        check(comm, oracle.bcast(comm.size, x, root=root), form)


def test_every_dtype(world):
    for i, dtype in enumerate(DTYPES):
        root = i % world.size
        check(world, oracle.bcast(world.size, values(i, (2, 3), dtype), root=root))


@pytest.mark.parametrize("out", LAYOUTS[:4])
def test_out_of_every_layout(world, out):
    x = values(5, (4, 3), "i4")
    check(world, oracle.bcast(world.size, x, root=world.size - 1), layout="Fortran", out=out)


@pytest.mark.parametrize("dtype", ["f8", ">i4", "?", "M8[s]", "g"])
@pytest.mark.parametrize("form", FORMS)
def test_scalar_comes_out_as_a_scalar(world, dtype, form):
    check(world, oracle.bcast(world.size, values(1, (), dtype)[()]), form)


@pytest.mark.parametrize("x", [3, 2.5, True, 1j])
def test_python_scalar(world, x):
    with together():
        result = world.bcast(x if world.rank == 0 else None)
        assert isinstance(result, np.generic)
        assert result == x
        assert result.dtype == np.asarray(x).dtype


def test_zero_d_array_stays_an_array(world):
    check(world, oracle.bcast(world.size, np.array(7)))


def test_list(world):
    with together():
        result = world.bcast([[1, 2], [3, 4]] if world.rank == 0 else None)
        np.testing.assert_array_equal(result, [[1, 2], [3, 4]])


def test_many_dimensions(world):
    for ndim in (5, 6, 9):
        check(world, oracle.bcast(world.size, values(1, (1, 2) * (ndim // 2) + (3,) * (ndim % 2), "i2")))


def test_root_gets_its_own_array_back(world):
    x = np.arange(6.0)
    with together():
        result = world.bcast(x if world.rank == 0 else None)
        assert (result is x) == (world.rank == 0)


def test_root_passes_out_that_is_x(world):
    with together():
        x = np.arange(6.0) if world.rank == 0 else np.zeros(6)
        result = world.bcast(x, out=x) if world.rank == 0 else world.bcast(out=x)
        assert result is x
        np.testing.assert_array_equal(x, np.arange(6.0))


@pytest.mark.usefixtures("needs_checks")
def test_out_on_some_ranks(world):
    """Ranks need not all pass an out."""
    with together():
        x = np.arange(6) if world.rank == 0 else None
        out = np.zeros(6, int) if world.rank % 2 else None
        result = world.bcast(x, out=out)
        np.testing.assert_array_equal(result, np.arange(6))
        assert out is None or result is out


def test_large(world):
    x = values(3, (200_000,), "f8")
    for form in FORMS:
        check(world, oracle.bcast(world.size, x, root=world.size - 1), form)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("out", [None, "C", "Fortran"])
def test_plan_sends_what_is_now_in_x(world, layout, out):
    first, second = (oracle.bcast(world.size, values(i, (3, 2), "f4")) for i in range(2))
    check_plan(world, first, second, layout=layout, out=out)


class _Subclass(np.ndarray):
    """An array with a class of its own."""


def test_subclass_of_ndarray(world):
    """Values are taken; the class is not."""
    with together():
        x = np.arange(3.0).view(_Subclass) if world.rank == 0 else None
        result = world.bcast(x)
        np.testing.assert_array_equal(np.asarray(result), np.arange(3.0))
        assert world.rank == 0 or type(result) is np.ndarray
