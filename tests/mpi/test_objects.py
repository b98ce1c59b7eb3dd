"""Python objects through collectives and messages."""

import numpy as np
import pytest
from parallel import all_raise, together

import dcomp as dc


class _Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not to be pickled")


def _thing(rank: int) -> dict:
    return {"rank": rank, "text": "x" * (10 ** min(rank, 5)), "array": np.arange(rank * 5000.0), "none": None}


def _is_thing(x: dict, rank: int) -> bool:
    same = {key: x[key] for key in ("rank", "text", "none")} == {
        key: _thing(rank)[key] for key in ("rank", "text", "none")
    }
    return same and np.array_equal(x["array"], _thing(rank)["array"])


def test_bcast(comm):
    for i in range(3):  # the parts of a split communicator differ in size
        root = (i - 1) % comm.size
        with together():
            mine = _thing(root) if comm.rank == root else None
            result = comm.bcast_object(mine, root=root)
            assert _is_thing(result, root)
            assert comm.rank != root or result is mine


def test_gather(comm):
    root = comm.size - 1
    with together():
        result = comm.gather_object(_thing(comm.rank), root=root)
        if comm.rank == root:
            assert len(result) == comm.size
            assert all(_is_thing(one, rank) for rank, one in enumerate(result))
        else:
            assert result is None


def test_allgather(comm):
    with together():
        result = comm.allgather_object(_thing(comm.rank))
        assert len(result) == comm.size
        assert all(_is_thing(one, rank) for rank, one in enumerate(result))


def test_scatter(comm):
    root = comm.size // 2
    with together():
        things = [_thing(rank) for rank in range(comm.size)] if comm.rank == root else None
        assert _is_thing(comm.scatter_object(things, root=root), comm.rank)


@pytest.mark.parametrize("x", [None, 0, "", (), "text", b"bytes", [1, [2, {3}]], Ellipsis], ids=repr)
def test_small_objects(world, x):
    with together():
        assert world.bcast_object(x if world.rank == 0 else "other") == x
        assert world.allgather_object(x) == [x] * world.size
        assert world.scatter_object([x] * world.size if world.rank == 0 else None) == x


def test_equal_sized_and_different_objects(world):
    with together():
        assert world.allgather_object(world.rank) == list(range(world.size))
        assert world.allgather_object("x" * world.rank) == ["x" * rank for rank in range(world.size)]


@pytest.mark.parametrize("rank_of_thing", [0, 1, 5])
def test_send_and_receive(world, rank_of_thing):
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    thing = _thing(rank_of_thing)
    with together():
        # Small ones are sent at once; large ones may wait for the receive, so one side goes first.
        if world.size == 1:
            pass
        elif world.rank == 0:
            world.send_object(thing, right, tag=3)
            assert _is_thing(world.recv_object(left, tag=3), rank_of_thing)
        else:
            assert _is_thing(world.recv_object(left, tag=3), rank_of_thing)
            world.send_object(thing, right, tag=3)


def test_received_arrays_may_be_changed(world):
    with together():
        (first, *_) = world.allgather_object(np.arange(1000.0))
        first[:] = 5
        other = world.bcast_object(np.arange(1000.0) if world.rank == 0 else None)
        if world.rank > 0:
            other[:] = 6
        mine = world.scatter_object([np.zeros(3)] * world.size if world.rank == 0 else None)
        mine[:] = 7


def test_many_buffers_in_one_object(world):
    """More out-of-band buffers than a header has room for."""
    if world.size == 1:
        pytest.skip("needs a second rank")
    things = [np.full(2, i) for i in range(3000)]
    with together():
        if world.rank == 0:
            world.send_object(things, 1)
        elif world.rank == 1:
            received = world.recv_object(0)
            assert len(received) == 3000
            assert all((one == i).all() for i, one in enumerate(received))


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("function", ["gather_object", "allgather_object"])
@pytest.mark.parametrize("culprit", [0, -1])
def test_what_cannot_be_pickled_is_an_error_on_every_rank(world, function, culprit):
    culprit %= world.size
    bad = world.rank == culprit
    with all_raise(RuntimeError if bad else dc.CollectiveMismatchError, "not to be pickled"):
        getattr(world, function)(_Unpicklable() if bad else 1)
    with together():
        assert world.allgather_object(1) == [1] * world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("function", ["bcast_object", "scatter_object"])
@pytest.mark.parametrize("culprit", [0, -1])
def test_root_cannot_pickle(world, function, culprit):
    culprit %= world.size
    bad = world.rank == culprit
    x = _Unpicklable() if function == "bcast_object" else [_Unpicklable()] * world.size
    with all_raise(RuntimeError if bad else dc.CollectiveMismatchError, "not to be pickled"):
        getattr(world, function)(x if bad else None, root=culprit)
    with together():
        assert world.allgather_object(1) == [1] * world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("x", [[1] * 99, [], 5, None], ids=["too many", "none", "a number", "nothing"])
def test_scatter_of_the_wrong_number(world, x):
    with all_raise(
        (ValueError, TypeError) if world.rank == 0 else dc.CollectiveMismatchError, "scatter_object: x must"
    ):
        world.scatter_object(x if world.rank == 0 else None)
    with together():
        assert world.allgather_object(1) == [1] * world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("function", ["bcast", "gather", "scatter"])
def test_bad_root(world, function):
    x = [1] * world.size
    with all_raise(ValueError, f"{function}_object: root must be a rank"):
        getattr(world, f"{function}_object")(x, root=world.size)
    with together():
        assert world.allgather_object(1) == [1] * world.size


@pytest.mark.usefixtures("needs_checks")
def test_object_here_array_there(world):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    with all_raise(dc.CollectiveMismatchError, r"allgather.*allgather_object|allgather_object.*allgather"):
        world.allgather_object(1) if world.rank == 0 else world.allgather(1)
    with together():
        assert world.allgather_object(1) == [1] * world.size


def test_functions(world):
    with together():
        assert dc.bcast_object({1} if world.rank == 0 else None, comm=world) == {1}
        assert dc.allgather_object(None, comm=world) == [None] * world.size
        assert dc.scatter_object([{}] * world.size if world.rank == 0 else None, comm=world) == {}
        assert dc.gather_object(1, comm=world) == ([1] * world.size if world.rank == 0 else None)
