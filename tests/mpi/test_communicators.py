"""How communicators are made of communicators, and what they say of themselves."""

import gc
import inspect
import os

import numpy as np
import pytest
from mpi4py import MPI
from parallel import all_raise, together

import dcomp as dc
from dcomp.engine.channel import channels


def test_rank_and_size(comm):
    with together():
        assert comm.rank == comm.mpi.rank
        assert comm.size == comm.mpi.size
        assert f"rank {comm.rank} of {comm.size}" in repr(comm)


def test_world_and_self():
    with together():
        assert dc.COMM_WORLD.mpi == MPI.COMM_WORLD
        assert dc.COMM_SELF.mpi == MPI.COMM_SELF
        assert dc.COMM_WORLD is dc.COMM_WORLD
        assert (dc.rank, dc.size) == (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)
        assert (dc.COMM_SELF.rank, dc.COMM_SELF.size) == (0, 1)
        assert dc.COMM_SELF.allreduce(dc.rank) == dc.rank


@pytest.mark.parametrize("colors", [1, 2, 3])
def test_split(world, colors):
    with together(), world.split(world.rank % colors) as sub:
        members = list(range(world.rank % colors, world.size, colors))
        assert sub.size == len(members)
        assert members[sub.rank] == world.rank
        np.testing.assert_array_equal(sub.allgather(world.rank), members)


def test_split_by_key(world):
    with together(), world.split(0, key=-world.rank) as sub:
        assert sub.rank == world.size - 1 - world.rank
        np.testing.assert_array_equal(sub.allgather(world.rank), range(world.size)[::-1])


def test_split_with_ranks_left_out(world):
    with together():
        sub = world.split(None if world.rank == 0 else 3)
        if world.rank == 0:
            assert sub is None
        else:
            assert sub.size == world.size - 1
            assert sub.allreduce(1) == world.size - 1
            sub.free()
        assert world.split(None) is None


