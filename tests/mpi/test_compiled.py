"""Collectives inside `@numba.njit`: the results of the same calls in Python, and their errors."""

import copy
import inspect
import pickle
import threading
import time
import traceback

import compiled
import compiled_globals
import numba
import numpy as np
import oracle
import pytest
from arrays import PADDED, assert_same, laid_out, values
from cases import case_for, example_draw
from parallel import all_raise, together

import dcomp as dc

NAMES = list(oracle.ROWS)
MOVES = ["bcast", "scatter", "gather", "allgather", "alltoall"]
HERE = "test_compiled.py"


def made(name, comm, case, layout="C"):
    """The result of the compiled call, on this rank's arguments of a case."""
    arguments = case.arguments[comm.rank]
    root, x = arguments.get("root", 0), arguments.get("x")
    if x is None:  # of the kind that the root has
        there = case.arguments[root].get("x", np.ones(1))
        x = np.zeros((0,) * there.ndim, there.dtype)
    axis = arguments.get("axis", arguments.get("split_axis", 0))
    return getattr(compiled, name)(comm, laid_out(x, layout), arguments.get("op", dc.SUM), axis, root)


@pytest.mark.parametrize("dtype", ["f8", "i4", "c16", "?", "f4", PADDED], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_python_gives(world, name, dtype):
    dtype = np.dtype(dtype)
    if dtype.names and name not in MOVES:
        pytest.skip("records have no sum")
    for length in (3, 5000):
        draw = example_draw(dtype=dtype, shape=(length,), lengths=[length, 0, 5, 2, 1, 4, 6, 2])
        case = case_for(name, world, draw)
        with together():
            for _ in range(2):  # the second is a call known from before
                assert_same(made(name, world, case), case.expected[world.rank])


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "reversed", "read-only"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["scatter", "allgather", "alltoall", "allreduce", "reduce_scatter"])
def test_layouts_and_axes(world, name, axis, layout):
    case = case_for(name, world, example_draw(axis=axis, other_axis=axis))
    with together():
        assert_same(made(name, world, case, layout), case.expected[world.rank])


@pytest.mark.parametrize("op", [dc.SUM, dc.PROD, dc.MIN, dc.MAX, dc.LAND, dc.LOR, dc.LXOR, dc.BAND, dc.BOR, dc.BXOR])
def test_every_reduction(world, op):
    xs = [values((3, rank), (7,), "i8") for rank in range(world.size)]
    case = oracle.reduction("allreduce", xs, op=op)
    with together():
        assert_same(made("allreduce", world, case), case.expected[world.rank])


@pytest.mark.parametrize(
    "x",
    [
        np.arange(7.0),
        np.arange(5000, dtype="i4"),
        np.array(3j),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype="i2")[::2],
        np.arange(3).astype("M8[s]"),
        np.zeros(3, PADDED),
        2.5,
        7,
        True,
        np.datetime64(3, "s"),
    ],
    ids=repr,
)
def test_what_arrives_where_nothing_tells_its_dtype(world, x):
    root = world.size - 1
    with together():
        kept = [compiled.bcast_in_branches(world, x, root) for _ in range(3)]
        assert numba.njit(lambda comm, x: comm.bcast(x) if comm.rank == 0 else comm.bcast())(world, x) is not None
        for one in kept:
            assert type(one) is type(x)
            np.testing.assert_array_equal(one, x)
            assert getattr(one, "dtype", None) == getattr(x, "dtype", None)


@pytest.mark.parametrize("length", [9, 40000])
def test_a_part_that_arrives(world, length):
    x = values((6, 1), (length * world.size,), "f8")
    with together():
        kept = [compiled.scatter_in_branches(world, x + i, 0) for i in range(3)]
        for i, one in enumerate(kept):
            assert_same(one, (x + i)[world.block(len(x))])


def test_what_arrives_where_the_other_branch_has_an_array_in_fortran_order(world):
    """It arrives in C order, and must not be read as the other."""

    @numba.njit
    def second(comm, x):
        maybe = x if x.size else None
        whole = x
        if comm.rank == 0:
            comm.bcast(x)
        else:
            whole = comm.bcast()
            maybe = whole
        return whole[0, 1], whole, maybe

    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    with together():
        number, *both = second(world, x)
        assert number == 1.0
        for one in both:
            np.testing.assert_array_equal(one, x)


def test_what_arrives_is_something_else_and_is_caught(world):
    @numba.njit
    def tried(comm, x):
        whole = x
        try:
            if comm.rank == 0:
                whole = comm.bcast(x)
            else:
                whole = comm.bcast()
        except Exception:
            return -1.0
        return whole.sum()

    for _ in range(3):
        with together():
            assert tried(world, np.ones(3, "f4" if world.rank else "f8")) == (-1.0 if world.rank else 3.0)


