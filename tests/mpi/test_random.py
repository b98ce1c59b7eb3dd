"""Random numbers of one global stream: what one rank alone draws, cut into blocks; in Python and compiled."""

import copy
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import compiled_random as compiled
import numba
import numpy as np
import pytest
from parallel import all_raise, together

import dcomp as dc

pytestmark = pytest.mark.whole  # its results must not depend on the number of ranks

LENGTHS = [0, 1, 2, 7, 1000, 4099]

#: What `Generator(20_061)` gives, drawn in this order.
NUMBERS = [
    [0.4286317210221089, 0.47093559616378333],
    [-0.029107208492975004, -0.6739845560883015],
    [0.07505535412556678, 0.5847824957859422],
]
INTEGERS = [194, 404, 991, 910, 543]
ORDER = [5, 3, 6, 4, 2, 1, 7, 0]
LONG_ORDER = [385138, 766901, 302378, 925514]


def pair(comm, seed=7):
    """The same stream, of all ranks and of this one alone."""
    return dc.random.Generator(seed, comm=comm), dc.random.Generator(seed, comm=dc.COMM_SELF)


def part(comm, whole):
    """This rank's block; of a grid of several axes, too."""
    return np.array_split(whole, comm.size)[comm.rank]


def same(x, whole, comm):
    expected = part(comm, whole)
    np.testing.assert_array_equal(x, expected)
    assert x.dtype == expected.dtype
    assert x.flags.c_contiguous


