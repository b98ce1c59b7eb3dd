"""The predefined reductions, for every dtype they take, against NumPy's functions."""

import numpy as np
import oracle
import pytest
from arrays import DTYPES, factors, values
from oracle import TWINS, check
from parallel import together

import dcomp as dc

_KINDS = {
    "SUM": "biufcm",
    "PROD": "biufc",
    "MIN": "biufmM",
    "MAX": "biufmM",
    "LAND": "biufc",
    "LOR": "biufc",
    "LXOR": "biufc",
    "BAND": "biu",
    "BOR": "biu",
    "BXOR": "biu",
}


def _data(name: str, seed: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if name == "PROD":
        return factors(seed, shape, dtype)
    x = values(seed, shape, dtype)
    if name[0] == "L":  # zeros must be about as frequent as others
        x[np.random.default_rng(seed).random(shape) < 0.4] = 0
    return x


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("collective", ["allreduce", "scan", "reduce_scatter"])
def test_every_dtype(world, name, collective):
    for dtype in DTYPES:
        if dtype.kind in _KINDS[name]:
            n = 3 * world.size
            xs = [_data(name, (5, rank), (n,), dtype) for rank in range(world.size)]
            check(world, oracle.reduction(collective, xs, getattr(dc, name)))


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("name", TWINS)
def test_other_dtypes_are_refused(world, name):
    for dtype in DTYPES:
        if dtype.kind not in _KINDS[name]:
            with together():
                with pytest.raises(TypeError, match=rf"allreduce: op {name} .*") as caught:
                    world.allreduce(np.zeros(2, dtype), getattr(dc, name))
                assert str(dtype) in str(caught.value) or dtype.name in str(caught.value)


@pytest.mark.parametrize("name", ["MIN", "MAX"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f8", "M8[s]", "m8[ns]"])
def test_nan_spreads(world, name, dtype):
    """As in NumPy's minimum and maximum, from whichever rank it comes."""
    nan = "NaT" if dtype[0] in "mM" else np.nan
    xs = []
    for rank in range(world.size):
        x = np.arange(rank, rank + world.size + 1).astype(dtype)
        x[rank] = nan
        xs.append(x)
    for collective in ("allreduce", "scan"):
        check(world, oracle.reduction(collective, xs, getattr(dc, name)))


def test_infinities_and_zeros(world):
    x = np.array([np.inf, -np.inf, 0.0, -0.0]) * (1 if world.rank % 2 else -1)
    every = [np.array([np.inf, -np.inf, 0.0, -0.0]) * (1 if rank % 2 else -1) for rank in range(world.size)]
    with together():
        np.testing.assert_array_equal(world.allreduce(x, dc.MIN), np.min(every, 0))
        np.testing.assert_array_equal(world.allreduce(x, dc.MAX), np.max(every, 0))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "i8", ">i2"])
def test_integers_wrap(world, dtype):
    xs = [np.full(3, np.iinfo(dtype).max - rank, dtype) for rank in range(world.size)]
    for op in (dc.SUM, dc.PROD):
        check(world, oracle.reduction("allreduce", xs, op))


def _best(name: str, records: list[tuple]) -> tuple:
    """MINLOC and MAXLOC of (value, index) in plain Python: NaN first, then the value, then the lower index."""

    def place(record: tuple) -> tuple:
        value, index = record
        is_nan = value != value
        order = 0 if is_nan else (value if name == "MINLOC" else -value)
        return (not is_nan, order, index)

    return min(records, key=place)


@pytest.mark.parametrize("name", ["MINLOC", "MAXLOC"])
@pytest.mark.parametrize("value", ["f8", "f4", "i2", "f2", ">f8"])
def test_value_with_place(world, name, value):
    dtype = np.dtype([("value", value), ("where", "i4")])
    xs = []
    for rank in range(world.size):
        x = np.zeros(20, dtype)
        x["value"] = np.random.default_rng((1, rank)).integers(-3, 3, 20)
        x["where"] = 100 - rank
        if dtype["value"].kind == "f":
            x["value"][rank::7] = np.nan
        xs.append(x)
    expected = np.array([_best(name, [x[i].item() for x in xs]) for i in range(20)], dtype)
    with together():
        result = world.allreduce(xs[world.rank], getattr(dc, name))
        assert result.dtype == dtype
        np.testing.assert_array_equal(result["value"], expected["value"])
        np.testing.assert_array_equal(result["where"], expected["where"])


def test_place_of_the_least(world):
    """The usual use: one record per rank, with padding."""
    record = np.array((abs(world.rank - 1), world.rank), np.dtype([("value", "f8"), ("rank", "i4")], align=True))
    with together():
        value, rank = world.allreduce(record, dc.MINLOC)[()]
        assert (value, rank) == ((0, 1) if world.size > 1 else (1, 0))


@pytest.mark.parametrize("name", ["MINLOC", "MAXLOC"])
def test_exscan_of_places_starts_with_the_identity(world, name):
    x = np.array([(2.5, world.rank)], [("value", "f8"), ("where", "i4")])
    with together():
        (result,) = world.exscan(x, getattr(dc, name))
        if world.rank == 0:
            assert result["value"] == (np.inf if name == "MINLOC" else -np.inf)
        else:
            assert result.item() == (2.5, 0)


@pytest.mark.parametrize("dtype", ["f8", "i4", [("a", "f8"), ("b", "f8")], [("a", "i4"), ("b", "i4"), ("c", "i4")]])
def test_places_are_records_of_two(world, dtype):
    with together(), pytest.raises(TypeError, match=r"MINLOC.*records of two fields"):
        world.allreduce(np.zeros(2, dtype), dc.MINLOC)


def test_complex_sum_of_swapped_bytes(world):
    xs = [np.array([1 + 2j, rank], ">c16") for rank in range(world.size)]
    check(world, oracle.reduction("reduce_scatter", [np.tile(x, world.size) for x in xs]))