def test_split_of_a_split(world):
    with together(), world.split(world.rank // 2) as pair, pair.split(pair.rank) as alone:
        assert alone.size == 1
        assert alone.allreduce(world.rank) == world.rank
        assert pair.allreduce(1) == pair.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("color", [-1, 1.5, "red", [1]])
@pytest.mark.parametrize("culprit", [0, -1])
def test_wrong_color(world, color, culprit):
    culprit %= world.size
    bad = world.rank == culprit
    with all_raise((ValueError, TypeError) if bad else dc.CollectiveMismatchError, f"split: .*on rank {culprit}"):
        world.split(color if bad else 0)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("key", [1.5, "first", None])
def test_wrong_key(world, key):
    bad = world.rank == 0
    with all_raise((ValueError, TypeError) if bad else dc.CollectiveMismatchError, "split: key"):
        world.split(0, key=key if bad else 0)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_numbers_that_mpi_cannot_take(world, number):
    with all_raise(ValueError, "split: "):
        world.split(0, key=number)
    if number > 0:
        with all_raise(ValueError, "split: "):
            world.split(number)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("function", ["dup", "free", "split"])
def test_making_and_freeing_are_collective(world, function):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    sub = world.dup()
    with all_raise(dc.CollectiveMismatchError, rf"(?=[\s\S]*{function})(?=[\s\S]*barrier)"):
        if world.rank == 0:
            sub.barrier()
        else:
            getattr(sub, function)(*([0] if function == "split" else []))
    with together():
        assert sub.allreduce(1) == world.size
        sub.free()


def test_dup_is_apart(world):
    """Messages of one are not seen by the other, whatever the tags."""
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    with together(), world.dup() as sub:
        requests = [comm.isend(text, right, tag=1) for text, comm in ((1, world), (2, sub))]
        assert sub.recv(left, tag=1) == 2
        assert world.recv(left, tag=1) == 1
        dc.wait_all(requests)


def test_free_twice_and_world(world):
    sub = world.dup()
    sub.free()
    with all_raise(dc.UsageError, "free: .*freed"):
        sub.free()
    for never in (dc.COMM_WORLD, dc.COMM_SELF):
        with all_raise(dc.UsageError, "free: .* cannot be freed"):
            never.free()
    with together():
        assert world.allreduce(1) == world.size


def test_with_does_not_free_after_an_error(world):
    """Freeing is collective, and the other ranks may have had no error."""
    with together():
        with pytest.raises(ZeroDivisionError):
            with world.dup() as sub:
                raise ZeroDivisionError
        assert sub.allreduce(1) == world.size
        sub.free()


def test_wrap(world):
    """dcomp neither owns nor disturbs what it wraps."""
    with together():
        mpi = MPI.COMM_WORLD.Split(0, -MPI.COMM_WORLD.rank)
        comm = dc.Communicator(mpi)
        assert comm.mpi is mpi
        assert comm.rank == mpi.rank
        request = mpi.irecv(source=mpi.rank, tag=5)
        np.testing.assert_array_equal(comm.allgather(mpi.rank), range(mpi.size))
        mpi.send("a message", mpi.rank, 5)
        assert request.wait() == "a message"
        comm.free()
        assert mpi.allreduce(1) == mpi.size
        mpi.Free()


def test_wrap_keeps_the_error_handler_of_what_it_wraps(world):
    with together():
        mpi = MPI.COMM_WORLD.Dup()
        before = mpi.Get_errhandler()
        comm = dc.Communicator(mpi)
        after = mpi.Get_errhandler()
        assert before == after
        before.Free()
        after.Free()
        comm.free()
        mpi.Free()


@pytest.mark.parametrize("what", [None, 3, "MPI.COMM_WORLD"])
def test_wrap_something_else(what):
    with all_raise(TypeError, "Communicator: mpi_comm must be an mpi4py intracommunicator"):
        dc.Communicator(what)


def _take_comm() -> list:
    """All that is public and takes `comm`."""
    found = []
    for part in dc, dc.fft, dc.linalg:
        for one in (getattr(part, name) for name in part.__all__):
            made = one.__init__ if isinstance(one, type) else one
            if inspect.isfunction(made) and "comm" in inspect.signature(made).parameters:
                found.append(one)
    return found


@pytest.mark.parametrize("function", _take_comm(), ids=lambda one: one.__qualname__)
def test_comm_is_none_of_dcomps(function):
    """What is false is not taken for an omitted one, nor has mpi4py's communicator methods that would be called."""
    asked = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    arguments = ["x" for one in asked if one.kind is one.POSITIONAL_OR_KEYWORD]
    for other in (0, False, "", MPI.COMM_NULL):
        with all_raise(TypeError, "comm must be a communicator of dcomp's, or None, which means COMM_WORLD; got"):
            function(*arguments, comm=other)
    with all_raise(TypeError, r"got <mpi4py.MPI.Intracomm object at \w+>; dc.Communicator\(comm\) makes one of it"):
        function(*arguments, comm=MPI.COMM_WORLD)


def test_wrap_nothing():
    with all_raise(TypeError, "Communicator: mpi_comm must be an mpi4py intracommunicator"):
        dc.Communicator(MPI.COMM_NULL)


def test_wrap_intercommunicator(world):
    if world.size == 1:
        pytest.skip("takes two groups")
    with together():
        half = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank > 0)
        inter = half.Create_intercomm(0, MPI.COMM_WORLD, 0 if MPI.COMM_WORLD.rank else 1)
        with pytest.raises(TypeError, match="Communicator: mpi_comm must be an mpi4py intracommunicator"):
            dc.Communicator(inter)
        inter.Free()
        half.Free()


def test_node_and_leaders(world):
    """Whatever the nodes are, they share out the ranks."""
    with together():
        node = world.node
        assert node is world.node
        pretended = os.environ.get("DCOMP_RANKS_PER_NODE")
        shared = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
        limit = int(pretended) if pretended else shared.size
        assert node.size <= limit
        if shared.size == world.size:
            first = world.rank // limit * limit
            assert node.size == min(limit, world.size - first)
            assert node.rank == world.rank - first
        shared.Free()
        firsts = world.allgather(np.array([node.allreduce(world.rank, dc.MIN)]))
        leaders = world.leaders
        assert leaders is world.leaders
        if node.rank == 0:
            assert leaders.size == len(set(firsts.tolist()))
            np.testing.assert_array_equal(leaders.allgather(world.rank), sorted(set(firsts.tolist())))
        else:
            assert leaders is None


def test_node_of_a_part(world):
    with together(), world.split(world.rank % 2) as sub:
        node = sub.node
        assert node.size <= sub.size
        assert node.allreduce(1) == node.size
        assert (sub.leaders is None) == (node.rank > 0)