def test_what_arrives_is_something_else(world):
    wrong = [np.ones(3, "f4"), np.ones((3, 1)), 1.0]
    for x in wrong:
        with together():
            if world.rank:
                with pytest.raises(
                    TypeError, match=r"bcast: x must have the dtype .*\(at .*compiled.py:\d+ in bcast_in_"
                ):
                    compiled.bcast_in_branches(world, x, 0)
            else:
                compiled.bcast_in_branches(world, np.ones(3), 0)
    with together():
        arrived = numba.njit(lambda comm: comm.bcast())(world) if world.rank else world.bcast(np.ones(3))
        assert_same(arrived, np.ones(3))


larger = dc.Op(lambda a, b: a if abs(a) > abs(b) else b, identity=0)


def test_a_reduction_of_ones_own(world):
    xs = [values((4, rank), (9,), "f8") for rank in range(world.size)]
    expected = xs[0]
    for x in xs[1:]:
        expected = np.where(abs(expected) > abs(x), expected, x)
    with together():
        assert_same(compiled.allreduce(world, xs[world.rank], larger, 0, 0), expected)


def test_the_functions(world):
    p, me = world.size, world.rank
    x, y = np.arange(4.0) + me, np.arange(3.0 * p) + me
    with together():
        ranks, (copies, part, joined, gathered, turned), combined = compiled.functions(x, y)
        total, most, root, own, upto, before, number = combined
        assert ranks == (p, me, p, me)
        assert_same(copies, np.arange(4.0))
        last = np.arange(3.0 * p) + p - 1
        assert_same(part, last[3 * me : 3 * me + 3])
        assert_same(joined, last)
        assert (gathered is None) == (me > 0)
        assert gathered is None or np.array_equal(gathered, last)
        assert_same(turned, np.concatenate([np.arange(3.0 * p)[3 * me : 3 * me + 3] + rank for rank in range(p)]))
        assert_same(total, sum(np.arange(4.0) + rank for rank in range(p)))
        assert_same(most, np.arange(4.0) + p - 1)
        assert (root is None) == (me > 0)
        assert root is None or np.array_equal(root, np.arange(4.0))
        assert_same(own, (p * np.arange(3.0 * p) + p * (p - 1) / 2)[3 * me : 3 * me + 3])
        assert_same(upto, sum(np.arange(4.0) + rank for rank in range(me + 1)))
        assert_same(before, sum((np.arange(4.0) + rank for rank in range(me)), np.zeros(4)))
        assert number == p * (p - 1) // 2


@pytest.mark.parametrize("x", [3, 2.5, True, 1 + 2j, np.float32(1.5), np.int8(3)], ids=repr)
def test_numbers(world, x):
    with together():
        total, most, every = compiled.of_a_number(world, x) if not isinstance(x, complex) else (world.size * x, x, [x])
        expected = world.allreduce(x)
        assert total == expected
        assert most == x
        assert isinstance(x, complex) or (every.dtype == np.asarray(x).dtype and (every == x).all())


@pytest.mark.parametrize("n", [3, 20_000])
def test_into_an_array(comm, n):
    with together():
        x, out = np.full(n, comm.rank + 1.0), np.zeros((n, 2))[:, 0]
        result = compiled.into(comm, x, out)
        assert np.shares_memory(result, out)
        assert_same(out, np.full(n, comm.size * (comm.size + 1) / 2))
        assert compiled.in_place(comm, x) is x
        assert_same(x, out)


def test_no_dimensions(comm):
    with together():
        assert_same(compiled.allreduce(comm, np.array(2.5), dc.SUM, 0, 0), np.array(2.5 * comm.size))
        assert_same(compiled.allreduce(comm, np.empty((0, 3)), dc.SUM, 0, 0), np.empty((0, 3)))


@pytest.mark.parametrize("n", [1, 3000])
def test_temporaries_live_until_the_call_has_ended(comm, n):
    with together():
        assert_same(compiled.of_expressions(comm, n, 50), np.full(n, comm.size * 50 * 51 / 2))


def test_nothing_is_lost_or_freed_twice(world):
    """References are counted on both sides; 300 results of 1 MB are more than a leak could hide."""
    x = np.ones(125_000)
    with together():
        compiled.allreduce(world, x, dc.SUM, 0, 0)
        before = _resident()
        for _ in range(300):
            assert compiled.allreduce(world, x, dc.SUM, 0, 0)[0] == world.size
            compiled.in_place(world, np.ones(3))
        assert _resident() - before < 100 << 20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_a_rank_in_python_meets_one_in_compiled_code(world):
    x = np.arange(5.0)
    for odd in (0, 1):
        with together():
            call = compiled.without_the_gil if world.rank % 2 == odd else dc.Communicator.allreduce
            assert_same(call(world, x), x * world.size)


