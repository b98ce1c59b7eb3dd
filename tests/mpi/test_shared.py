"""Ranks that share a node: sizes around every threshold, arrays in shared memory, and calls known from before."""

import os

import numpy as np
import oracle
import pytest
from arrays import assert_same, values
from cases import case_of
from oracle import seed_of
from parallel import all_raise, together

import dcomp as dc
from dcomp import _world_map
from dcomp.engine import meeting as engine_meeting
from dcomp.engine.choose import NEVER, Rules
from dcomp.kernels import words

REDUCTIONS = ["reduce", "allreduce", "reduce_scatter", "scan", "exscan"]
#: Elements of 8 bytes on either side of 88 B, 2 KiB, 8 KiB, 256 KiB and of what is combined in several chunks.
LENGTHS = [11, 12, 256, 257, 1024, 1025, 32769, 70001]


def in_shared_memory(comm: dc.Communicator, x: np.ndarray) -> np.ndarray:
    """The same values in an array that a collective has made, which other ranks can look at."""
    held = comm.allgather(np.zeros((max(1, -(-4096 // max(x.nbytes, 1))), *x.shape), x.dtype))
    result = held[0]
    result[...] = x
    return result


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_in_place_of_a_result(world, name, n):
    """No rank's x is written over before it has been added, whoever the root is."""
    root = {"root": world.size - 1} if name == "reduce" else {}
    counts = {"counts": [0] * (world.size - 1) + [n]} if name == "reduce_scatter" else {}
    xs = [values((1, rank), (n,), "f8") for rank in range(world.size)]
    case = oracle.reduction(name, xs, **root, **counts)
    expected = case.expected[world.rank]
    x = in_shared_memory(world, xs[world.rank])
    with together():
        for _ in range(3):
            x[...] = xs[world.rank]
            place = x if expected is not None and expected.shape == x.shape else None
            result = getattr(world, name)(x, **root, **counts, out=place)
            assert_same(result, expected)


@pytest.mark.parametrize("mixed", [False, True], ids=["all shared", "some shared"])
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_of_results_and_views_of_them(comm, name, n, mixed):
    xs = [values((seed_of(comm, 1), rank), (n,), "i8") for rank in range(comm.size)]
    case = oracle.reduction(name, xs)
    x = in_shared_memory(comm, np.concatenate([xs[comm.rank][:3], xs[comm.rank]]))[3:]
    if mixed and comm.rank % 2:
        x = xs[comm.rank].copy()
    with together():
        for _ in range(3):
            assert_same(getattr(comm, name)(x), case.expected[comm.rank])
            assert_same(x, xs[comm.rank])


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", ["bcast", "scatter", "gather", "allgather", "alltoall"])
def test_blocks_of_private_and_shared_arrays(comm, name, n):
    """Twice each, so that the second is a call known from before."""
    n -= n % comm.size
    seed, root = seed_of(comm, 2), comm.size - 1
    if name in ("bcast", "scatter"):
        case = getattr(oracle, name)(comm.size, values(seed, (n,), "i8"), root=root)
    else:
        xs = [values((seed, rank), (n,), "i8") for rank in range(comm.size)]
        case = getattr(oracle, name)(xs, **({"root": root} if name == "gather" else {}))
    arguments = case.arguments[comm.rank]
    x, calls = arguments.pop("x", None), []
    shared = in_shared_memory(comm, np.zeros(n, "i8") if x is None else x)
    for mine in (x, x, shared, shared, x if comm.rank % 2 else shared):
        calls.append(None if x is None else mine)
    with together():
        for mine in calls:
            passed = arguments if mine is None else {"x": mine, **arguments}
            assert_same(getattr(comm, name)(**passed), case.expected[comm.rank])


def test_a_result_is_not_used_again_while_a_view_of_it_lives(comm):
    n = 5000
    with together():
        kept = []
        for turn in range(40):
            result = comm.allreduce(np.full(n, turn))
            kept.append((turn, (result[7:9], result.reshape(50, 100).T[3], memoryview(result))[turn % 3]))
            del result
            kept = kept[-9:] if turn % 4 else kept[::2]
            for was, view in kept:
                assert (np.asarray(view) == was * comm.size).all()


def test_results_go_into_other_communicators(world):
    """Both ways, the ranks in another order there."""
    with world.split(0, key=-world.rank) as turned, world.split(world.rank % 2) as part, together():
        x = np.arange(3000.0) + world.rank
        total = sum(np.arange(3000.0) + rank for rank in range(world.size))
        for _ in range(3):
            whole = world.allreduce(x)
            assert_same(turned.allreduce(whole), total * world.size)
            fewer = part.allreduce(whole)
            assert_same(fewer, total * part.size)
            assert_same(world.bcast(fewer if world.rank == 0 else None), total * (-(-world.size // 2)))


def test_communicators_come_and_go(world):
    """Each has a place in shared memory, which is given back."""
    with together():
        for turn in range(20):
            with world.split(turn % 2 and world.rank % 2, key=-world.rank) as part:
                assert_same(part.allreduce(np.full(1000, part.rank)), np.full(1000, sum(range(part.size))))


@pytest.mark.parametrize("same", [False, True], ids=["one rank", "all ranks"])
def test_a_call_known_from_before_on_some_ranks(comm, same):
    """A rank whose array is not in C order, or whose `out` is not, goes another way than the others."""
    n = 3000
    xs = [values((seed_of(comm, 3), rank), (n,), "f8") for rank in range(comm.size)]
    total = oracle.combine(xs, dc.SUM)
    odd = same or comm.rank == comm.size - 1
    with together():
        for turn in range(12):
            x, out = xs[comm.rank], None
            if odd and turn % 3 == 1:
                x = np.repeat(x, 2)[::2]
            if odd and turn % 3 == 2:
                out = np.empty((n, 2))[:, 0]
            assert_same(comm.allreduce(x, out=out), total)


def test_calls_in_turn(comm):
    """Of one key on some ranks and another on others; of lengths that differ between ranks; small and large."""
    with together():
        for turn in range(24):
            root = turn % comm.size
            n = [3, 3000, 3, 700][turn % 4]
            got = comm.bcast(np.full(n, turn) if comm.rank == root else None, root=root)
            assert_same(got, np.full(n, turn))
            mine = np.full(n + (comm.rank if turn % 3 else 0), comm.rank)
            lengths = [n + (rank if turn % 3 else 0) for rank in range(comm.size)]
            assert_same(comm.allgather(mine), np.repeat(np.arange(comm.size), lengths))
            assert_same(comm.scan(np.full(n, 1.0)), np.full(n, comm.rank + 1.0))


@pytest.mark.parametrize("name", ["bcast", "scatter", "gather", "allgather", "alltoall", *REDUCTIONS])
def test_calls_that_differ_little_from_the_last(comm, name):
    """In one or two of all that tells calls apart, on all ranks alike; counts are one list, changed in between."""
    rng, size, counts = np.random.default_rng(seed_of(comm, 4)), comm.size, [0] * comm.size
    now = {"n": 1, "width": 1, "dtype": "f8", "root": 0, "axis": 0, "op": dc.SUM, "counts": False, "out": None}
    new = {
        "n": range(3), "width": (1, 2), "dtype": ("f8", "i8", "q"), "root": range(size), "axis": (0, 1),
        "op": (dc.SUM, dc.MAX), "counts": (False, True), "out": (None, "C"),
    }  # fmt: skip
    for turn in range(60):
        for kind in rng.choice([*now], rng.integers(3), replace=False):
            now[kind] = new[kind][rng.integers(len(new[kind]))]
        for rank in range(size):
            counts[rank] = (rank + turn) % 3
        axis = now["axis"] if name in ("scatter", "gather", "allgather", "reduce_scatter") else 0
        options = {"axis": axis} if name in ("scatter", "gather", "allgather", "reduce_scatter") else {}
        if name in ("bcast", "scatter", "gather", "reduce"):
            options["root"] = now["root"]
        if name in REDUCTIONS:
            options["op"] = now["op"]
        told = now["counts"] and "axis" in options
        if told:
            options["counts"] = counts

        def shape(length, along=axis):
            return (length, now["width"])[:: 1 if along == 0 else -1]

        if name in ("bcast", "scatter"):
            x = values((turn, 0), shape(sum(counts) if told else now["n"] * size), now["dtype"])
            case = getattr(oracle, name)(size, x, **options)
        else:
            lengths = counts if told and name != "reduce_scatter" else [now["n"] * size] * size
            lengths = [sum(counts)] * size if told and name == "reduce_scatter" else lengths
            xs = [values((turn, rank), shape(length), now["dtype"]) for rank, length in enumerate(lengths)]
            if name == "exscan":
                options["identity"] = now["op"].identity_for(xs[0].dtype)
            case = oracle.reduction(name, xs, **options) if name in REDUCTIONS else getattr(oracle, name)(xs, **options)
        oracle.check(comm, case, out=now["out"])


@pytest.mark.parametrize("other", [[1.0], 1.0, 1, True, np.ones(1, ">f8"), np.ones((1, 1)), np.ones(2)[::2]], ids=repr)
def test_another_kind_of_x_than_last(world, other):
    """What is no such array as before goes the ordinary way, which knows it: here, one element that is 1."""
    with together():
        for _ in range(3):
            assert_same(world.allreduce(np.ones(1)), np.full(1, float(world.size)))
        result = world.allreduce(other)
        assert np.shape(result) == np.shape(other)
        assert np.all(result == (other is True or world.size))


@pytest.mark.parametrize("wrong", [None, np.ma.ones(1), "one", {}], ids=repr)
def test_no_such_x_as_last(world, needs_checks, wrong):
    with together():
        for _ in range(3):
            assert_same(world.allreduce(np.ones(1)), np.full(1, float(world.size)))
    with all_raise((TypeError, ValueError), "allreduce: x must be"):
        world.allreduce(wrong)
    with together():
        assert_same(world.allreduce(np.ones(1)), np.full(1, float(world.size)))


def test_an_operation_that_cannot_be_looked_up(world):
    class Odd(dc.Op):
        def __hash__(self):
            raise RuntimeError("no hash")

    odd = Odd(lambda a, b: a + b)
    with together():
        for _ in range(3):
            world.allreduce(np.ones(3))
            with pytest.raises(RuntimeError, match="no hash"):
                world.allreduce(np.ones(3), odd)


def test_records_of_equal_dtypes(world):
    """Two dtypes may be equal and not the same object."""
    with together():
        for turn in range(12):
            x = np.array([(world.rank, turn)], [("a", "i4"), ("b", "f8")])
            every = world.allgather(x)
            assert every["a"].tolist() == list(range(world.size))
            assert every["b"].tolist() == [turn] * world.size


def test_more_calls_than_are_remembered(world, monkeypatch):
    """What the ranks have agreed on is forgotten by all of them, also by calls that only some know from before."""
    meeting = pytest.importorskip("dcomp.engine.meeting")
    monkeypatch.setattr(meeting, "_VERDICTS", 4)
    with world.dup() as comm, together():
        x, other = np.ones(4), np.ones(8)[::2]
        for n in range(10, 30):
            comm.allreduce(x)
            assert_same(comm.allreduce(np.ones(n)), np.full(n, float(comm.size)))
            assert_same(comm.allreduce(x if comm.rank else other), np.full(4, float(comm.size)))


def test_more_calls_than_are_remembered_without_blocking(world, monkeypatch):
    """All is forgotten as a call is learnt, whose little data is yet to come."""
    meeting = pytest.importorskip("dcomp.engine.meeting")
    monkeypatch.setattr(meeting, "_VERDICTS", 4)
    with world.dup() as comm, together():
        for n in range(10, 30):
            requests = [comm.iallreduce(np.ones(n)), comm.iallgather(np.ones(n)), comm.iallgather(np.ones(n + 2000))]
            total, *gathered = dc.wait_all(requests)
            assert_same(total, np.full(n, float(comm.size)))
            for every, length in zip(gathered, (n, n + 2000), strict=True):
                assert_same(every, np.ones(length * comm.size))


def test_terms_keep_few_routes(comm):
    """The root's array may be of another size every time, of which the others' calls say nothing."""
    with together():
        for n in range(1, 300):
            comm.bcast(np.empty(n, "u1") if comm.rank == 0 else None)
        assert all(len(terms.routes) <= 256 for terms in comm._channel.terms.values())


def test_a_fault_after_calls_known_from_before(world, needs_checks):
    """No one waits, and the next call is right."""
    if world.size == 1:
        pytest.skip("no one differs")
    x = np.ones(5)
    for n in (5, 5000):
        x = np.ones(n)
        for _ in range(2):
            world.allreduce(x)
        with all_raise(dc.CollectiveMismatchError, "allreduce"):
            world.allreduce(x if world.rank else np.ones(n + 1))
        with all_raise(dc.CollectiveMismatchError, "scan"):
            world.scan(x) if world.rank == 0 else world.allreduce(x)
        with together():
            assert_same(world.allreduce(x), np.full(n, float(world.size)))


def test_arguments_that_cannot_be_compared(comm, needs_checks):
    """An axis that is an array is told to all ranks like any other fault."""
    x = np.ones(2 * comm.size)
    comm.alltoall(x)
    kind = (TypeError, dc.CollectiveMismatchError)
    for wrong in (np.array([0, 1]), 0.0):
        with all_raise(kind, "split_axis|alltoall"):
            comm.alltoall(x, split_axis=wrong if comm.rank == 0 else 0)
        with all_raise(TypeError, "split_axis"):
            comm.alltoall(x, split_axis=wrong)
    with together():
        assert_same(comm.alltoall(x), x)


def test_out_of_a_subclass(comm):
    class Mine(np.ndarray):
        pass

    with together():
        for _ in range(3):
            out = np.zeros(4).view(Mine)
            assert comm.allreduce(np.ones(4), out=out) is out
            assert (out == comm.size).all()
            assert_same(comm.allreduce(np.ones(4).view(Mine)), np.full(4, float(comm.size)))


def test_out_that_overlaps_in_part_is_refused_every_time(world):
    """Also when the same call with an `out` apart is known from before."""
    if world.size == 1:
        pytest.skip("it is the same memory")
    whole = np.ones(2 * world.size)
    for _ in range(2):
        world.allgather(np.ones(2), out=np.zeros(2 * world.size))
    with all_raise((ValueError, dc.CollectiveMismatchError), "out must be x itself or must not overlap"):
        world.allgather(whole[:2], out=whole)
    with together():
        assert_same(world.allgather(np.ones(2), out=whole), np.ones(2 * world.size))


def _bad_outs(x):
    """Arrays, and other things, that cannot take a result like x."""
    locked, around = np.zeros_like(x), np.zeros(len(x) + 1)
    locked.flags.writeable = False
    around[1:] = x
    yield x, locked
    yield x, np.zeros(len(x) + 1)
    yield x, np.zeros((len(x), 1))
    yield x, np.zeros(len(x), np.int64)
    yield x, np.zeros(len(x), ">f8")
    yield x, 5
    yield x, list(x)
    yield around[1:], around[:-1]


@pytest.mark.parametrize("name", ["allreduce", "scan", "exscan"])
@pytest.mark.parametrize("n", [5, 20000, 300000])
def test_a_bad_out_is_refused_every_time(comm, needs_checks, name, n):
    """Also when the same call with a good one, or without, is known from before."""
    x = np.ones(n)
    call = getattr(comm, name)
    for out in (np.zeros(n), None, np.zeros(n)):
        call(x, out=out)
    for mine, bad in _bad_outs(x):
        is_bad = comm.rank == comm.size - 1
        with all_raise((TypeError, ValueError, dc.CollectiveMismatchError), "out"):
            call(mine, out=bad if is_bad else np.zeros(n))
        with together():
            for out in (np.zeros(n), None):
                expected = {"allreduce": comm.size, "scan": comm.rank + 1, "exscan": comm.rank}[name]
                assert_same(call(x, out=out), np.full(n, float(expected)))


@pytest.mark.parametrize("n", [2, 3000])
@pytest.mark.parametrize("name", ["gather", "allgather"])
def test_the_length_of_out_belongs_to_the_call(world, needs_checks, name, n):
    """Of blocks whose lengths differ between ranks, with and without `out` on some of them."""
    if world.size == 1:
        pytest.skip("one rank knows all lengths")
    call, is_last = getattr(world, name), world.rank == world.size - 1
    x, longer = np.full(n, 1.0 * world.rank), np.full(n + 1, 1.0 * world.rank)
    receives = name == "allgather" or world.rank == 0
    even = np.repeat(np.arange(float(world.size)), n)
    uneven = np.append(even, world.size - 1)
    for _ in range(2):
        with together():
            for _ in range(2):
                got = call(x)
                assert not receives or (got == even).all()
                got = call(longer if is_last else x)
                assert not receives or (got == uneven).all()
                out = np.zeros(len(uneven)) if receives else None
                got = call(longer if is_last else x, out=out)
                assert not receives or (got == uneven).all()
                out = np.zeros(len(even)) if receives else None
                assert call(x, out=out) is out
        with all_raise(dc.CollectiveMismatchError, name):
            call(longer if is_last else x, out=np.zeros(len(even)) if receives else None)


@pytest.mark.parametrize("n", [5, 20_000, 300_000])
@pytest.mark.parametrize("name", ["allreduce", "reduce", "scan", "exscan", "alltoall"])
def test_in_place_through_a_view(comm, name, n):
    """Another array object of the same memory, on all ranks or one; also when the call is known from before."""
    n += -n % comm.size
    call = getattr(comm, name)
    receives = name != "reduce" or comm.rank == 0
    start = np.arange(float(n)) + comm.rank
    with together():
        expected = call(start.copy())
        for turn in range(6):
            x = start.copy()
            view = x[:] if turn % 2 or comm.rank == 0 else x
            out = (x if turn < 4 else np.empty(n)) if receives else None
            got = call(view, out=out)
            if receives:
                assert got is out
                np.testing.assert_array_equal(out, expected)


def test_counts_of_another_kind_every_time(world, needs_checks):
    """1.0 and True are equal to 1, and no counts."""
    p, x = world.size, np.arange(1.0)
    with together():
        for _ in range(2):
            world.allgather(x, counts=(1,) * p)
            world.reduce_scatter(np.ones(p), counts=[1] * p)
    for wrong in ((1.0,) * p, [1.0] * p, (True,) * p):
        with all_raise((TypeError, ValueError), "counts must be"):
            world.allgather(x, counts=wrong)
        with all_raise((TypeError, ValueError), "counts must be"):
            world.reduce_scatter(np.ones(p), counts=wrong)


def test_a_read_only_out_of_the_root_every_time(world, needs_checks):
    x = np.arange(4.0)
    locked = x.copy()
    locked.flags.writeable = False
    with together():
        world.bcast(x if world.rank == 0 else None)
    for _ in range(2):
        with all_raise((ValueError, dc.CollectiveMismatchError), "out must be writeable|bcast"):
            world.bcast(locked, out=locked) if world.rank == 0 else world.bcast()


def test_a_masked_out_is_refused(comm, needs_checks):
    for n in (4, 20_000):
        x = np.ones(n)
        comm.allreduce(x, out=np.zeros(n))
        with all_raise(TypeError, "out must be a plain array; got a masked one"):
            comm.allreduce(x, out=np.ma.zeros(n))


def test_a_large_send_is_under_way_during_collectives(world):
    """Who waits for the others lets MPI work."""
    n = 1 << 19
    neighbours = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    with together():
        for _ in range(3):
            request = world.isend(np.full(n, world.rank), neighbours[0])
            world.barrier()
            world.allreduce(np.ones(5000))
            assert_same(world.recv(neighbours[1]), np.full(n, neighbours[1]))
            request.wait()


def test_requests_and_plans_among_calls_known_from_before(comm):
    n = 2000
    x = np.full(n, comm.rank + 1.0)
    total = np.full(n, comm.size * (comm.size + 1) / 2)
    with together():
        plan = comm.allreduce_init(x)
        for turn in range(10):
            requests = [comm.iallreduce(x), comm.ibarrier()]
            if turn % 2:
                assert_same(comm.allreduce(x), total)
            plan.start()
            requests.append(comm.iscan(x))
            assert_same(comm.allreduce(x), total)
            assert_same(plan.wait(), total)
            results = dc.wait_all(requests)
            assert_same(results[0], total)
            assert_same(comm.allreduce(x), total)
        plan.free()


def _shares_memory(comm: dc.Communicator) -> bool:
    return comm._channel.meeting is not None


@pytest.mark.skipif("DCOMP_HEAP" in os.environ, reason="the heap is another")
def test_nothing_grows(world):
    """Neither open files nor shared memory, in calls whose sizes vary."""
    if not _shares_memory(world):
        pytest.skip("no memory is shared")
    rng = np.random.default_rng(1)
    sizes = [int(n) for n in 2 ** rng.uniform(0, 16, 40)]

    def calls() -> None:
        for n in sizes:
            x = np.full(n, 1.0)
            assert world.allreduce(x)[-1] == world.size
            assert world.allgather(x).size == n * world.size
            assert world.scan(x)[0] == world.rank + 1

    with together():
        calls()
        segment = world._channel.meeting.segment
        before = segment._top, len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            calls()
        assert (segment._top, len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_results_to_itself(world):
    """As ordinary memory: neither sees what the other writes, nor new results in a block that was let go."""
    with together():
        kept, let_go = (world.allreduce(np.full(20000, i + 1.0)) for i in range(2))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.read(reader, 1)  # the parent has gone on
                same = (kept == world.size).all() and (let_go == 2 * world.size).all()
                kept[:] = -1
                status = 0 if same else 2
            finally:
                os._exit(status)
        del let_go
        kept += 1
        later = [world.allreduce(np.full(20000, 5.0)) for _ in range(8)]
        os.write(writer, b"x")
        _, status = os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        assert os.waitstatus_to_exitcode(status) == 0
        assert (kept == world.size + 1).all()
        assert all((one == 5 * world.size).all() for one in later)


@pytest.fixture
def node(world):
    """The ranks of a node, which share memory."""
    if _world_map.segment() is None:
        pytest.skip("without shared memory a shared_array is a window of MPI's, which no collective knows of")
    return world.node


@pytest.mark.parametrize("n", [3, 200, 5000, 70001])
def test_blocks_in_one_array_of_all_ranks(node, n):
    """Where every rank gets the same blocks, they may be written to one place, and the root's be read there."""
    x = np.arange(n) * 2.0
    with together(), node.dup() as comm:
        array, rows = comm.shared_array(n), comm.shared_array((comm.size, n))
        for _ in range(3):
            comm.barrier()
            array[comm.block(n)] = x[comm.block(n)]
            comm.barrier()
            comm.bcast(array if comm.rank == 0 else None, out=array)
            assert_same(array, x)
            comm.barrier()
            array[comm.block(n)] = 0
            comm.barrier()
            assert_same(comm.bcast(x if comm.rank == 0 else None, out=array), x)
            assert_same(comm.allgather(x, out=rows.reshape(-1)), np.tile(x, comm.size))


def _is_wrong(comm, call, expected_to_go_on):
    """An error on every rank, the communicator goes on, and so it is when it is made again."""
    for _ in range(2):
        with all_raise(ValueError, "out must not overlap what another rank"):
            call()
        with together():
            expected_to_go_on()
            assert comm.allreduce(1) == comm.size


@pytest.mark.parametrize("form", ["{}", "i{}"])
@pytest.mark.parametrize("n", [3, 200, 600, 5000, 70001, 200_000])
@pytest.mark.parametrize("name", ["allreduce", "scan", "exscan"])
def test_what_is_combined_has_a_place_of_its_own(node, name, form, n):
    """Also after a right call of the same kind."""
    if node.size == 1:
        pytest.skip("one rank has no other")
    if form == "i{}" and n > 256:
        pytest.skip("MPI carries the data, and does not look")
    comm = node.dup()
    array, rows = comm.shared_array(n), comm.shared_array((comm.size, n))

    def call(x, out=None):
        made = getattr(comm, form.format(name))(x, out=out)
        return made.wait() if form == "i{}" else made

    rows[...] = 1.0
    comm.barrier()
    x = np.ones(n)
    expected = {"allreduce": comm.size, "scan": comm.rank + 1, "exscan": comm.rank}[name]

    def is_right():
        for mine in (x, rows[comm.rank]):
            assert_same(call(mine, out=np.empty(n)), np.full(n, float(expected)))
            assert_same(call(mine), np.full(n, float(expected)))
        own = np.full(n, 1.0)
        assert_same(call(own, out=own), np.full(n, float(expected)))

    with together():
        is_right()
        result = comm.shared_array((comm.size, n))
        assert_same(call(x, out=result[comm.rank]), np.full(n, float(expected)))
        is_right()
    wrong = [lambda: call(x, out=array), lambda: call(rows[comm.rank], out=rows[comm.rank - 1])]
    if n > 256:  # a few bytes are copied before anyone writes, but for that there is one rule
        wrong += [lambda: call(rows[comm.rank], out=np.empty(n) if comm.rank else rows[1])]
    for one in wrong:
        _is_wrong(comm, one, is_right)
    with together():
        comm.free()


@pytest.mark.parametrize("n", [20000, 70001])
def test_what_another_rank_sends_is_not_received_into(node, n):
    """An error on every rank, also of a call made before, and the communicator goes on."""
    if node.size == 1:
        pytest.skip("one rank has no other")
    n -= n % node.size
    whole = node.dup()
    array, other = whole.shared_array(n), whole.shared_array((node.size, n))
    line, block = other.reshape(-1), n // whole.size
    array[whole.block(n)] = whole.rank
    whole.barrier()
    wrong = [
        lambda: whole.scan(array, out=array),
        lambda: whole.scan(other[whole.rank], out=array),
        lambda: whole.allreduce(np.ones(n), out=line[whole.rank : whole.rank + n]),
        lambda: whole.allreduce(np.ones(n), out=line[1 : n + 1]) if whole.rank else whole.allreduce(line[:n]),
        lambda: whole.alltoall(other[whole.rank], out=array),
        lambda: whole.reduce_scatter(other[0], out=other[1][:block]),
        lambda: whole.scatter(array if whole.rank == 0 else None, out=line[whole.rank : whole.rank + block]),
        lambda: whole.bcast(*([np.ones(n)] if whole.rank == 0 else []), out=line[whole.rank : whole.rank + n]),
        lambda: whole.gather(other[-bool(whole.rank)][:block], out=other[-1] if whole.rank == 0 else None),
    ]

    def is_right():
        assert (array[whole.block(n)] == whole.rank).all()
        assert not other.any()

    for call in wrong:
        _is_wrong(whole, call, is_right)
    with together():
        right = whole.allreduce(array, out=other[whole.rank])
        expected = np.repeat(np.arange(whole.size), block) * float(whole.size)
        assert_same(right, expected)
        whole.free()


def test_a_shared_array_outlives_its_communicator(node):
    """Its memory is not used again before no rank has it, or a view of it, any more."""
    n = 30000
    with together():
        kept = []
        for turn in range(12):
            with node.dup() as comm:
                array = comm.shared_array(n)
                assert not array.any()
                comm.barrier()
                array[comm.block(n)] = turn
                comm.barrier()
            if (turn + node.rank) % node.size == 0:  # one rank alone keeps it
                kept.append((turn, array[1:-1]))
            del array
            node.barrier()
            for was, view in kept:
                assert (view == was).all()
            if turn == 8:
                kept.clear()
        kept.clear()


def test_shared_arrays_that_are_left_are_used_again(node):
    """Also where the variable is not deleted before the next is made."""
    with together():
        places = set()
        for _ in range(10):
            with node.dup() as comm:
                array = comm.shared_array(3_000_000)  # larger than what other tests leave
            places.add(array.__array_interface__["data"][0])
            node.barrier()
        assert len(places) <= 3


_ONCE, _ONCE_FAR = 1 << 20, 128 << 10  # bytes of a block that no longer goes through rings
_NO_PROCESS = 1 << 30


@pytest.mark.parametrize("way", ["read", "read far", "by MPI", "refused"])
@pytest.mark.parametrize("name", ["bcast", "scatter", "gather", "allgather", "alltoall", "exscan"])
def test_long_blocks_between_ordinary_arrays(node, name, way):
    """Copied once, by way of the kernel; by MPI where ranks may not reach each other's memory, or some just fail to."""
    with together(), node.dup() as comm:
        p, me = comm.size, comm.rank
        meeting = comm._channel.meeting
        comm._channel.rules = Rules({name: {"once": _ONCE, "once_far": _ONCE_FAR}})
        is_far = way in ("read far", "refused")
        nbytes = (_ONCE_FAR if is_far else _ONCE) + 4099
        if meeting is not None:
            if way == "by MPI":
                meeting._words[words.PIDS] = 0
            if way == "refused" and me in (0, p - 1):
                meeting._pids[:] = _NO_PROCESS
            if is_far:
                _pose_as_far(meeting)
        rng = np.random.default_rng(7)
        one = rng.integers(0, 256, nbytes, np.uint8)
        blocks = [one + np.uint8(3 * rank) for rank in range(p)]
        whole = np.concatenate(blocks)
        if name == "bcast":
            x, expected = (one if me == p - 1 else None), one
        elif name == "scatter":
            x, expected = (whole if me == p - 1 else None), blocks[me]
        elif name in ("gather", "allgather"):
            x, expected = blocks[me], whole
        elif name == "alltoall":
            x, expected = whole + np.uint8(me), np.concatenate([blocks[me] + np.uint8(rank) for rank in range(p)])
        else:
            x, expected = blocks[me], sum(blocks[:me], np.zeros(nbytes, np.uint8))
        root = {"root": p - 1} if name in ("bcast", "scatter", "gather") else {}
        receives = (name != "gather" or me == p - 1) and not (name == "bcast" and me == p - 1)
        kept = None if x is None else x.copy()
        for turn in range(4):
            out = np.empty_like(expected) if receives and (turn < 3 or me % 2) else None  # in the end some in heaps
            result = getattr(comm, name)(*(() if x is None else (x,)), **root, out=out)
            if receives:
                assert result is out or out is None
                assert np.array_equal(result, expected)
            assert np.array_equal(x, kept) or x is None
            if way == "refused" and turn < 3 and meeting is not None and name != "exscan":
                failed = comm.mpi.allreduce(int(meeting._words[words.EPOCH]) == _unread(meeting))
                assert failed or p == 1


@pytest.mark.parametrize("way", ["written", "some in heaps", "by MPI", "refused"])
@pytest.mark.parametrize("name", ["reduce", "allreduce", "scan", "exscan"])
@pytest.mark.parametrize("n", [300, 70_001])
def test_combinations_into_ordinary_arrays(node, name, way, n):
    """Written across processes; by MPI where ranks may not reach each other's memory, or some just fail to."""
    with together(), node.dup() as comm:
        p, me = comm.size, comm.rank
        meeting = comm._channel.meeting
        comm._channel.rules = Rules({name: {"heap": 0}})
        if meeting is not None:
            if way == "by MPI":
                meeting._words[words.PIDS] = 0
            if way == "refused" and me in (0, p - 1):
                meeting._pids[:] = _NO_PROCESS
        xs = [values((9, rank), (n,), "i4").astype("f8") for rank in range(p)]
        root = {"root": p - 1} if name == "reduce" else {}
        case = oracle.reduction(name, xs, **root)
        expected = case.expected[me]
        for turn in range(4):
            x = xs[me].copy()
            out = None
            if expected is not None:
                out = dc.empty(n) if way == "some in heaps" and (me + turn) % 2 else np.empty(n)
            assert_same(getattr(comm, name)(x, **root, out=out), expected)
            assert_same(x, xs[me])
            if way != "refused":
                x = xs[me].copy()
                result = getattr(comm, name)(x, **root, out=None if expected is None else x)
                assert_same(result, expected)
                assert result is x or expected is None
            shared = dc.empty(n)
            shared[:] = xs[me]
            assert_same(getattr(comm, name)(shared, **root, out=out), expected)


@pytest.mark.parametrize("way", ["alone", "ring", "across", "refused"])
@pytest.mark.parametrize("n", [3000, 50_001])
@pytest.mark.parametrize("name", ["bcast", "scatter"])
def test_a_root_and_results_in_the_heaps(node, name, n, way):
    """The root writes them, or has everyone take them from its ring, or from its own memory; x is ordinary."""
    with together(), node.dup() as comm:
        p, me = comm.size, comm.rank
        meeting = comm._channel.meeting
        by_root = {"alone": NEVER} if way == "alone" else {"alone": 0}
        once = NEVER if way == "ring" else 0
        comm._channel.rules = Rules({name: {**by_root, "once": once, "once_far": once}})
        whole = np.arange(float(n * p if name == "scatter" else n))
        expected = whole[me * n : (me + 1) * n] if name == "scatter" else whole
        x = whole if me == p - 1 else None
        if x is None:
            plan = getattr(comm, f"{name}_init")(root=p - 1)
        else:
            plan = getattr(comm, f"{name}_init")(x, root=p - 1)
        if meeting is not None and way == "refused" and me == 0:
            meeting._pids[:] = _NO_PROCESS
        for _ in range(3):
            assert_same(getattr(comm, name)(*(() if x is None else (x,)), root=p - 1), expected)
            if meeting is not None and p > 1:
                goes_across = way == "refused" or way == "across" or (way == "ring" and name == "scatter")
                assert meeting._words[words.ACROSS] == (words.ORDINARY if goes_across else words.WITHIN)
                assert meeting._words[words.DIRECT] == (way != "ring" or name == "scatter")
                if way == "refused":
                    assert comm.mpi.allreduce(int(meeting._words[words.EPOCH]) == _unread(meeting))
            assert_same(plan(), expected)
        plan.free()


def test_a_plan_whose_root_cannot_be_reached(node):
    comm = node.dup()
    meeting = comm._channel.meeting
    if meeting is None or comm.size == 1:
        pytest.skip("no memory is shared with another rank")
    with together():
        comm._channel.rules = Rules({"bcast": {"once": 0, "once_far": 0, "alone": 0}})
        x = np.ones(3000)
        plan = comm.bcast_init(x) if comm.rank == 0 else comm.bcast_init()
        meeting._places[-1]._pids[:] = _NO_PROCESS
    with all_raise(dc.UsageError, "bcast_init: the system does not let ranks reach"):
        plan()
    with together():
        assert comm.allreduce(1) == comm.size
        plan.free()
        comm.free()


@pytest.mark.parametrize("known", [False, True], ids=["first", "again"])
def test_what_cannot_be_written_in_place(node, known):
    """The array is lost then, for it has taken a part of the result: an error on every rank."""
    comm = node.dup()
    meeting = comm._channel.meeting
    if meeting is None or comm.size == 1:
        pytest.skip("no memory is shared with another rank")
    with together():
        comm._channel.rules = Rules({"allreduce": {"heap": 0}})
        x = np.ones(20_000)
        if known:
            assert_same(comm.allreduce(x.copy(), out=x.copy()), x * comm.size)
        meeting._pids[:] = _NO_PROCESS
    with all_raise(dc.UsageError, "allreduce: the system does not let other ranks write"):
        comm.allreduce(x, out=x)


@pytest.mark.whole  # takes two ranks
def test_cores_are_told_apart_also_where_a_rank_waits_long(world):
    """In a scan of two ranks one has nothing to do, and sleeps; it has to take part in the probe all the same."""
    meeting = world._channel.meeting
    if meeting is None or world.size != 2 or meeting._words[words.SPINS] < 100:
        pytest.skip("takes two ranks with a core each")
    with together(), world.dup() as comm:
        meeting = comm._channel.meeting
        found, tries = 0, 0
        while not found and tries < 50:  # others may have the cores
            meeting._words[words.SINCE] = 1 << 62
            comm.scan(np.ones(1 << 20))
            found, tries = comm.bcast(_words_of(meeting, words.PROBE)[1] if comm.rank == 0 else None), tries + 1
        assert found > 0


def _pose_as_far(meeting):
    """Have the ranks take their cores for such as share no cache, as rank 0's probe tells all."""
    meeting._words[words.SINCE] = -(1 << 62)  # no probe comes
    if meeting._words[words.RANK] == 0:
        _words_of(meeting, words.PROBE)[1] = 1000


def _unread(meeting):
    """The last call in which this rank could not reach another's memory."""
    return int(_words_of(meeting, words.UNREAD)[0])


def _words_of(meeting, place):
    """What this rank writes in its control block from some place on."""
    return meeting._block[place : place + 16].view(np.int64)


def test_an_out_backwards_overlaps_nothing_behind_it(node):
    """Only an array in C order is told to the others, who would take it for one."""
    n = 1000
    whole = node.dup()
    array = whole.shared_array(2 * n)
    x = np.arange(float(n))
    with together():
        for _ in range(3):
            if whole.rank == 0:
                result = whole.bcast(x, out=array[n - 1 :: -1])
            else:
                result = whole.bcast(out=array[n:])
            assert_same(result, x)
    whole.free()


def test_copies_of_lines_for_groups_of_ranks(world, monkeypatch):
    """On nodes of many ranks not all look at the same line; here each rank has a copy of its own."""
    if not _shares_memory(world):
        pytest.skip("no memory is shared")
    monkeypatch.setattr(engine_meeting, "_READERS", 1)
    with together(), world.dup() as comm:
        assert comm._channel.meeting._words[words.GROUPS] == comm.size
        for n in (1, 11, 12, 500, 9000):
            for name in oracle.ROWS:
                if name == "barrier":
                    comm.barrier()
                    continue
                case = case_of(comm, name, n * comm.size, 5)
                for form in oracle.FORMS:
                    result = oracle.invoke(comm, name, form, case.arguments[comm.rank])
                    assert_same(result, case.expected[comm.rank])
    if world.size == 1:
        return
    with all_raise(dc.CollectiveMismatchError, "same collective"), world.dup() as comm:
        for _ in range(2):
            comm.barrier()
        comm.barrier() if comm.rank else comm.allreduce(1)
