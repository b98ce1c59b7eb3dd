"""reduce_scatter against NumPy's reduction and split."""

import numpy as np
import oracle
import pytest
from arrays import LAYOUTS, assert_same, values
from cases import SUMMABLE, case_for, draws
from hypothesis import given
from oracle import FORMS, check, check_plan, seed_of
from parallel import together

import dcomp as dc


@given(d=draws(SUMMABLE))
def test_any_array(world, d):
    check(world, case_for("reduce_scatter", world, d), d.form, layout=d.layout, out=d.out)


@pytest.mark.parametrize("form", FORMS)
def test_every_communicator(comm, form):
    seed = seed_of(comm, 1)
    for n in (2 * comm.size, 2 * comm.size + 1):
        xs = [values((seed, rank), (n, 2), "f8") for rank in range(comm.size)]
        check(comm, oracle.reduction("reduce_scatter", xs), form)


def test_every_dtype(world):
    for i, dtype in enumerate(SUMMABLE):
        xs = [values((i, rank), (world.size + i % 2, 3), dtype) for rank in range(world.size)]
        check(world, oracle.reduction("reduce_scatter", xs))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("out", [None, *LAYOUTS[:4]])
@pytest.mark.parametrize("dtype", ["i4", ">f8"])
def test_axis(world, axis, out, dtype):
    xs = [values((1, rank), (3, 4, world.size), dtype) for rank in range(world.size)]
    check(world, oracle.reduction("reduce_scatter", xs, axis=axis), layout="Fortran", out=out)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axis", [0, 1])
def test_counts(world, form, axis):
    counts = [(3 * rank + 1) % 4 for rank in range(world.size)]
    shape = (sum(counts), 2) if axis == 0 else (2, sum(counts))
    xs = [values((1, rank), shape, "i8") for rank in range(world.size)]
    check(world, oracle.reduction("reduce_scatter", xs, axis=axis, counts=counts), form)


def test_fewer_elements_than_ranks(world):
    for n in range(world.size):
        xs = [values((n, rank), (n, 2), "f4") for rank in range(world.size)]
        check(world, oracle.reduction("reduce_scatter", xs), out="C")


def test_empty_rows(world):
    check(world, oracle.reduction("reduce_scatter", [np.empty((world.size, 0))] * world.size))


def test_maximum(world):
    xs = [values((1, rank), (world.size + 1,), "i4") for rank in range(world.size)]
    check(world, oracle.reduction("reduce_scatter", xs, dc.MAX))


def test_large(world):
    xs = [values((1, rank), (50_001,), "f8") for rank in range(world.size)]
    for form in FORMS:
        check(world, oracle.reduction("reduce_scatter", xs), form)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["f4", ">i4"])
def test_plan_combines_what_is_now_in_x(world, layout, axis, dtype):
    first, second = (
        oracle.reduction(
            "reduce_scatter", [values((i, rank), (world.size, 3), dtype) for rank in range(world.size)], axis=axis
        )
        for i in range(2)
    )
    check_plan(world, first, second, layout=layout)


@pytest.mark.parametrize("owner", ["first", "last", "every"])
def test_large_blocks_into_ordinary_memory(comm, owner):
    """Each rank writes its own block, whichever memory that is in: also over x, whose other parts others still read."""
    n, size = 300_000, comm.size
    counts = {"first": [n] + [0] * (size - 1), "last": [0] * (size - 1) + [n], "every": oracle.even(n, size)}[owner]
    xs = [values((seed_of(comm, 7), rank), (n,), "f8") for rank in range(size)]
    expected = oracle.cut(oracle.combine(xs, dc.SUM), counts, 0)[comm.rank]
    with together():
        for _ in range(3):
            x = xs[comm.rank].copy()
            out = x if x.shape == expected.shape else np.empty_like(expected)
            assert comm.reduce_scatter(x, counts=counts, out=out) is out
            assert_same(out, expected)