def test_the_gil_is_free_while_it_waits(world):
    if world.size == 1:
        pytest.skip("no one to wait for")
    seen = []
    with together():
        compiled.without_the_gil(world, np.ones(1))
        world.barrier()
        if world.rank == 0:
            thread = threading.Thread(
                target=lambda: seen.extend(time.monotonic() for _ in range(3) if not time.sleep(0.02))
            )
            thread.start()
            began = time.monotonic()
            compiled.without_the_gil(world, np.ones(1))
            assert time.monotonic() - began > 0.15
            thread.join()
            assert max(seen) - began < 0.15
        else:
            time.sleep(0.2)
            compiled.without_the_gil(world, np.ones(1))


def test_a_mismatch_names_both_lines(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    source, first = inspect.getsourcelines(compiled.in_two_ways.py_func)
    line = first + next(number for number, text in enumerate(source) if "allreduce" in text)
    with all_raise(dc.CollectiveMismatchError, r"(?s)got barrier on rank.*allreduce.*compiled\.py:\d+ in in_two_ways"):
        compiled.in_two_ways(world, np.ones(3), min(world.rank, 1))
    with all_raise(
        dc.CollectiveMismatchError,
        rf"(?s)rank 0: barrier\(\) at .*{HERE}:\d+ in.*allreduce.*compiled\.py:{line} in in_two_ways\n",
    ):
        if world.rank == 0:
            world.barrier()
        else:
            compiled.in_two_ways(world, np.ones(3), 1)
    with together():
        assert_same(compiled.in_place(world, np.ones(2)), np.full(2, float(world.size)))


def test_a_freed_communicator(world):
    comm = world.dup()
    with together():
        compiled.in_place(comm, np.ones(2))
        comm.free()
    with all_raise(dc.UsageError, "freed"):
        compiled.in_place(comm, np.ones(2))


def test_a_local_fault(world, needs_checks):
    x = np.ones(3)
    with all_raise((ValueError, dc.CollectiveMismatchError), "allreduce: .*out must have shape"):
        compiled.into(world, x, np.ones(3 if world.rank else 2))
    with together():
        compiled.in_place(world, x)


def test_a_missing_rank(world, monkeypatch):
    if world.size == 1:
        pytest.skip("no one to miss")
    comm = world.dup()
    monkeypatch.setattr(comm._channel, "settings", comm._channel.settings.__class__(timeout=0.3))
    if world.rank:
        with together():
            with pytest.raises(
                dc.DeadlockError, match=r"(?s)rank 0.*missing.*in allreduce.*compiled\.py:\d+ in in_place"
            ):
                compiled.in_place(comm, np.ones(3))
    else:
        with together():
            pass


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda comm: comm.allreduce("one"), r"allreduce: x must be an array of numbers.*got unicode_type"),
        (lambda comm: comm.allreduce([1.0]), r"allreduce: x must be an array of numbers.*got .*list"),
        (
            lambda comm: comm.allreduce(1.0, 2),
            "allreduce: op must be a reduction such as dcomp.SUM, or a dcomp.Op; got",
        ),
        (lambda comm: comm.allreduce(1.0, ops=1), "allreduce: .*unexpected keyword argument 'ops'"),
        (lambda comm: comm.allreduce(), "allreduce: missing a required argument: 'x'"),
        (lambda comm: comm.ibcast(None), "ibcast: where no x is passed, compiled code must be given an out"),
        (lambda comm: comm.bcast(None).sum(), "sum: the dtype of what arrives is not known in compiled code"),
        (lambda comm: comm.bcast(1.0, root=0.5), "bcast: root must be an integer; got float64"),
        (lambda comm: comm.scatter(1.0), "scatter: x must have at least one dimension; got float64"),
        (lambda comm: dc.allreduce(1.0, comm=3), "allreduce: comm must be a communicator; got"),
        (lambda comm: comm.allreduce(1.0, out=2.0), "allreduce: out must be an array; got float64"),
        (lambda comm: dc.allgather_object(1), "allgather_object: compiled code does not know it; call it in Python"),
        (lambda comm: comm.allredduce(1), "allredduce: compiled code does not know it of a communicator; use it in"),
        (lambda comm: comm.cart((1.5, 1)), "cart: dims must be an integer or a tuple in compiled code; got"),
    ],
)
def test_what_cannot_be_compiled(world, call, told):
    with together():
        with pytest.raises(TypeError, match=told) as caught:
            numba.njit(call)(world)
        assert HERE in str(caught.value)


