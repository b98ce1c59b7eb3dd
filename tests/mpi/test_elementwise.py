"""reduce, allreduce, scan and exscan against NumPy's reduction of the arrays of all ranks.

What one of them has of its own is in its own file.
"""

import numpy as np
import oracle
import pytest
from arrays import LAYOUTS, values
from cases import SUMMABLE, case_for, draws
from hypothesis import given
from oracle import FORMS, ROWS, Case, check, check_plan, seed_of

import dcomp as dc
from dcomp._table import Shape

pytestmark = pytest.mark.parametrize("name", [row.name for row in ROWS.values() if row.shape is Shape.ELEMENTWISE])


def _sum(name: str, comm: dc.Communicator, shape: tuple[int, ...], dtype: object, seed: int = 1, **options) -> Case:
    return oracle.reduction(name, [values((seed, rank), shape, dtype) for rank in range(comm.size)], **options)


@given(d=draws(SUMMABLE, least_ndim=0))
def test_any_array(world, name, d):
    check(world, case_for(name, world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, name, form):
    options = {"root": comm.size - 1} if ROWS[name].rooted else {}
    check(comm, _sum(name, comm, (3, 2), "f8", seed_of(comm, 1), **options), form)


def test_every_dtype(world, name):
    for i, dtype in enumerate(SUMMABLE):
        check(world, _sum(name, world, (2, 3), dtype, i))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["f8", "i2", "?", "m8[s]", ">f4", "D"])
def test_scalars(world, name, form, dtype):
    xs = [values((1, rank), (), dtype)[()] for rank in range(world.size)]
    check(world, oracle.reduction(name, xs), form)


def test_zero_d_arrays_stay_arrays(world, name):
    check(world, oracle.reduction(name, [np.array(3 * rank) for rank in range(world.size)]))


def test_empty(world, name):
    check(world, oracle.reduction(name, [np.empty((0, 3))] * world.size))
    check(world, oracle.reduction(name, [np.empty((2, 0), ">i2")] * world.size), out="C")


@pytest.mark.parametrize("out", LAYOUTS[:4])
@pytest.mark.parametrize("dtype", ["i4", ">f8"])
def test_out_of_every_layout(world, name, out, dtype):
    check(world, _sum(name, world, (2, 3, 2), dtype), layout="Fortran", out=out)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "reversed"])
@pytest.mark.parametrize("dtype", ["i8", ">f8", "f2", "?"])
@pytest.mark.parametrize("form", FORMS)
def test_in_place(world, name, layout, dtype, form):
    check(world, _sum(name, world, (3, 2), dtype), form, layout=layout, out="in place")


def test_large(world, name):
    case = _sum(name, world, (50_000,), "f8")
    for form in FORMS:
        check(world, case, form)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("out", [None, "Fortran"])
@pytest.mark.parametrize("dtype", ["f4", ">i4", "f2"])
def test_plan_combines_what_is_now_in_x(world, name, layout, out, dtype):
    first, second = (_sum(name, world, (3, 2), dtype, seed) for seed in range(2))
    check_plan(world, first, second, layout=layout, out=out)


def test_product(world, name):
    """Complex products differ in the order of operands only by rounding; products of units are exact."""
    units = np.array([1, 1j, -1, -1j])
    xs = [np.roll(units, rank) for rank in range(world.size)]
    check(world, oracle.reduction(name, xs, dc.PROD, identity=1))