def test_free_with_node_and_shared_arrays(world):
    """Everything that was made of it goes with it."""
    with together():
        for _ in range(3):
            sub = world.dup()
            sub.node.barrier()
            sub.leaders
            sub.shared_array(5)
            sub.free()
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("shape", [(4, 3), 7, (0,), (2, 0), (), (np.int64(3),)], ids=str)
@pytest.mark.parametrize("dtype", [float, "i2", np.dtype([("a", "u1"), ("b", "f8")])], ids=str)
def test_shared_array(world, shape, dtype):
    with together(), world.dup() as sub:
        array = sub.shared_array(shape, dtype)
        assert array.shape == ((shape,) if isinstance(shape, int) else tuple(shape))
        assert array.dtype == np.dtype(dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert (array == np.zeros((), dtype)).all()


def test_shared_array_is_shared(world):
    with together(), world.dup() as sub:
        array = sub.shared_array((sub.node.size, 2), "i8")
        other = sub.shared_array(sub.node.size, "i8")
        array[sub.node.rank] = world.rank
        other[sub.node.rank] = -1
        sub.node.barrier()
        np.testing.assert_array_equal(array[:, 0], sub.node.allgather(world.rank))
        assert (other == -1).all()


def test_collectives_on_parts_of_a_shared_array(world):
    """Each rank sends its row, and receives into its own; the memory is used again when the communicator is freed."""
    with together():
        for n in (10, 5000, 5000, 40000):
            with world.dup() as sub:
                node = sub.node
                array, sums = sub.shared_array((node.size, n)), sub.shared_array((node.size, n))
                assert not sums.any()
                array[node.rank] = np.arange(n) + world.rank
                node.barrier()
                expected = np.arange(n) * float(world.size) + sum(range(world.size))
                assert world.allreduce(array[node.rank], out=sums[node.rank]) is not None
                node.barrier()
                assert (sums == expected).all()
                node.barrier()


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(-1, float), ((2, -3), float), ("x", float), (2, object), (2.5, float), (2, "nonsense"), (2, "U3")],
)
@pytest.mark.parametrize("culprit", [0, -1])
def test_wrong_shared_arrays(world, shape, dtype, culprit):
    culprit %= world.size
    bad = world.rank == culprit
    with all_raise((ValueError, TypeError) if bad else dc.CollectiveMismatchError, "shared_array: "):
        world.shared_array(shape if bad else 2, dtype if bad else float)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("shape", [(1,) * 65, (0, 1 << 62, 1 << 62)], ids=["dimensions", "extents"])
def test_shared_arrays_that_numpy_cannot_make(world, shape):
    """The same error on every rank, and no one waits."""
    with all_raise(ValueError, "array|dimension"):
        world.shared_array(shape)
    with together():
        assert world.allreduce(1) == world.size
        assert not world.shared_array(7).any()


@pytest.mark.parametrize("shape", [(1 << 45,), (1 << 60,)], ids=["TiB", "EiB"])
def test_shared_arrays_that_no_memory_holds(world, shape):
    with all_raise(MemoryError, "shared_array: shape .* more than the node"):
        world.shared_array(shape)
    with together():
        assert not world.shared_array(7).any()


@pytest.mark.usefixtures("needs_checks")
def test_shared_arrays_differ(world):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    ranks = world.node.size  # the first use of `node` is collective
    if world.bcast(ranks if world.rank == 0 else None) > 1:
        with all_raise(dc.CollectiveMismatchError, "shared_array: shape must"):
            world.shared_array(2 + (world.rank == 0))
    else:  # rank 0 is a node by itself, and nodes may differ
        with together():
            assert world.dup().shared_array(2 + (world.rank == 0)).shape == (2 + (world.rank == 0),)
    with all_raise(dc.CollectiveMismatchError, "shared_array: dtype must"):
        world.shared_array(2, "i4" if world.rank == 0 else "f4")
    with together():
        assert world.allreduce(1) == world.size


def test_block(comm):
    with together():
        for n in (0, 1, comm.size - 1, comm.size, 3 * comm.size + 1, 100):
            where = comm.block(n)
            np.testing.assert_array_equal(np.arange(n)[where], np.array_split(np.arange(n), comm.size)[comm.rank])
        assert dc.block(10, comm=comm) == comm.block(10)
        assert dc.block(10) == dc.COMM_WORLD.block(10)


def test_freed_ones_leave_nothing_behind(world):
    with together():
        gc.collect()
        before = len(channels)
        for _ in range(10):
            with world.dup() as sub:
                sub.node
        del sub
        gc.collect()
        assert len(channels) <= before  # fewer, if the progress thread has just held one that was freed before


@pytest.mark.big
@pytest.mark.timeout(300)
def test_more_made_and_freed_than_mpi_can_hold(world):
    """MPICH has room for some 2000 communicators at once."""
    with together():
        for _ in range(1100):
            with world.dup() as sub:
                pass
        assert sub is not None
