"""Large collectives of several nodes: real ones, or DCOMP_RANKS_PER_NODE makes them of one."""

import numpy as np
import oracle
import pytest
from arrays import assert_same, values
from parallel import together

import dcomp as dc

if dc.COMM_WORLD.node.size == dc.size:
    pytest.skip("all ranks are on one node; a run of its own has several", allow_module_level=True)


@pytest.fixture(scope="module", params=["in order", "in turn", "to and fro"])
def several(request):
    """All ranks, on several nodes: node after node, rank after rank on the next node, or that to and fro."""
    world = dc.COMM_WORLD
    if world._channel.levels is None:
        pytest.skip("numba cannot compile here, or a heap is full")
    if request.param == "in order":
        yield world
    else:
        width = world.allreduce(world.node.size, dc.MAX)  # of all nodes but the last
        node, place = divmod(world.rank, width)
        if request.param == "to and fro" and place % 2:
            node = -node
        with world.split(0, key=place * world.size + node) as turned:
            assert turned._channel.levels is not None
            assert not turned._channel.levels.is_in_order
            yield turned


@pytest.mark.parametrize("n", [5000, 70_001, 300_000])
@pytest.mark.parametrize("dtype", ["f8", "f4", ">i4", "?", "i1"])
@pytest.mark.parametrize("name", ["allreduce", "reduce"])
def test_reductions(several, name, dtype, n):
    p, rank = several.size, several.rank
    xs = [values((p, r), (n,), dtype) for r in range(p)]
    total = oracle.combine(xs, dc.MAX)
    with together():
        for root in {0, 2 % p, p - 1}:
            arguments = {} if name == "allreduce" else {"root": root}
            receives = name == "allreduce" or rank == root
            for out in (None, np.empty(n, dtype), np.empty((n, 2), dtype)[:, 0], "x"):
                x = xs[rank].copy()
                out = (x if isinstance(out, str) else out) if receives else None
                got = getattr(several, name)(x, dc.MAX, out=out, **arguments)
                if receives:
                    assert_same(got, total)
                    assert out is None or got is out
                else:
                    assert got is None


def test_sums_of_matrices_in_any_order(several):
    p, rank = several.size, several.rank
    xs = [np.arange(60_000.0).reshape(200, 300) * (r + 1) for r in range(p)]
    total = sum(xs)
    with together():
        for x in (xs[rank], np.asfortranarray(xs[rank]), np.repeat(xs[rank], 2, axis=0)[::2]):
            assert_same(several.allreduce(x), total)
            assert_same(several.allreduce(x, out=np.empty((300, 200)).T), total)


def test_operation_that_does_not_commute(several):
    """Of two ranks' values the second: the last rank's stays, whatever the order of the nodes."""
    last = dc.Op(lambda a, b: b, commutative=False)
    with together():
        got = several.allreduce(np.full(20_000, several.rank), last)
        assert_same(got, np.full(20_000, several.size - 1))


@pytest.mark.parametrize("dtype", ["f8", ">i2", [("a", "i4"), ("b", "f8")], "M8[s]", "f2"])
def test_bcast(several, dtype):
    n, rank = 140_001, several.rank
    with together():
        for root in range(several.size):
            x = values((several.size, root), (n,), dtype)
            for out in (None, np.empty(n, dtype), np.empty((n, 2), dtype)[:, 1]):
                mine = x if rank == root else None
                got = several.bcast(mine, root=root, out=x if rank == root and out is not None else out)
                assert_same(got, x)
            assert_same(several.bcast(x[::-1] if rank == root else None, root=root), x[::-1])


def test_they_go_by_lanes(several):
    several.allreduce(np.ones(21_000))
    several.bcast(np.ones(21_000) if several.rank == 0 else None)
    kinds = {
        (terms.row.name, type(route).__name__)
        for terms in several._channel.terms.values()
        for route in terms.routes.values()
        if np.prod(route.shape or ()) == 21_000
    }
    assert kinds == {("allreduce", "LanesRoute"), ("bcast", "LanesRoute")}


def test_requests_and_plans(several):
    """They go through MPI."""
    x = np.full(50_000, several.rank + 1.0)
    total = np.full(50_000, several.size * (several.size + 1) / 2)
    with together():
        request = several.iallreduce(x)
        plan = several.allreduce_init(x)
        assert_same(several.allreduce(x), total)
        assert_same(plan(), total)
        assert_same(request.wait(), total)
        plan.free()


def test_parts_of_nodes(world):
    """Communicators with as many ranks on each node, with differing numbers, with one on each."""
    with together():
        for colors in (world.rank % 2, 0 if world.rank else 1, min(world.rank, 2)):
            with world.split(colors) as part:
                x = np.full(30_000, float(part.rank))
                assert_same(part.allreduce(x), np.full(30_000, part.size * (part.size - 1) / 2))
                assert_same(part.bcast(x if part.rank == part.size - 1 else None, root=part.size - 1),
                            np.full(30_000, part.size - 1.0))  # fmt: skip


def test_a_matrix_as_out(several):
    x = np.ones((200, 200))
    out = np.zeros((200, 200)).view(np.matrix)
    with together():
        assert several.allreduce(x, out=out if several.rank == 0 else None) is not None
        if several.rank == 0:
            assert_same(np.asarray(out), x * several.size)