DRAWS = {
    "random": lambda gen, n: gen.random(n),
    "random float32": lambda gen, n: gen.random(n, dtype=np.float32),
    "normal": lambda gen, n: gen.normal(n, loc=2, scale=0.5),
    "exponential": lambda gen, n: gen.exponential(n, scale=2),
    "integers": lambda gen, n: gen.integers(-3, 10**12, n),
    "integers uint8": lambda gen, n: gen.integers(256, n=n, dtype=np.uint8),
    "integers uint64": lambda gen, n: gen.integers(0, 2**64, n, dtype=np.uint64),
    "choice": lambda gen, n: gen.choice(5, n),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_blocks_of_one_stream(comm, draw):
    gen, alone = pair(comm)
    with together():
        for n in [*LENGTHS, (5, 3), (2, 0), (3, 2, 2)]:
            same(draw(gen, n), draw(alone, n), comm)
        assert gen.state == alone.state


def test_a_grid_is_cut_as_scatter_cuts(world):
    with together(), world.cart() as cart:
        gen, alone = pair(cart)
        same(gen.random(11), alone.random(11), cart)


def test_streams_do_not_depend_on_how_they_are_drawn(world):
    gen, other = pair(world)[0], pair(world)[0]
    with together():
        whole = world.allgather(gen.random(50))
        pieces = [world.allgather(other.random(n)) for n in (0, 1, 13, 36)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
        assert gen.normal() == other.normal()


def test_these_are_the_numbers():
    """Programs rely on them: they never change."""
    gen = dc.random.Generator(20_061, comm=dc.COMM_SELF)
    with together():
        told = [gen.random(2).tolist(), gen.normal(2).tolist(), gen.exponential(2).tolist()]
        assert told == NUMBERS
        assert gen.integers(0, 1000, 5).tolist() == INTEGERS
        assert gen.permutation(8).tolist() == ORDER
        assert gen.permutation(10**6)[:4].tolist() == LONG_ORDER


def test_single_numbers_are_of_the_stream(world):
    gen, alone = pair(world)
    with together():
        drawn = [gen.random(), gen.normal(loc=1, scale=2), gen.exponential(), gen.integers(10), gen.choice(3)]
        same_ones = [
            alone.random(1), alone.normal(1, loc=1, scale=2), alone.exponential(1), alone.integers(10, n=1),
            alone.choice(3, 1),
        ]  # fmt: skip
        assert [type(one) for one in drawn] == [np.float64] * 3 + [np.int64] * 2
        assert drawn == [one[0] for one in same_ones]


def test_out(world):
    gen, alone = pair(world)
    start = world.block(9)
    count = start.stop - start.start
    with together():
        out = np.zeros(count)
        assert gen.random(9, out=out) is out
        same(out, alone.random(9), world)
        strided = np.zeros((count, 2))[:, 0]
        assert gen.normal(9, out=strided) is strided
        np.testing.assert_array_equal(strided, part(world, alone.normal(9)))
        narrow = np.zeros((count, 2), np.float32)
        gen.exponential((9, 2), dtype=np.float32, out=narrow)
        same(narrow, alone.exponential((9, 2), dtype=np.float32), world)


# Orders


@pytest.mark.parametrize("n", [0, 1, 2, 9, 70_000])
def test_permutation(comm, n):
    gen, alone = pair(comm)
    with together():
        whole = alone.permutation(n)
        np.testing.assert_array_equal(np.sort(whole), np.arange(n))
        same(gen.permutation(n), whole, comm)
        assert gen.state == alone.state


def uneven(comm, n, dtype, width=()):
    """Rows, and this rank's block of them, of a length of its own."""
    whole = np.arange(n * int(np.prod(width, initial=1))).astype(dtype).reshape(n, *width)
    cuts = [min(n, rank * (rank + 1)) for rank in range(comm.size)] + [n]
    return whole, whole[cuts[comm.rank] : cuts[comm.rank + 1]].copy(), slice(cuts[comm.rank], cuts[comm.rank + 1])


RECORD = np.dtype([("key", "i4"), ("value", "f8")], align=True)


@pytest.mark.parametrize("n", [0, 1, 3, 90, 70_001])
def test_rows_in_random_order(world, n):
    whole, block, here = uneven(world, n, "f8")
    gen, alone = pair(world)
    with together():
        expected = whole[alone.permutation(n)]
        np.testing.assert_array_equal(gen.permutation(block), expected[here])
        np.testing.assert_array_equal(block, whole[here])
        again = dc.random.Generator(7, comm=dc.COMM_SELF).permutation(whole)
        np.testing.assert_array_equal(again, expected)
        expected = whole[alone.permutation(n)]
        assert gen.shuffle(block) is None
        np.testing.assert_array_equal(block, expected[here])
        assert gen.state == alone.state


@pytest.mark.parametrize(("dtype", "width"), [("i2", (3,)), (RECORD, ()), ("c16", (2, 2)), (">f4", ())])
def test_rows_of_any_kind(world, dtype, width):
    whole, block, here = uneven(world, 40, "f8", width)
    whole, block = whole.astype(dtype), np.asfortranarray(block.astype(dtype))
    gen, alone = pair(world)
    with together():
        order = alone.permutation(40)
        moved = gen.permutation(block)
        np.testing.assert_array_equal(moved, whole[order][here])
        assert moved.dtype == whole.dtype
        gen.shuffle(block)
        np.testing.assert_array_equal(block, whole[alone.permutation(40)][here])


@pytest.mark.parametrize(("total", "n"), [(10, 4), (10, 10), (70_000, 3), (70_000, 300)])
def test_choice_without_replacement(world, total, n):
    gen, alone = pair(world)
    with together():
        whole = alone.choice(total, n, replace=False)
        assert len(set(whole.tolist())) == n
        assert 0 <= whole.min() <= whole.max() < total
        same(gen.choice(total, n, replace=False), whole, world)
        same(gen.random(3), alone.random(3), world)
        order = dc.random.Generator(7, comm=dc.COMM_SELF).permutation(total)
        np.testing.assert_array_equal(whole, order[:n])


@pytest.mark.parametrize("replace", [True, False])
def test_choice_of_rows(world, replace):
    whole, block, _ = uneven(world, 30, "i4", (2,))
    gen, alone = pair(world)
    with together():
        chosen = alone.choice(30, (5, 3), replace)
        same(gen.choice(block, (5, 3), replace), whole[chosen], world)
        assert gen.state == alone.state


# Streams


def test_seeds_and_children_have_streams_of_their_own(world):
    gens = [dc.random.Generator(seed, comm=world) for seed in (0, 1, 2**64, 2**300)]
    parent = dc.random.Generator(0, comm=world)
    first, second = parent.spawn(2)
    gens += [first, second, *first.spawn(1), *parent.spawn(1)]
    with together():
        drawn = {tuple(world.allgather(gen.integers(0, 2**62, 4)).tolist()) for gen in gens}
        assert len(drawn) == len(gens)
        again = dc.random.Generator(0, comm=dc.COMM_SELF)
        again.random(5)
        twin = again.spawn(3)[2]
        same(dc.random.Generator(0, comm=world).spawn(3)[2].random(9), twin.random(9), world)
        assert twin.state == {"seed": 0, "path": [2], "spawned": 0, "position": 9}


def test_every_rank_has_a_stream_of_its_own(world):
    mine = dc.random.Generator(7, comm=dc.COMM_SELF).spawn(world.size)[world.rank]
    with together():
        assert len(set(world.allgather(mine.random(3)[0]).tolist())) == world.size


def test_state_can_be_stored_and_set(world):
    gen, other = pair(world, 2**100)
    gen.spawn(3)
    gen.random(17)
    stored = json.loads(json.dumps(gen.state))
    with together():
        expected = world.allgather(gen.normal(20))
        other.state = stored
        np.testing.assert_array_equal(other.normal(20), expected)
        assert other.spawn(1)[0].state["path"] == [3]
        gen.state = stored
        np.testing.assert_array_equal(world.allgather(gen.normal(20)), expected)
        other.state = stored
        for twin in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other)), other):
            np.testing.assert_array_equal(twin.normal(20), expected)


