"""Every mistake with every collective, made on the first rank and on the last: one fault, every rank.

Every rank raises; the message names function, ranks, values and lines; no `out` is touched; the next call works.
"""

import os
import threading
import time

import numpy as np
import pytest
from arrays import is_kept, out_like
from mistakes import ALL, COMMON, LOCAL, ROOTED, Mistake, Setting
from parallel import all_raise, together

import dcomp as dc

pytestmark = pytest.mark.usefixtures("needs_checks")


def _call_rightly(comm, form, name, arguments):
    return _FORMS[form][0](comm, name, arguments)


def _call_wrongly(comm, form, name, arguments):
    return _FORMS[form][1](comm, name, arguments)


# The lines of these calls are what the messages must name, so right and wrong ones stand on lines of their own.
def _right_method(comm, name, arguments):
    return getattr(comm, name)(**arguments)


def _wrong_method(comm, name, arguments):
    return getattr(comm, name)(**arguments)


def _right_function(comm, name, arguments):
    return getattr(dc, name)(**arguments, comm=comm)


def _wrong_function(comm, name, arguments):
    return getattr(dc, name)(**arguments, comm=comm)


def _right_request(comm, name, arguments):
    return getattr(comm, f"i{name}")(**arguments).wait()


def _wrong_request(comm, name, arguments):
    return getattr(comm, f"i{name}")(**arguments).wait()


def _right_plan(comm, name, arguments):
    return getattr(comm, f"{name}_init")(**arguments)


def _wrong_plan(comm, name, arguments):
    return getattr(comm, f"{name}_init")(**arguments)


_FORMS = {
    "method": (_right_method, _wrong_method),
    "function": (_right_function, _wrong_function),
    "non-blocking": (_right_request, _wrong_request),
    "plan": (_right_plan, _wrong_plan),
}
_NAMES = {"method": "{}", "function": "{}", "non-blocking": "i{}", "plan": "{}_init"}


def _site(function) -> str:
    return f"{os.path.basename(__file__)}:{function.__code__.co_firstlineno + 1}"


def _setting(mistake: Mistake, name: str, culprit: int, size: int) -> Setting:
    culprit %= size
    root = culprit if mistake.culprit_is == "root" else (culprit + 1) % size
    return Setting(name, size, culprit, root)


def _commit(comm, mistake: Mistake, name: str, culprit: int, form: str) -> None:
    """Make the mistake and look at what comes of it, and after it."""
    size, rank = comm.size, comm.rank
    if size == 1 and (not mistake.is_local or mistake.culprit_is == "not root"):
        if dc.size == 1 or comm is dc.COMM_SELF:
            pytest.skip("takes two ranks")
        for _ in range(2):  # alone in its part of a split communicator, whose other parts go on
            with together():
                pass
        return
    setting = _setting(mistake, name, culprit, size)
    is_culprit = rank == setting.culprit
    function = _NAMES[form].format(name)
    arguments = mistake.others(setting, rank) if mistake.others else setting.right(rank)
    shape = setting.result_shape(rank)
    out = None
    if is_culprit:
        arguments = mistake.change(setting, arguments)
        out = arguments.get("out")
        out = out if isinstance(out, np.ndarray) else None
        before = None if out is None else out.copy()
    elif shape is not None and mistake.title != "axis":
        out = arguments["out"] = out_like(shape, "f8", "C")

    error = mistake.error if is_culprit or not mistake.is_local else dc.CollectiveMismatchError
    with together():
        with pytest.raises(error) as caught:
            (_call_wrongly if is_culprit else _call_rightly)(comm, form, name, arguments)
        assert caught.type is error
        told = str(caught.value)
        assert f"{function}: " in told
        for part in mistake.told:
            assert part.format(size=size, culprit=setting.culprit) in told
        right, wrong = map(_site, _FORMS[form])
        if not mistake.is_local:
            assert wrong in told
            assert right in told
            assert f"rank {setting.culprit}" in told
        elif not is_culprit:
            assert f"on rank {setting.culprit} of {size}, at " in told
            assert wrong in told
            assert f"{mistake.error.__name__}: {function}: " in told
        else:
            assert f"on rank {setting.culprit} of {size}" in told
        if out is not None:
            assert np.array_equal(out, before) if is_culprit else is_kept(out)
    _works(comm, setting, form)


