"""Small collectives of several nodes, whose data travels with the claims."""

from contextlib import suppress

import numpy as np
import pytest
from arrays import assert_same, values
from parallel import all_raise, together

import dcomp as dc
from dcomp._ops import PREDEFINED
from dcomp.engine import mpi

if dc.COMM_WORLD.node.size == dc.size:
    pytest.skip("all ranks are on one node; a run of its own has several", allow_module_level=True)

pytestmark = pytest.mark.whole  # on several nodes only, of which few runs are


@pytest.fixture
def nodes(world, needs_checks):
    """All ranks, on several nodes."""
    if type(world._channel.claims).__name__ != "JointClaims":
        pytest.skip("numba is not at hand on every rank")
    return world


def _call(comm, name, n, root):
    """A call on `n` float64 and its result on this rank."""
    xs = [values((3, rank), (n,), "f8") for rank in range(comm.size)]
    mine = xs[comm.rank]
    if name == "barrier":
        return comm.barrier(), None
    if name == "bcast":
        return comm.bcast(mine if comm.rank == root else None, root=root), xs[root]
    if name == "reduce":
        return comm.reduce(mine, root=root), sum(xs) if comm.rank == root else None
    return comm.allreduce(mine), sum(xs)


@pytest.mark.parametrize("name", ["barrier", "bcast", "reduce", "allreduce"])
def test_up_to_256_bytes_there_is_one_exchange(nodes, name, monkeypatch):
    moved = []
    for kind in (mpi.Route, mpi._BroadcastRoute):
        monkeypatch.setattr(kind, "run", lambda *given, own=kind.run: moved.append(1) or own(*given))
    with together():
        for n, times in ((0, 0), (1, 0), (32, 0), (33, 1)):
            for root in range(nodes.size):
                before = len(moved)
                result, expected = _call(nodes, name, n, root)
                if expected is None:
                    assert result is None
                else:
                    np.testing.assert_allclose(result, expected, rtol=1e-12)
                assert len(moved) - before == (times if name != "barrier" else 0)


def _defined():
    for op in PREDEFINED[:10]:  # not those of records
        for dtype in ("?", "i1", "u2", "i8", "u8", ">i4", "f4", ">f8", "c8", "c16"):
            with suppress(TypeError):
                op.check(np.dtype(dtype))
                yield pytest.param(op, dtype, id=f"{op}-{dtype}")


@pytest.mark.parametrize(("op", "dtype"), [*_defined()])
def test_every_operation(nodes, op, dtype):
    xs = [values((4, rank), (2, 3), dtype) for rank in range(nodes.size)]
    expected = xs[0]
    for x in xs[1:]:
        expected = op.function(expected, x).astype(dtype)
    with together():
        x = np.asfortranarray(xs[nodes.rank])
        kept = x.copy()
        result = nodes.allreduce(x, op)
        assert result.dtype == np.dtype(dtype)
        np.testing.assert_allclose(result, expected, rtol=1e-5)
        assert_same(x, kept)
        assert_same(nodes.allreduce(x, op, out=x), result)
        assert x.flags.f_contiguous


@pytest.mark.parametrize("names", ["lq", "LQ"])
def test_types_of_c_that_are_one_dtype_to_numpy(nodes, names):
    """Each with another name on some ranks; also after each rank has made a call with its own alone."""
    name = names[nodes.rank % 2]
    with together(), nodes.split(nodes.rank % 2) as alike:
        assert_same(alike.allreduce(np.ones(2, name)), np.full(2, alike.size, "i8" if name in "lq" else "u8"))
        for dtype in (name, names[0], names[1]):
            assert (nodes.allreduce(np.ones(3, dtype)) == nodes.size).all()
            assert (nodes.allreduce(np.arange(3).astype(dtype), dc.MAX) == np.arange(3)).all()
        assert nodes.allreduce(5) == 5 * nodes.size


def test_what_cannot_be_put_in_is_told_to_all(nodes, monkeypatch):
    """An error on one rank before it has said anything."""
    claims = nodes._channel.claims

    def fail(call):
        raise OSError("no such memory")

    if nodes.rank == 1:
        monkeypatch.setattr(claims, "_put", fail)
    with all_raise((dc.CollectiveMismatchError, OSError), "no such memory"):
        nodes.allreduce(np.ones(3))
    monkeypatch.undo()
    with together():
        assert nodes.allreduce(2) == 2 * nodes.size


def test_what_differs_is_told_as_always(nodes):
    """Also where only what would be combined differs: the number, the kind, or whether there is anything."""
    with all_raise(dc.CollectiveMismatchError, "shape"):
        nodes.allreduce(np.ones(3 if nodes.rank else 2))
    with all_raise(dc.CollectiveMismatchError, "op"):
        nodes.allreduce(1, dc.MAX if nodes.rank else dc.SUM)
    with all_raise(dc.CollectiveMismatchError, "dtype"):
        nodes.allreduce(np.ones(3, "f4" if nodes.rank else "f8"))
    with all_raise(dc.CollectiveMismatchError, "bcast"):
        nodes.allreduce(np.ones(3)) if nodes.rank else nodes.bcast(np.ones(3))
    with all_raise(dc.CollectiveMismatchError, "barrier"):
        nodes.barrier() if nodes.rank else nodes.bcast(np.ones(3))
    with together():
        assert nodes.allreduce(1) == nodes.size


def test_nothing_is_left_of_a_call_that_went_wrong(nodes):
    """A call that takes nothing along follows one that had, on this rank alone."""
    with all_raise(dc.CollectiveMismatchError, "same collective"):
        nodes.allreduce(1) if nodes.rank == 0 else nodes.exchange({})
    with together():
        assert nodes.exchange({}) == {}


def test_results_are_arrays_of_their_own(nodes):
    with together():
        first = nodes.allreduce(np.ones(4))
        second = nodes.allreduce(np.full(4, 2.0))
        first += 1
        assert_same(second, np.full(4, 2.0 * nodes.size))
        assert_same(first, np.full(4, nodes.size + 1.0))
        request = nodes.iallreduce(np.ones(4))
        assert nodes.allreduce(3) == 3 * nodes.size
        assert_same(request.wait(), np.full(4, float(nodes.size)))


def test_records_and_times_are_broadcast(nodes):
    rows = np.array([(1, 2.5, b"ab"), (3, 4.5, b"c")], [("i", "i2"), ("f", "f8"), ("s", "S3")])
    for x in (rows, np.array(["2026-11-26"], "M8[D]"), np.array(2.5), np.float32(1.5), np.zeros((2, 0))):
        with together():
            result = nodes.bcast(x if nodes.rank == nodes.size - 1 else None, root=nodes.size - 1)
            assert_same(np.asarray(result), np.asarray(x))
            assert type(result) is type(x)