@pytest.mark.parametrize(
    "state", [None, {}, {"seed": 1, "path": [], "spawned": 0, "position": -1}, {"seed": 1.0, "path": []}]
)
def test_no_state(state):
    gen = dc.random.Generator(1, comm=dc.COMM_SELF)
    with together():
        before = gen.random(1)
        with pytest.raises((TypeError, ValueError), match="state must be what a generator's state was"):
            gen.state = state
        gen.state = {**gen.state, "position": 0}
        assert gen.random(1) == before


def test_the_end_of_a_stream(world):
    gen, _ = pair(world)
    gen.state = {**gen.state, "position": 2**63 - 5}
    with together():
        gen.random(2)
    with all_raise(ValueError, "random: n must not go beyond the 2\\*\\*63 elements"):
        gen.random(3)
    with together():
        assert gen.random(2).size <= 2


# Compiled code


@pytest.mark.parametrize("n", [0, 1, 5, 1000])
def test_compiled_arrays(world, n):
    gen, python = pair(world)[0], pair(world)[0]
    here = world.block(n)
    out = np.zeros(here.stop - here.start, np.float32)
    with together():
        made = compiled.arrays(gen, n, out)
        expected = (
            python.random(n), python.normal(n, loc=1, scale=2), python.exponential(n, scale=3),
            python.integers(-5, 6, n), python.integers(7, n=n), python.random((n, 2)),
            python.normal(n, dtype=np.float32), python.permutation(n), python.choice(9, n),
        )  # fmt: skip
        for x, y in zip(made, expected):
            np.testing.assert_array_equal(x, y)
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert gen.state == python.state


def test_compiled_rows(world):
    whole, block, here = uneven(world, 50, "f8", (2,))
    gen, python = pair(world)[0], pair(world)[0]
    with together():
        shuffled, moved, chosen = compiled.rows(gen, block, 6)
        np.testing.assert_array_equal(moved, python.permutation(whole[here]))
        np.testing.assert_array_equal(chosen, python.choice(whole[here], 6))
        copied = whole[here].copy()
        python.shuffle(copied)
        np.testing.assert_array_equal(shuffled, copied)


def test_compiled_single_numbers_and_python_share_one_stream(world):
    gen, python = pair(world)[0], pair(world)[0]
    with together():
        for _ in range(30):  # over several groups of the stream
            drawn = compiled.singles(gen)
            assert drawn == (
                python.random(), python.normal(), python.normal(loc=1, scale=2), python.exponential(),
                python.exponential(scale=3), python.integers(7), python.integers(-(2**63), 2**63 - 1),
            )  # fmt: skip
            np.testing.assert_array_equal(gen.random(3), python.random(3))
        assert gen.state == python.state
        again = dc.random.Generator(8, comm=world)
        gen.state = again.state  # single numbers held for the other seed are forgotten
        assert compiled.many(gen, 100) == sum(again.random() for _ in range(100))


GLOBAL = dc.random.Generator(5, comm=dc.COMM_SELF)


def test_a_global_generator():
    @numba.njit
    def both():
        return GLOBAL.random(2), GLOBAL.random()

    twin = dc.random.Generator(5, comm=dc.COMM_SELF)
    with together():
        GLOBAL.state = twin.state
        pair, single = both()
        assert [*pair, single] == twin.random(3).tolist()


def test_threads_draw_numbers_of_their_own():
    gen = dc.random.Generator(5, comm=dc.COMM_SELF)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            drawn = list(pool.map(lambda _: [gen.random(3) for _ in range(6000)], range(2)))
    finally:
        sys.setswitchinterval(interval)
    with together():
        assert len(np.unique(drawn)) == gen.state["position"] == 36000


def test_nothing_is_left_of_generators():
    gen = dc.random.Generator(5, comm=dc.COMM_SELF)
    with together():
        compiled.singles(gen)
        before = sys.getrefcount(gen)
        for _ in range(50):
            compiled.singles(gen)
            compiled.block(gen, 3)
        assert sys.getrefcount(gen) == before


