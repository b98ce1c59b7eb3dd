"""histogram, quantile and median against NumPy on the whole array."""

import numpy as np
import pytest
from arrays import assert_same, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parallel import all_raise, together
from test_sorting import KINDS, by_exchange, mine, numbers  # noqa: F401

import dcomp as dc

DTYPES = ["i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", ">f8", ">i4"]
METHODS = [
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
]  # fmt: skip


def check(comm, x: np.ndarray, q, method: str = "linear") -> None:
    with together(), np.errstate(invalid="ignore", over="ignore"):
        assert_same(dc.quantile(mine(comm, x), q, method=method, comm=comm), np.quantile(x, q, method=method))


@pytest.mark.usefixtures("by_exchange")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(
    x=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    q=st.lists(st.floats(0, 1), max_size=3),
    method=st.sampled_from(METHODS),
)
def test_any_numbers(world, x, q, method):
    check(world, np.array(x), np.array(q), method)
    with together(), np.errstate(over="ignore"):
        assert_same(dc.median(mine(world, np.array(x))), np.median(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(world, dtype):
    for n in (1, 500):
        x = values(n, (n,), dtype)
        for q in (0.3, [0.1, 0.5, 0.97], np.float64(0.25), [[0], [1]]):
            check(world, x, q)
        with together():
            assert_same(dc.median(mine(world, x)), np.median(x))


@pytest.mark.parametrize("method", METHODS)
def test_every_method(world, method):
    for dtype in ("i4", "f4"):
        x = values(5, (24,), dtype)
        for q in (0.3, np.linspace(0, 1, 13), [0, 1]):
            check(world, x, q, method)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(world, kind):
    for n in (51, 30_000):
        check(world, numbers(kind, n), [0.0, 0.1, 0.5, 0.999, 1.0])
        with together():
            assert_same(dc.median(mine(world, numbers(kind, n))), np.median(numbers(kind, n)))


def test_every_communicator(comm):
    check(comm, numbers("random", 20_000), [0.1, 0.5])
    with together():
        for result, expected in zip(
            dc.histogram(mine(comm, numbers("few", 300)), comm=comm), np.histogram(numbers("few", 300))
        ):
            assert_same(result, expected)


@pytest.mark.parametrize("outlier", [1e300, -1e-300, np.inf])
def test_a_heap_of_close_numbers_and_one_far_away(world, outlier):
    """The leading bits of the keys tell all but one number nothing; there are more than are sorted."""
    x = 1 + np.random.default_rng(6).random(30_000) * 1e-7
    x[77] = outlier
    check(world, x, [0.01, 0.5, 0.51])


def test_unsigned_fractions(world):
    x = numbers("random", 9)
    with together():
        for method in METHODS:
            found = dc.quantile(mine(world, x), np.array([1, 0], "u1"), method=method)
            np.testing.assert_array_equal(found, np.quantile(x, [1.0, 0.0], method=method))


def test_bool(world):
    x = np.arange(10) < 5
    with together():
        assert_same(dc.median(mine(world, x)), np.float64(0.5))


@pytest.mark.parametrize("dtype", ["?", *DTYPES])
def test_histogram_of_every_dtype(world, dtype):
    x = values(7, (400,), dtype)
    numpy_x = x.view(np.uint8) if dtype == "?" else x
    for bins, limits in ((10, None), (1, None), (7, (-3, 5)), (5, (2.5, 2.5)), ([-5, 0, 0.5, 100], None)):
        counts, edges = np.histogram(numpy_x, bins, limits)
        with together():
            mine_counts, mine_edges = dc.histogram(mine(world, x), bins, limits)
            assert_same(mine_edges, edges)
            assert_same(mine_counts, counts)


@pytest.mark.parametrize("kind", KINDS)
def test_histogram_of_kinds_of_data(world, kind):
    for n in (0, 1, 3000):
        x = numbers(kind, n)
        limits = (-1, 2) if kind == "some NaN" else None
        with together():
            for result, expected in zip(dc.histogram(mine(world, x), 100, limits), np.histogram(x, 100, limits)):
                assert_same(result, expected)


def test_blocks_of_any_shape(world):
    x = values(8, (2, 3 * world.rank), "f8")
    whole = np.concatenate([values(8, (2, 3 * rank), "f8").reshape(-1) for rank in range(world.size)] + [np.zeros(2)])
    x = np.append(x, np.zeros(2)).reshape(1, -1, 1) if world.rank == 0 else x
    with together():
        assert_same(dc.median(x), np.median(whole))
        np.testing.assert_array_equal(dc.histogram(x)[0], np.histogram(whole)[0])


WRONG = [
    ("quantile", (np.zeros(2), 1.5), {}, ValueError, "q must be numbers from 0 to 1; got 1.5"),
    ("quantile", (np.zeros(2), [0.5, np.nan]), {}, ValueError, "q must be numbers from 0 to 1"),
    ("quantile", (np.zeros(2), "half"), {}, TypeError, "q must be numeric; got strings"),
    ("quantile", (np.zeros(2), [[0.5, 0.1], [0.5]]), {}, ValueError, "q must be an array"),
    ("quantile", (np.zeros(2), 0.5), {"method": ["linear"]}, ValueError, "method must be one of"),
    ("quantile", (np.zeros(2), 0.5), {"method": "best"}, ValueError, "method must be one of .*; got 'best'"),
    ("quantile", (np.zeros(2, "F"), 0.5), {}, TypeError, "integers or floats of at most 64 bits; got dtype complex64"),
    ("quantile", (np.zeros(2, "?"), 0.5), {}, TypeError, "got dtype bool"),
    ("median", (np.zeros(2, "g"),), {}, TypeError, "at most 64 bits"),
    ("median", (np.array(["a"]),), {}, TypeError, "got strings"),
    ("histogram", (np.zeros(2, "M8[s]"),), {}, TypeError, "got dtype datetime64"),
    ("histogram", (np.zeros(2), 0), {}, ValueError, "bins must be at least 1 and below .*; got 0"),
    ("histogram", (np.zeros(2), 2**50), {}, ValueError, "bins must be at least 1 and below"),
    ("histogram", (np.zeros(2), 2.5), {}, TypeError, "bins must be an integer, or edges; got 2.5"),
    ("histogram", (np.zeros(2), "auto"), {}, TypeError, "bins must be numeric; got strings"),
    ("histogram", (np.zeros(2), [2, 1]), {}, ValueError, "two edges in order"),
    ("histogram", (np.zeros(2), [[1, 2], [3]]), {}, ValueError, "bins must be an array"),
    ("histogram", (np.zeros(2), 3, (0, np.inf)), {}, ValueError, "range must be two finite numbers in order"),
    ("histogram", (np.zeros(2), 3, 5), {}, ValueError, "range must be two numbers; got 5"),
]
RIGHT = {"quantile": (np.zeros(2), 0.5), "median": (np.zeros(2),), "histogram": (np.zeros(2),)}


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(("name", "arguments", "options", "error", "match"), WRONG)
def test_a_mistake_of_one_rank(world, name, arguments, options, error, match):
    if world.rank == world.size - 1:
        with all_raise(error, match):
            getattr(dc, name)(*arguments, **options)
    else:
        with all_raise(dc.CollectiveMismatchError, match):
            getattr(dc, name)(*RIGHT[name])
    with together():
        assert dc.median(np.array([world.rank])) == (world.size - 1) / 2


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("quantile", (np.zeros(2, "f4"), 0.5), "dtype must be the same"),
        ("quantile", (np.zeros(2), 0.25), "q must be the same"),
        ("quantile", (np.zeros(2), np.float64(0.5)), "q must be the same.* 0.5 of float64"),
        ("quantile", (np.zeros(2), np.linspace(0, 1, 100)), "q must be the same"),
        ("median", (np.zeros(2, "i4"),), "dtype must be the same"),
        ("histogram", (np.zeros(2), 11), "bins must be the same"),
        ("histogram", (np.zeros(2), 10, (0, 1)), "histogram"),
    ],
)
def test_ranks_that_differ(world, name, arguments, match):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with all_raise(dc.CollectiveMismatchError, match):
        getattr(dc, name)(*(RIGHT[name] if world.rank == 0 else arguments))
    with together():
        assert dc.median(np.array([world.rank])) == (world.size - 1) / 2


def test_no_element_at_all(world):
    with all_raise(ValueError, "x must have at least one element"):
        dc.quantile(np.zeros(0), 0.5)
    with all_raise(ValueError, "x must have at least one element"):
        dc.median(np.zeros((3, 0), "i4"))


def test_histogram_without_finite_ends(world):
    x = numbers("some NaN", 100)
    with all_raise(ValueError, "range must be given where not all elements are finite"):
        dc.histogram(mine(world, x))