def test_no_collective_in_a_parallel_region(world):
    @numba.njit(parallel=True)
    def region(comm, x):
        for _ in numba.prange(x.size):
            comm.allreduce(x)

    with together():
        with pytest.raises(
            numba.core.errors.NumbaError, match="allreduce: no collective can be called in a parallel region"
        ):
            region(world, np.ones(3))


def test_beside_a_parallel_region(world):
    @numba.njit(parallel=True)
    def step(comm, x):
        for i in numba.prange(x.size):
            x[i] += 1
        return comm.allreduce(x)

    with together():
        assert_same(step(world, np.zeros(100)), np.full(100, float(world.size)))


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.ones(3, "f2"), "allreduce: x must be an array of numbers .but float16.*got .*float16"),
        (np.ones(1, [("a", "f8")])[0], "allreduce: x must be .* one such value that is no record; got Record"),
    ],
)
def test_values_that_cannot_be_compiled(world, x, told):
    with together():
        with pytest.raises(TypeError, match=told):
            numba.njit(lambda comm, x: comm.allreduce(x))(world, x)


def test_lists_of_python_are_no_counts(world):
    """Compiled code may change them, of which Python would hear later."""
    with together():
        with pytest.raises(TypeError, match="scatter: counts must be a tuple or an array in compiled code"):
            numba.njit(lambda comm, x, counts: comm.scatter(x, counts=counts))(world, np.ones(3), [3])
        counts = tuple(range(world.size))
        x = np.arange(float(sum(counts))) if world.rank == 0 else None
        expected = world.scatter(x, counts=counts if world.rank == 0 else None)
        for given in (counts, np.array(counts)):
            told = compiled.with_counts(world, np.arange(float(sum(counts))), given)
            assert_same(told, expected)


def test_an_out_on_the_root_alone(world):
    with together():
        x = np.full(2, world.rank + 1.0)
        for root in (0, world.size - 1):
            joined, total = compiled.out_on_root(world, x, root)
            assert (joined is None) == (total is None) == (world.rank != root)
            if world.rank == root:
                assert_same(joined, np.repeat(np.arange(1.0, world.size + 1), 2))
                assert_same(total, np.full(2, world.size * (world.size + 1) / 2))


def test_errors_can_be_caught(world, needs_checks):
    """In the function that calls, or one that calls that one; nothing is left that goes off later."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    for call in (compiled.caught, compiled.caught_from_a_function):
        with together():
            for _ in range(3):
                assert_same(call(world, np.ones(2 + min(world.rank, 1))), np.full(1, -1.0))
            assert_same(call(world, np.ones(2)), np.full(2, float(world.size)))


def test_errors_keep_their_traceback(world, needs_checks):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with all_raise(dc.ShapeMismatchError, "shape must fit together") as caught:
        compiled.in_place(world, np.ones(2 + min(world.rank, 1)))
    with together():
        assert type(caught.value) is dc.ShapeMismatchError
        lines = traceback.format_exception(caught.value)
        assert any("in in_place\n    comm.allreduce(x, out=x)" in line for line in lines), lines


@pytest.mark.parametrize("sent", [1.5, 300, 1 + 2j, np.datetime64("2020-01-01"), np.ones(2), np.float32(1)], ids=repr)
def test_another_kind_from_the_root_than_compiled_for(world, sent):
    if world.size == 1:
        pytest.skip("takes two ranks")
    kind = np.int8(1) if world.rank else sent
    with together():
        if world.rank == 0:
            compiled.bcast(world, kind, dc.SUM, 0, 0)
        else:
            with pytest.raises(TypeError, match="bcast: x must have the dtype and .* compiled for, one int8; got"):
                compiled.bcast(world, kind, dc.SUM, 0, 0)
        world.barrier()


def test_objects_in_compiled_code(world):
    """One type for all reductions; identity."""
    with together():
        assert compiled.of_objects(world, world, True) == (world.size, True)
        twin = world.dup()
        assert compiled.of_objects(world, twin, False) == (1, False)
        twin.free()


def test_copies(world):
    """numba pickles what closures hold to know them again."""
    with together():
        assert pickle.loads(pickle.dumps(dc.COMM_WORLD)) is copy.copy(dc.COMM_WORLD) is dc.COMM_WORLD
        assert pickle.loads(pickle.dumps(dc)) is dc
        twin = world.dup()
        with pytest.raises(TypeError, match="cannot be copied or pickled, for it is of this process"):
            pickle.dumps(twin)
        twin.free()


def test_a_global_communicator_is_not_frozen_into_the_cache(world):
    """Code with a global variable of the user's is compiled in every run, and numba says why."""
    with together():
        with pytest.warns(numba.NumbaWarning, match="Cannot cache compiled function"):
            assert compiled_globals.size() == 1