def test_compiled_faults(world, needs_checks):
    gen, _ = pair(world)
    with all_raise(ValueError, "integers: low must be less than high"):
        compiled.integer(gen, 3, 3)
    with all_raise(ValueError, "normal: loc and scale must be finite"):
        compiled.normal(gen, -1.0)
    with all_raise(ValueError, "random: n must be at least 0; got -1"):
        compiled.block(gen, -1)
    if world.size > 1:
        with all_raise(dc.CollectiveMismatchError, "(?s)random: n must be the same on every rank.*compiled_random.py"):
            compiled.block(gen, 3 + world.rank)
    with together():
        assert gen.state["position"] == 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda gen: gen.random(2.5), "random: n must be an integer or a tuple of integers; got float64"),
        (lambda gen: gen.random(2, dtype=np.float32), "random: dtype cannot be given in compiled code"),
        (lambda gen: gen.integers(0.5), "integers: low must be an integer; got float64"),
        (lambda gen: gen.integers(np.uint64(5)), "integers: low and high must be int64"),
        (lambda gen: gen.normal(0.0, 1.0, 5), "normal: too many positional arguments"),
        (lambda gen: gen.choice(0.5, 3), "choice: a must be an integer; got float64"),
        (lambda gen: gen.shuffle(5), "shuffle: x must have at least one dimension"),
    ],
)
def test_what_cannot_be_compiled(world, call, told):
    with together():
        with pytest.raises(TypeError, match=told):
            numba.njit(call)(dc.random.Generator(1, comm=dc.COMM_SELF))


# Misuse


WRONG = {
    "negative": (lambda gen: gen.random(-1), ValueError, "random: n must be at least 0; got -1"),
    "no number": (lambda gen: gen.random(2.0), TypeError, "random: n must be an integer; got 2.0"),
    "no dimension": (lambda gen: gen.random(np.array(2)), TypeError, "random: n must be an integer; got array"),
    "no axis": (lambda gen: gen.random(()), ValueError, "random: n must have an axis to cut"),
    "dtype": (lambda gen: gen.random(2, dtype="i4"), TypeError, "random: dtype must be float64 or float32"),
    "no dtype": (lambda gen: gen.random(2, dtype="x"), TypeError, "random: dtype must be one of NumPy's"),
    "out": (lambda gen: gen.random(2, out=np.zeros(50)), ValueError, "random: out must have shape"),
    "dtype of out": (lambda gen: gen.random(2, out=np.zeros(2, "i4")), TypeError, "random: dtype must be"),
    "other dtype": (
        lambda gen: gen.random(2, dtype="f4", out=np.zeros(2)),
        TypeError,
        "random: out must have dtype float32",
    ),
    "out alone": (lambda gen: gen.random(out=np.zeros(2)), TypeError, "random: n must be an integer; got None"),
    "loc": (lambda gen: gen.normal(2, loc=np.nan), ValueError, "normal: loc must be finite; got nan"),
    "scale": (lambda gen: gen.normal(2, scale=-1), ValueError, "normal: scale must be finite and at least 0; got -1"),
    "huge scale": (lambda gen: gen.exponential(2, scale=10**400), ValueError, "exponential: scale must be finite"),
    "no scale": (lambda gen: gen.exponential(2, scale="1"), TypeError, "exponential: scale must be a number"),
    "bounds": (lambda gen: gen.integers(5, 5, 2), ValueError, "integers: low must be less than high; got 5 and 5"),
    "room": (lambda gen: gen.integers(0, 257, 2, dtype="u1"), ValueError, "integers: low and high - 1 must lie in"),
    "real bounds": (lambda gen: gen.integers(0, 2.5, 2), TypeError, "integers: high must be an integer; got 2.5"),
    "too few": (lambda gen: gen.choice(3, 4, replace=False), ValueError, "choice: a must have as many"),
    "none": (lambda gen: gen.choice(0, 4), ValueError, "choice: a must have as many as are to be chosen; got 0 for 4"),
    "too few rows": (lambda gen: gen.choice(np.empty((0, 2)), 4), ValueError, "choice: a must have as many"),
    "too many": (lambda gen: gen.choice(2**63, 4), ValueError, "choice: a must be less than 2\\*\\*63; got 9223372036"),
    "whether": (
        lambda gen: gen.choice(9, 4, np.array([1, 2])),
        TypeError,
        "choice: replace must be True or False; got",
    ),
    "whether of rows": (
        lambda gen: gen.choice(np.ones(9), 4, "no"),
        TypeError,
        "choice: replace must be True or False",
    ),
    "few": (lambda gen: gen.permutation(-1), ValueError, "permutation: x must be at least 0; got -1"),
    "scalar": (lambda gen: gen.permutation(2.5), ValueError, "permutation: x must have at least one dimension"),
    "words": (lambda gen: gen.permutation(["a"]), TypeError, "permutation: x must be numeric; got strings"),
    "no array": (lambda gen: gen.shuffle([1, 2]), TypeError, "shuffle: x must be a NumPy array; got list"),
}