def _works(comm, setting: Setting, form: str) -> None:
    """The next right call, of the same collective and of another."""
    with together():
        result = _call_rightly(comm, form, setting.name, setting.right(comm.rank))
        if form == "plan":
            plan, result = result, result()
            plan.free()
        shape = setting.result_shape(comm.rank)
        assert result is None if shape is None else result.shape == shape
        assert comm.allreduce(comm.rank) == sum(range(comm.size))


def _cases(mistakes: list[Mistake]) -> list:
    return [pytest.param(mistake, name, id=f"{mistake.title}-{name}") for mistake in mistakes for name in mistake.names]


@pytest.mark.parametrize("culprit", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize(("mistake", "name"), _cases(COMMON + LOCAL))
def test_one_rank_is_wrong(world, mistake, name, culprit):
    _commit(world, mistake, name, culprit, "method")


@pytest.mark.parametrize("form", ["function", "non-blocking", "plan"])
@pytest.mark.parametrize(("mistake", "name"), _cases([mistake for mistake in COMMON + LOCAL if mistake.in_short_list]))
def test_in_other_forms(world, mistake, name, form):
    _commit(world, mistake, name, -1, form)


@pytest.mark.parametrize("mistake", [COMMON[0], LOCAL[0]], ids=lambda mistake: mistake.title)
def test_in_every_communicator(comm, mistake):
    _commit(comm, mistake, mistake.names[0], -1, "method")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("culprit", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("form", ["method", "non-blocking", "plan"])
def test_another_collective(world, name, culprit, form):
    if world.size == 1:
        pytest.skip("takes two ranks")
    culprit %= world.size
    other = ALL[(ALL.index(name) + 1) % len(ALL)]
    is_culprit = world.rank == culprit
    called = other if is_culprit else name
    arguments = Setting(called, world.size, culprit, 0).right(world.rank)
    with together():
        with pytest.raises(dc.CollectiveMismatchError) as caught:
            (_call_wrongly if is_culprit else _call_rightly)(world, form, called, arguments)
        told = str(caught.value)
        for part in (*map(_site, _FORMS[form]), *(_NAMES[form].format(one) for one in (name, other))):
            assert part in told
        assert f"on rank {culprit}" in told
    _works(world, Setting(name, world.size, culprit, 0), form)


@pytest.mark.parametrize("name", [name for name in ALL if name != "barrier"])
@pytest.mark.parametrize("form", ["method", "function", "non-blocking", "plan"])
def test_masked_arrays_on_every_rank(world, name, form):
    """Its own error where an array is passed: on every rank, or on the root."""
    setting = Setting(name, world.size, 0, 0)
    arguments = setting.right(world.rank)
    error = dc.CollectiveMismatchError
    if "x" in arguments:
        arguments["x"] = np.ma.masked_greater(arguments["x"], 1)
        error = TypeError
    with together():
        with pytest.raises(error, match=r"got a masked one\. Pass x\.filled\(value\), or x\.data") as caught:
            _call_wrongly(world, form, name, arguments)
        assert caught.type is error
    _works(world, setting, form)


@pytest.mark.parametrize("name", ALL)
def test_blocking_here_and_nonblocking_there(world, name):
    if world.size == 1:
        pytest.skip("takes two ranks")
    setting = Setting(name, world.size, 0, 0)
    arguments = setting.right(world.rank)
    with all_raise(dc.CollectiveMismatchError, rf"{name}.*i{name}|i{name}.*{name}"):
        if world.rank == 0:
            getattr(world, f"i{name}")(**arguments).wait()
        else:
            getattr(world, name)(**arguments)
    _works(world, setting, "method")


@pytest.mark.parametrize("name", ROOTED)
@pytest.mark.parametrize("culprit", [0, -1], ids=["first", "last"])
def test_another_root(world, name, culprit):
    """Each rank's call is right by itself."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    culprit %= world.size
    is_culprit = world.rank == culprit
    setting = Setting(name, world.size, culprit, (culprit + 1) % world.size)
    other = Setting(name, world.size, culprit, culprit)
    arguments = (other if is_culprit else setting).right(world.rank)
    with together():
        with pytest.raises(dc.CollectiveMismatchError, match=f"{name}: root must be the same on every rank") as caught:
            (_call_wrongly if is_culprit else _call_rightly)(world, "method", name, arguments)
        for site in map(_site, _FORMS["method"]):
            assert site in str(caught.value)
        assert f"{culprit} on rank {culprit}" in str(caught.value)
    _works(world, setting, "method")


@pytest.mark.parametrize("name", ["gather", "allgather"])
def test_out_of_the_wrong_length(world, name):
    """Only the lengths of all ranks tell."""
    setting = Setting(name, world.size, 0, 0)
    arguments = setting.right(world.rank)
    if world.rank == 0:
        arguments["out"] = out_like((4 * world.size + 1, 4), "f8", "C")
    with all_raise(dc.ShapeMismatchError, rf"{name}: out must have the length of the result"):
        getattr(world, name)(**arguments)
    with together():
        assert world.rank != 0 or is_kept(arguments["out"])
    _works(world, setting, "method")


@pytest.mark.parametrize("name", ["gather", "allgather"])
def test_out_of_the_wrong_length_for_uneven_blocks(world, name):
    x = np.zeros((world.rank, 2))
    total = sum(range(world.size))
    out = out_like((total + 1, 2), "f8", "C") if world.rank == 0 else None
    with all_raise(dc.ShapeMismatchError, rf"{name}: out must have the length of the result"):
        getattr(world, name)(x, out=out)
    with together():
        assert out is None or is_kept(out)
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("culprit", [0, -1], ids=["first", "last"])
def test_recv_counts_that_are_not_what_is_sent(world, culprit):
    culprit %= world.size
    x = np.zeros(2 * world.size)
    counts = [2] * world.size
    if world.rank == culprit:
        counts[0] += 1
    bad = world.rank == culprit
    with all_raise(ValueError if bad else dc.CollectiveMismatchError, "alltoall: recv_counts must be what"):
        world.alltoall(x, send_counts=[2] * world.size, recv_counts=counts)
    with together():
        assert world.alltoall(x).shape == x.shape


def test_lengths_that_cannot_be_joined_along_another_axis(world):
    """What is cut must be cut alike."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    x = np.zeros((2 * world.size + (world.rank == 0), 3))
    with all_raise(dc.ShapeMismatchError, "alltoall: x must have the same length along split_axis"):
        world.alltoall(x, concat_axis=1)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("culprit", [0, -1], ids=["first", "last"])
def test_out_of_scatter_with_counts(world, culprit):
    """Only the root's counts tell that a rank's out is too long."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    culprit %= world.size
    root = (culprit + 1) % world.size
    counts = [rank % 3 for rank in range(world.size)]
    x = np.zeros(sum(counts)) if world.rank == root else None
    out = out_like((counts[world.rank] + (world.rank == culprit),), "f8", "C")
    with all_raise(dc.ShapeMismatchError, "scatter: "):
        world.scatter(x, counts=counts if world.rank == root else None, root=root, out=out)
    with together():
        assert is_kept(out)
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("name", [name for name in ALL if name != "barrier"])
def test_every_rank_is_wrong_in_the_same_way(world, name):
    """Then each gets its own error."""
    setting = Setting(name, world.size, 0, 0)
    with all_raise(TypeError, f"{name}: out must be a NumPy array"):
        getattr(world, name)(**setting.right(world.rank), out="here")
    _works(world, setting, "method")


def test_ranks_are_wrong_in_different_ways(world):
    if world.size == 1:
        pytest.skip("takes two ranks")
    x = np.zeros(3)
    mistakes = [({"op": "sum"}, TypeError), ({"out": 3}, TypeError), ({"out": np.zeros(5)}, ValueError), ({}, None)]
    arguments, error = mistakes[world.rank % 4]
    with together():
        with pytest.raises(error or dc.CollectiveMismatchError) as caught:
            world.allreduce(x, **arguments)
        if error is None:
            for part in ("op must be", "out must be", "out must have shape", "rank 0 of", "rank 1 of", "rank 2 of"):
                assert part in str(caught.value)
    with together():
        assert world.allreduce(1) == world.size


def test_many_different_shapes_are_told_briefly(world):
    if world.size == 1:
        pytest.skip("takes two ranks")
    with together():
        with pytest.raises(dc.ShapeMismatchError) as caught:
            world.allreduce(np.zeros(world.rank))
        assert len(str(caught.value)) < 2500
        assert "(0,) on rank 0" in str(caught.value)


def test_mistake_again_and_again(world):
    if world.size == 1:
        pytest.skip("takes two ranks")
    for i in range(20):
        with all_raise(dc.ShapeMismatchError, "allreduce: shape"):
            world.allreduce(np.zeros(2 + (world.rank == i % world.size)))
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.parametrize("name", ALL)
def test_after_free(world, name):
    with together():
        sub = world.dup()
        arguments = Setting(name, world.size, 0, 0).right(world.rank)
        sub.free()
        for called in (name, f"i{name}", f"{name}_init"):
            with pytest.raises(dc.UsageError, match=rf"{called}: .*cannot be used any more.*it has been freed"):
                getattr(sub, called)(**arguments)


@pytest.mark.parametrize("function", ["send", "isend", "recv", "irecv", "sendrecv", "probe", "exchange", "dup", "free",
                                      "split", "cart", "shared_array", "bcast_object", "send_object"])  # fmt: skip
def test_everything_else_after_free(world, function):
    arguments = {
        "send": (1, 0), "isend": (1, 0), "sendrecv": (1, 0, 0), "exchange": ({},), "split": (0,),
        "shared_array": (3,), "bcast_object": (1,), "send_object": (1, 0),
    }.get(function, ())  # fmt: skip
    with together():
        sub = world.dup()
        sub.free()
        with pytest.raises(dc.UsageError, match="it has been freed"):
            getattr(sub, function)(*arguments)


@pytest.mark.parametrize("attribute", ["node", "leaders"])
def test_attributes_after_free(world, attribute):
    sub = world.dup()
    sub.free()
    with all_raise(dc.UsageError, "it has been freed"):
        getattr(sub, attribute)


def test_two_threads_in_one_communicator(world):
    """The second one raises at once, and the first is not disturbed."""
    if world.size == 1:
        pytest.skip("takes two ranks")
    sub = world.dup()
    results: list = []
    thread = threading.Thread(target=lambda: results.append(sub.allreduce(1)), daemon=True)
    with together():
        if world.rank == 0:
            thread.start()
            time.sleep(0.1)
            with pytest.raises(dc.UsageError, match=r"allgather: another thread is in a call on .* on rank 0 of"):
                sub.allgather(1)
    with together():
        results.append(sub.allreduce(1)) if world.rank else thread.join(5)
        assert results == [world.size]
    with together():
        assert sub.allreduce(2) == 2 * world.size
        sub.free()


def test_two_threads_in_two_communicators(world):
    results: dict[int, list] = {}

    def work(which: int, comm: dc.Communicator) -> None:
        results[which] = [comm.allreduce(np.full(1000, i + which))[0] for i in range(50)]

    with together(), world.dup() as a, world.dup() as b:
        threads = [threading.Thread(target=work, args=(i, comm)) for i, comm in enumerate((a, b))]
        for thread in threads[:: 1 if world.rank % 2 else -1]:
            thread.start()
        for thread in threads:
            thread.join()
        for which in range(2):
            assert results[which] == [(i + which) * world.size for i in range(50)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child(world):
    """A child of os.fork is no rank: any call raises there at once."""
    with together():
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            told = b"nothing"
            try:
                world.allreduce(1)
            except dc.UsageError as error:
                told = str(error).encode()
            except BaseException as error:
                told = repr(error).encode()
            finally:
                os.write(writer, told)
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        assert "forked" in told
        assert "allreduce" in told
        assert world.allreduce(1) == world.size
