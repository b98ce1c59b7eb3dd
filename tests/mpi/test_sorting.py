"""sort, argsort and unique against NumPy on the whole array."""

import numpy as np
import pytest
from arrays import LAYOUTS, OFFSETS, PADDED, PLAIN, assert_same, laid_out, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import cut, seed_of
from parallel import all_raise, together

import dcomp as dc

pytestmark = pytest.mark.whole  # its results must not depend on the number of ranks

SMALL = np.dtype([("n", [("a", ">f4"), ("b", "?")]), ("c", "i2", (2,))])
ORDERED = [*PLAIN, ">i2", ">f8", ">c8", ">M8[s]", PADDED, OFFSETS, SMALL]
KINDS = ["random", "equal", "two", "presorted", "reversed", "few", "some NaN"]


def numbers(kind: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return {
        "random": lambda: x,
        "equal": lambda: np.ones(n),
        "two": lambda: rng.choice([-0.0, 0.0], n),
        "presorted": lambda: np.sort(x),
        "reversed": lambda: np.sort(x)[::-1],
        "few": lambda: np.round(x),
        "some NaN": lambda: np.where(rng.random(n) < 0.3, rng.choice([np.nan, -np.nan, np.inf, -np.inf, 0], n), x),
    }[kind]()


def lengths(comm, n: int, seed: int = 0) -> list[int]:
    """Uneven blocks, some of them empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, n + 1, comm.size - 1))
    return np.diff([0, *cuts, n]).tolist()


def mine(comm, x: np.ndarray, seed: int = 0) -> np.ndarray:
    return cut(x, lengths(comm, len(x), seed), 0)[comm.rank]


def same_bits(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    assert result.flags.c_contiguous
    assert result.shape == expected.shape
    assert result.tobytes() == np.ascontiguousarray(expected).tobytes()


def check(comm, x: np.ndarray, seed: int = 0) -> None:
    """All three functions, on uneven blocks of x."""
    block = mine(comm, x, seed)
    with together():
        assert_same(dc.sort(block, comm=comm), np.sort(x)[comm.block(len(x))])
    with together():
        assert_same(dc.argsort(block, comm=comm), np.argsort(x, kind="stable")[comm.block(len(x))])
    found, counts = np.unique(x, return_counts=True)
    with together():
        mine_found, mine_counts = dc.unique(block, return_counts=True, comm=comm)
        assert_same(mine_found, found[comm.block(len(found))])
        assert_same(mine_counts, counts[comm.block(len(found))])


@pytest.fixture
def by_exchange(monkeypatch):
    """Also few elements are exchanged, as many are, and sorted by NumPy on every other rank."""
    monkeypatch.setattr("dcomp._sorting._FEW", -1)
    monkeypatch.setattr("dcomp._statistics._FEW", -1)
    monkeypatch.setattr("dcomp._keys._WORTH", 1)
    monkeypatch.setattr("dcomp._keys._seconds_to_sort", lambda dtype: (1.0, 100.0 * (dc.rank % 2)))


@pytest.mark.usefixtures("by_exchange")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(
    x=st.lists(st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 5e-324, 1e308]) | st.floats(), max_size=40),
    seed=st.integers(0, 99),
)
def test_any_numbers(world, x, seed):
    check(world, np.array(x, float), seed)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(world, kind):
    for n in (0, 1, 50):
        check(world, numbers(kind, n))


@pytest.mark.usefixtures("by_exchange")
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data_that_are_exchanged(world, kind):
    for n in (0, world.size, 3000):
        check(world, numbers(kind, n), n)


@pytest.mark.usefixtures("by_exchange")
def test_every_communicator(comm):
    for kind in ("random", "few"):
        check(comm, numbers(kind, 200, seed_of(comm, 1)), seed_of(comm, 2))


@pytest.mark.usefixtures("by_exchange")
@pytest.mark.parametrize("dtype", ORDERED, ids=str)
def test_every_dtype(world, dtype):
    x = values(3, (60,), dtype)
    x = np.concatenate([x, x[:10]])  # some twice
    if x.dtype.kind in "fc":
        x[::7] = np.nan
    if x.dtype.kind == "c":
        x.imag[3::7] = np.nan
    if x.dtype.kind in "iu":
        x[:2] = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
    check(world, x)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(world, layout):
    x = values(1, (50,), "f8")
    with together():
        result = dc.sort(laid_out(mine(world, x), layout))
        assert_same(result, np.sort(x)[world.block(50)])


@pytest.mark.usefixtures("by_exchange")
@pytest.mark.parametrize("kind", ["two", "few", "some NaN"])
def test_bits_do_not_depend_on_the_ranks(world, kind):
    """One rank, alone, gets the same; that -0.0 is before 0.0, and where NaNs of other bits are, shows in bits only."""
    x = numbers(kind, 1000)
    x.view(np.uint64)[np.isnan(x)] |= np.arange(np.isnan(x).sum(), dtype=np.uint64)
    for stable in (False, True):
        alone = dc.sort(x, stable=stable, comm=dc.COMM_SELF)
        with together():
            same_bits(dc.sort(mine(world, x), stable=stable), alone[world.block(len(x))])
    with together():
        same_bits(alone, x[np.argsort(x, kind="stable")])


def test_negative_zero_comes_first(world):
    x = numbers("two", 100)
    with together():
        part = np.signbit(dc.sort(mine(world, x)))
        np.testing.assert_array_equal(part, np.sort(np.signbit(x))[::-1][world.block(100)])


@pytest.mark.usefixtures("by_exchange")
def test_records_by_key(world):
    rng = np.random.default_rng(4)
    x = np.zeros(500, [("a", ">i2"), ("b", "f4"), ("place", "i8")])
    x["a"], x["b"], x["place"] = rng.integers(0, 9, 500), rng.integers(-2, 2, 500) / 2, rng.permutation(500)
    for key in ("b", ["b"], ["b", "a"], ["place", "a", "b"]):
        with together():
            assert_same(dc.sort(mine(world, x), key=key), np.sort(x, order=key)[world.block(500)])
    order = np.lexsort([x["a"], x["b"]])
    with together():
        assert_same(dc.sort(mine(world, x), key=("b", "a"), stable=True), x[order][world.block(500)])


@pytest.mark.usefixtures("by_exchange")
@pytest.mark.parametrize("columns", [(0,), (1,), (2,), (3, 5), (2, 0)])
def test_columns(world, columns):
    x = np.round(values(2, (40, *columns), "f8"))
    with together():
        assert_same(dc.sort(mine(world, x)), np.sort(x, axis=0)[world.block(40)])
    with together():
        assert_same(dc.argsort(mine(world, x)), np.argsort(x, axis=0, kind="stable")[world.block(40)])
    with together():
        block = mine(world, x)
        assert_same(dc.sort(block, axis=-1), np.sort(block, axis=-1))
        assert_same(dc.argsort(block, axis=1), np.argsort(block, axis=1, kind="stable"))


@pytest.mark.usefixtures("by_exchange")
@pytest.mark.parametrize("columns", [1, 9])
def test_columns_of_records(world, columns):
    """Layout and byte order stay; the order is that of one column: NumPy's, but for fields that are arrays."""
    layout = {"names": ["a", "b"], "formats": [("<i2", (2,)), ">f4"], "offsets": [2, 8], "itemsize": 16}
    x = np.zeros((30, columns), np.dtype(layout))
    rng = np.random.default_rng(5)
    x["a"], x["b"] = rng.integers(-2, 300, x["a"].shape), rng.integers(0, 3, x.shape)
    numbers = [x["b"], x["a"][..., 1], x["a"][..., 0]]
    order = np.stack([np.lexsort([one[:, i] for one in numbers]) for i in range(columns)], axis=1)
    with together():
        assert_same(dc.sort(mine(world, x)), np.take_along_axis(x, order, 0)[world.block(30)])
        assert_same(dc.argsort(mine(world, x)), order[world.block(30)])
        assert_same(dc.sort(mine(world, x["b"])), np.sort(x["b"], axis=0)[world.block(30)])


def test_unique_of_any_shape(world):
    x = values(3, (30, 4), "i1")
    with together():
        found = dc.unique(mine(world, x))
        assert_same(found, np.unique(x)[world.block(len(np.unique(x)))])


def test_large(world):
    """Longer than what shared memory and its heaps treat as small."""
    x = numbers("random", 300_000)
    check(world, x)


WRONG = [
    ("sort", lambda: np.array(3.0), {}, ValueError, "x must have at least one dimension"),
    ("sort", lambda: np.array(["a"]), {}, TypeError, "x must be numeric; got strings"),
    ("argsort", lambda: np.zeros(2, "V5"), {}, TypeError, r"elements that can be ordered; got dtype \|V5"),
    ("unique", lambda: np.array([None]), {}, TypeError, "got dtype object"),
    ("sort", lambda: np.zeros(2), {"axis": 1}, ValueError, "axis"),
    ("argsort", lambda: np.zeros(2), {"axis": 0.5}, TypeError, "axis"),
    ("sort", lambda: np.zeros(2), {"axis": None}, TypeError, "axis must be an integer; got None"),
    ("sort", lambda: np.zeros(2), {"stable": np.array([1, 0])}, TypeError, "stable must be True or False"),
    ("unique", lambda: np.zeros(2), {"return_counts": "no"}, TypeError, "return_counts must be True or False"),
    ("sort", lambda: np.zeros(2), {"key": "a"}, ValueError, "key must be fields of the records"),
    ("sort", lambda: np.zeros(2, [("b", "f8")]), {"key": ["b", "c"]}, ValueError, r"key must be .* got \['b', 'c'\]"),
    ("sort", lambda: np.zeros(2, [("b", "f8")]), {"key": [], "stable": True}, ValueError, r"key must be .* got \[\]"),
    ("sort", lambda: np.zeros(2, []), {}, TypeError, "elements that can be ordered"),
    ("sort", lambda: np.zeros(2, [("b", "f8")]), {"key": 5}, ValueError, "key must be .* got 5"),
]


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(("name", "x", "options", "error", "match"), WRONG)
def test_a_mistake_of_one_rank(world, name, x, options, error, match):
    guilty = world.size - 1
    call = getattr(dc, name)
    if world.rank == guilty:
        with all_raise(error, match):
            call(x(), **options)
    else:
        with all_raise(dc.CollectiveMismatchError, match):
            call(np.zeros(2))
    with together():
        assert_same(dc.sort(np.array([1.0 - world.rank])), np.arange(2.0 - world.size, 2)[world.block(world.size)])


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("first", "other", "error", "match"),
    [
        (lambda: dc.sort(np.zeros(2)), lambda: dc.sort(np.zeros(2, "f4")), dc.CollectiveMismatchError, "dtype must be"),
        (lambda: dc.sort(np.zeros((2, 3))), lambda: dc.sort(np.zeros((2, 4))), dc.ShapeMismatchError, "shape beyond"),
        (lambda: dc.sort(np.zeros(2)), lambda: dc.sort(np.zeros(2), stable=True), dc.CollectiveMismatchError, "stable"),
        (
            lambda: dc.sort(np.zeros((2, 3))),
            lambda: dc.sort(np.zeros((2, 3)), axis=1),
            dc.CollectiveMismatchError,
            "axis",
        ),
        (lambda: dc.sort(np.zeros(2)), lambda: dc.argsort(np.zeros(2)), dc.CollectiveMismatchError, "same collective"),
        (
            lambda: dc.unique(np.zeros(2)),
            lambda: dc.unique(np.zeros(2), return_counts=True),
            dc.CollectiveMismatchError,
            "return counts must be",
        ),
    ],
)
def test_ranks_that_differ(world, first, other, error, match):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with all_raise(error, match):
        (first if world.rank == 0 else other)()
    with together():
        assert_same(dc.unique(np.zeros(2)), np.zeros(1)[world.block(1)])