@pytest.mark.parametrize(("call", "error", "told"), WRONG.values(), ids=WRONG)
def test_wrong_everywhere(world, needs_checks, call, error, told):
    gen, alone = pair(world)
    with all_raise(error, told):
        call(gen)
    with together():
        same(gen.random(5), alone.random(5), world)


@pytest.mark.parametrize(("call", "error", "told"), WRONG.values(), ids=WRONG)
def test_wrong_on_one_rank(world, needs_checks, call, error, told):
    if world.size == 1:
        pytest.skip("takes two ranks")
    if told.startswith("choice: a must have") and "empty" in call.__code__.co_names:
        pytest.skip("what others have counts, too")
    gen, alone = pair(world)
    name = told.partition(":")[0]
    right = {
        "random": lambda: gen.random(2), "normal": lambda: gen.normal(2), "exponential": lambda: gen.exponential(2),
        "integers": lambda: gen.integers(3, 5, 2), "choice": lambda: gen.choice(9, 4),
        "permutation": lambda: gen.permutation(4), "shuffle": lambda: gen.shuffle(np.arange(4)),
    }[name]  # fmt: skip
    wrong_here = world.rank == world.size - 1
    with all_raise(error if wrong_here else dc.CollectiveMismatchError, told if wrong_here else f"(?s){name}: wrong"):
        call(gen) if wrong_here else right()
    with together():
        same(gen.random(5), alone.random(5), world)


MISMATCHED = {
    "n": (lambda gen, rank: gen.random(3 + rank), "random: n must be the same on every rank"),
    "loc": (lambda gen, rank: gen.normal(3, loc=rank), "normal: loc must be the same"),
    "low": (lambda gen, rank: gen.integers(rank, 100, 3), "integers: low must be the same"),
    "dtype": (lambda gen, rank: gen.random(3, dtype=["f4", "f8"][rank > 0]), "random: dtype must be the same"),
    "function": (lambda gen, rank: gen.random(3) if rank else gen.normal(3), "normal/random: the ranks must call"),
    "position": (lambda gen, rank: (rank or gen.random(), gen.random(3)), "random: position must be the same"),
    "child": (lambda gen, rank: gen.spawn(2)[rank > 0].random(3), "random: generator must be the same"),
    "row": (lambda gen, rank: gen.permutation(np.ones((2, 1 + rank))), "permutation: row_shape must fit together"),
    "replace": (lambda gen, rank: gen.choice(9, 3, rank > 0), "choice: replace must be the same"),
    "kind": (lambda gen, rank: gen.permutation(3 if rank else np.ones(3)), "permutation: "),
    "seed": (lambda gen, rank: dc.random.Generator(rank, comm=gen.comm), "random.Generator: seed must be the same"),
    "collective": (lambda gen, rank: gen.random(3) if rank else gen.comm.barrier(), "must call the same collective"),
}


@pytest.mark.parametrize(("call", "told"), MISMATCHED.values(), ids=MISMATCHED)
def test_ranks_that_do_not_agree(world, needs_checks, call, told):
    if world.size == 1:
        pytest.skip("takes two ranks")
    gen, _ = pair(world)
    with all_raise(dc.CollectiveMismatchError, told):
        call(gen, world.rank)
    with together():
        assert world.allreduce(1) == world.size


def test_equal_numbers_are_equal_calls(world):
    """1, 1.0 and NumPy's 1 say the same; so do a tuple and a list."""
    gen, alone = pair(world)
    first = world.rank == 0
    with together():
        same(gen.normal(3 if first else np.int64(3), loc=1 if first else 1.0), alone.normal(3, loc=1), world)
        same(gen.random((3, 2) if first else [3, np.int32(2)]), alone.random((3, 2)), world)


@pytest.mark.parametrize("seed", [None, -1, 1.5, "1", True, [1, 2], pytest.param(10**5000, id="huge")])
def test_no_seed(world, seed):
    with all_raise((TypeError, ValueError), "random.Generator: seed must (be|have)"):
        dc.random.Generator(seed, comm=world)


def test_no_communicator(world):
    with all_raise(TypeError, "random.Generator: comm must be a communicator; got 'world'"):
        dc.random.Generator(1, comm="world")
    with all_raise(TypeError, "spawn: k must be an integer; got 2.5"):
        dc.random.Generator(1, comm=world).spawn(2.5)
