"""Reductions of the user's own, compiled by numba and called by MPI."""

import numpy as np
import oracle
import pytest
from arrays import factors
from oracle import FORMS, check
from parallel import all_raise, together

import dcomp as dc


def _larger_magnitude(a, b):
    return a if abs(a) >= abs(b) else b


def _then(a, b):
    """Composition of x -> a.slope * x + a.offset, first a, then b; the order matters."""
    return (b.slope * a.slope, b.slope * a.offset + b.offset)


def _shorter(a, b):
    return a if a.slope <= b.slope else b


LINE = np.dtype([("slope", "i8"), ("offset", "i8")])
larger_magnitude = dc.Op(_larger_magnitude, identity=0)
then = dc.Op(_then, commutative=False, identity=(1, 0))
shorter = dc.Op(_shorter)


def _lines(seed: object, n: int) -> np.ndarray:
    lines = np.zeros(n, LINE)
    lines["slope"] = factors((1, seed), (n,), "i8")
    lines["offset"] = np.random.default_rng((2, seed)).integers(-5, 5, n)
    return lines


def _then_of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    result = np.zeros_like(a)
    result["slope"] = b["slope"] * a["slope"]
    result["offset"] = b["slope"] * a["offset"] + b["offset"]
    return result


def _larger_of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) >= np.abs(b), a, b)


@pytest.mark.parametrize("name", ["reduce", "allreduce", "reduce_scatter", "scan", "exscan"])
@pytest.mark.parametrize("form", FORMS)
def test_floats(world, name, form):
    xs = [np.random.default_rng((3, rank)).standard_normal(2 * world.size) for rank in range(world.size)]
    check(world, oracle.reduction(name, xs, larger_magnitude, twin=_larger_of_arrays), form)


@pytest.mark.parametrize("name", ["reduce", "allreduce", "reduce_scatter", "scan", "exscan"])
def test_noncommutative_records(world, name):
    """Elements are combined in the order of the ranks, in short messages and long ones."""
    for n in (1, 7, 3000):
        xs = [_lines(rank, n + world.size) for rank in range(world.size)]
        check(world, oracle.reduction(name, xs, then, identity=np.array((1, 0), LINE), twin=_then_of_arrays))


def test_noncommutative_on_another_root(world):
    for root in range(world.size):
        xs = [_lines(rank, 5) for rank in range(world.size)]
        check(world, oracle.reduction("reduce", xs, then, twin=_then_of_arrays, root=root))


def test_swapped_bytes(world):
    xs = [np.array([rank, -3.5, -rank], ">f8") for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs, larger_magnitude, twin=_larger_of_arrays), out="strided")


def test_scalar(world):
    with together():
        assert world.allreduce(float(-world.rank), larger_magnitude) == 1 - world.size


def test_exscan_needs_an_identity(world):
    x = np.zeros(3, LINE)
    with all_raise(ValueError, r"exscan: op must have an identity.*Op\(_shorter\)"):
        world.exscan(x, shorter)
    with together():
        assert world.allreduce(1) == world.size


def test_what_numba_cannot_compile(world):
    def strange(a, b):
        return open(str(a)).read() + b

    with all_raise(TypeError, "op strange cannot be compiled for dtype float64"):
        world.allreduce(np.zeros(2), dc.Op(strange))
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
def test_same_name_other_code(world):
    """Ranks agree on the code, not on the name."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    op = dc.Op(lambda a, b: a + b) if world.rank == 0 else dc.Op(lambda a, b: a * b)
    with together():
        with pytest.raises(dc.CollectiveMismatchError, match="allreduce: op must be the same on every rank"):
            world.allreduce(np.zeros(2), op)


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("factor", [2, 3])
def test_closures_with_other_values(world, factor):
    """Functions that differ only in what they close over are different operations."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    k = factor if world.rank == 0 else 7

    def scaled(a, b):
        return (a + b) * k

    with together():
        with pytest.raises(dc.CollectiveMismatchError, match="op must be the same on every rank"):
            world.allreduce(np.zeros(2), dc.Op(scaled))


def test_already_compiled_function(world):
    numba = pytest.importorskip("numba")
    op = dc.Op(numba.njit(_larger_magnitude), identity=0)
    xs = [np.array([rank, -3.5, -rank]) for rank in range(world.size)]
    check(world, oracle.reduction("allreduce", xs, op, twin=_larger_of_arrays))
