"""Checkpoint against NumPy on the whole state: at other numbers of ranks, in the background, and when it goes wrong."""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, OFFSETS, assert_same, laid_out, values
from oracle import cut
from parallel import all_raise, together

import dcomp as dc
from dcomp._checkpoint import files, manifest
from dcomp._checkpoint.checkpoint import _Behind


@pytest.fixture
def folder(world) -> Iterator[Path]:
    """A folder that all ranks know; in memory, if there is one: what is tested here does not depend on the disk."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = tempfile.mkdtemp(prefix="dcomp-test-", dir=base) if world.rank == 0 else None
    made = world.bcast_object(made)
    yield Path(made, "run")
    if world.rank == 0:
        shutil.rmtree(made, ignore_errors=True)  # after a failure others may still write there


@pytest.fixture(params=[64, 4 << 20], ids=["many pieces", "one piece"])
def piece(request, monkeypatch):
    """Bytes that have a checksum of their own."""
    monkeypatch.setattr(manifest, "PIECE", request.param)


def state_of(full: dict[str, np.ndarray], comm: dc.Communicator, seed: int) -> dict:
    """What this rank saves of a state: blocks of any lengths."""
    blocks = {}
    for name, x in full.items():
        axis = int(name[-1]) if name[-1].isdigit() else None
        if axis is None:
            blocks[name] = dc.Replicated(x)
        else:
            counts = np.random.default_rng(seed).multinomial(x.shape[axis], [1 / comm.size] * comm.size)
            part = laid_out(cut(x, counts, axis)[comm.rank], LAYOUTS[len(blocks) % len(LAYOUTS)])
            blocks[name] = part if axis == 0 else dc.Cut(part, axis - part.ndim)
    return {"arrays": blocks, "time": 0.1}


def assert_restored(state: dict, full: dict[str, np.ndarray], comm: dc.Communicator) -> None:
    """Every rank has its block, to the last bit."""
    assert list(state) == ["arrays", "time"]
    assert list(state["arrays"]) == list(full)
    for name, x in full.items():
        if name[-1].isdigit():
            axis = int(name[-1])
            x = np.moveaxis(np.moveaxis(x, axis, 0)[comm.block(x.shape[axis])], 0, axis)
        got = state["arrays"][name]
        assert_same(got, x)
        assert got.flags.c_contiguous
        assert got.flags.writeable
    assert state["time"] == 0.1


def wholes() -> dict[str, np.ndarray]:
    """Arrays by names that end in the axis along which they are cut; those that every rank has have no number."""
    full = {f"of dtype {i} 0": values(i, (13, 2), dtype) for i, dtype in enumerate(DTYPES) if dtype != OFFSETS}
    for shape in [(7,), (3, 50), (50, 3), (2, 5, 3), (4, 3, 2, 5), (0, 3), (3, 0), (1, 1, 9)]:
        full |= {f"{shape} {axis}": values(shape, shape, "f4") for axis in range(len(shape))}
    full["../\ud800/ 0"] = np.arange(5)
    return full | {"scalar": np.array(2.5), "table": values(1, (9, 3), "i2"), "text": np.array(["a", "bcd"])}


@pytest.mark.usefixtures("piece")
def test_restored_at_any_number_of_ranks(world, folder):
    """Saved by all and restored by 1, 2, ... ranks; and the other way around."""
    full = wholes()
    numbers = sorted({1, 2, 3, world.size - 1, world.size} & set(range(1, world.size + 1)))
    with dc.Checkpoint(folder, keep=9) as checkpoint:
        checkpoint.save(0, **state_of(full, world, 1))
    for ranks in numbers:
        sub = world.split(0 if world.rank < ranks else None)
        if sub is not None:
            with dc.Checkpoint(folder, keep=9, comm=sub) as checkpoint:
                step, state = checkpoint.restore(0)
                assert step == 0
                assert_restored(state, full, sub)
                checkpoint.save(ranks, **state_of(full, sub, ranks))
            sub.free()
        world.barrier()
    with dc.Checkpoint(folder) as checkpoint, together():
        assert checkpoint.verify() == dict.fromkeys([0, *numbers])
        for ranks in numbers:
            assert_restored(checkpoint.restore(ranks)[1], full, world)
        last = sorted(folder.glob("*.step-*"))[-1]
        for name, x in full.items():  # without dcomp
            path = last / manifest.Array(("arrays", name), _TOLD).name
            assert_same(np.array(np.load(path, mmap_mode="r" if x.size else None)), x)  # NumPy 1.26 maps no empty ones


_TOLD = {"dtype": "'<f8'", "shape": [], "axis": None, "start": 0, "blocks": [], "piece": 1, "checksums": []}


def test_scalars_and_generators(world, folder):
    """Of the same kinds and values; generators go on where they were."""
    single = {
        "a": True, "b": 2**70, "c": -0.0, "d": float("inf"), "e": 1 - 2j, "f": "ä\n\ud800", "g": None,
        "h": np.float32(0.1), "i": np.datetime64("2024-02-29"), "j": np.bool_(False), "k": {}, "../l/": {"": 1}.pop(""),
    }  # fmt: skip
    single["long"] = padded(world.rank)[1]
    common, own = dc.random.Generator(3, comm=world), np.random.default_rng(world.rank)
    mine = dc.random.Generator(3, comm=dc.COMM_SELF).spawn(world.size)[world.rank]
    kinds = [np.random.Generator(kind(5)) for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64)]
    generators = {"common": common, "own": own, "mine": mine} | {f"kind {i}": one for i, one in enumerate(kinds)}
    generators["of many"] = np.random.default_rng([1, 2**70, np.int64(3)]).spawn(2)[1]
    for one in generators.values():
        one.random(3)
        one.spawn(2)
    checkpoint = dc.Checkpoint(folder, comm=world)
    checkpoint.save(1, single=single, generators=generators, table=dc.Replicated(padded(world.rank)))
    step, state = checkpoint.restore()
    with together():
        assert step == 1
        assert repr(state["single"]) == repr(single)
        assert [type(one) for one in state["single"].values()] == [type(one) for one in single.values()]
        for name, one in generators.items():
            assert type(state["generators"][name]) is type(one)
            assert_same(state["generators"][name].random(5), one.random(5))
            (child,), (expected,) = state["generators"][name].spawn(1), one.spawn(1)
            assert_same(child.random(5), expected.random(5))
    if world.size > 1:
        sub = world.split(0 if world.rank == 0 else None)
        if sub is not None:
            with pytest.raises(dc.CheckpointError, match=f"each of the {world.size} ranks .* generator of its own"):
                dc.Checkpoint(folder, comm=sub).restore()
    checkpoint.close()


def padded(rank: int) -> np.ndarray:
    """The same numbers on every rank; where they leave bytes unused, as on x86, these are not the same."""
    x = np.arange(3, dtype="longdouble") / 3
    if np.finfo(x.dtype).nmant == 63:
        x.view(np.uint8).reshape(3, -1)[:, 10:] = rank
    return x


def test_the_last_ones_are_kept(world, folder):
    with dc.Checkpoint(folder, comm=world) as checkpoint, together():
        assert checkpoint.restore() == (None, {})
        assert checkpoint.steps() == []
        assert checkpoint.verify() == {}
        for step in (10, 20, 30, 20):  # as after a restart from an older one
            checkpoint.save(step, x=np.full(2, step + len(checkpoint.steps())))
        assert checkpoint.steps() == [30, 20]
        step, state = checkpoint.restore()
        assert (step, state["x"][0]) == (20, 22)
        assert len(list(folder.iterdir())) == 3
    with dc.Checkpoint(folder, comm=world, keep=1) as checkpoint:
        with all_raise(dc.CheckpointError, r"step 10 is not in .*run; the steps there are: 30, 20\."):
            checkpoint.restore(10)
        checkpoint.save(40)
        with together():
            assert checkpoint.restore() == (40, {})
            assert checkpoint.steps() == [40]
    with all_raise(dc.UsageError, "has been closed"):
        checkpoint.steps()


def test_behind_the_computation(world, folder, monkeypatch):
    """What is saved is what there was at the call; calls that need it wait; errors are raised by the next call."""
    go_on = threading.Event()
    write_block = files.write_block

    def write_late(*arguments):
        assert go_on.wait(30)
        return write_block(*arguments)

    monkeypatch.setattr(files, "write_block", write_late)
    x, column = np.arange(5.0) + world.rank, np.full((3, 2), world.rank)
    checkpoint = dc.Checkpoint(folder, comm=world)
    checkpoint.save(1, wait=False, x=x, table=dc.Replicated(np.ones(3)), column=dc.Cut(column, 1))
    x[:], column[:] = -1, -1
    with together():
        assert world.allreduce(1) == world.size  # while it is written
        assert not list(folder.glob("0*"))
        go_on.set()
        checkpoint.wait()
        state = checkpoint.restore(1)[1]
        assert_same(state["x"], np.arange(5.0) + world.rank)
        assert (state["column"] == world.rank).all()
    go_on.clear()
    checkpoint.save(1, wait=False, x=x)
    interrupting = threading.Thread(target=interrupt_its_wait)
    interrupting.start()
    with together(), pytest.raises(KeyboardInterrupt):
        checkpoint.wait()
    interrupting.join()
    go_on.set()
    with together():
        assert checkpoint.steps() == [1, 1]  # it was waited for again
    for call in (checkpoint.wait, lambda: checkpoint.save(3, x=x), checkpoint.restore):
        go_on.clear()
        checkpoint.save(2, wait=False, x=x)
        world.barrier()
        if world.rank == world.size - 1:
            shutil.rmtree(next(folder.glob(".*.writing")))
        go_on.set()
        with all_raise(dc.CheckpointError, r"save: .*x\.npy: No such file .* The path must be on a file system"):
            call()
    with together():
        assert checkpoint.steps() == [1, 1]
    checkpoint.save(4, wait=False)
    checkpoint.close()
    with dc.Checkpoint(folder, comm=world) as checkpoint, together():
        assert checkpoint.steps() == [1, 4]


def interrupt_its_wait() -> None:
    """Send SIGINT to the main thread once that waits for what is written behind it; elsewhere it would end the run."""
    main = threading.main_thread().ident
    assert main is not None
    end = time.monotonic() + 20
    while time.monotonic() < end:
        frame, codes = sys._current_frames().get(main), []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        if codes[0] is threading.Condition.wait.__code__ and _Behind.join.__code__ in codes:
            signal.pthread_kill(main, signal.SIGINT)
            break
        time.sleep(1e-2)


def wrong_states(rank: int) -> list[tuple]:
    """What some ranks save, the errors of rank 0 and of the others, and what they say."""
    mismatch, shape = dc.CollectiveMismatchError, dc.ShapeMismatchError
    first = rank == 0
    endless: dict = {}
    endless["d"] = endless
    return [
        ({"t": rank}, mismatch, mismatch, "save: t must be the same on every rank; got 0 on rank 0 and 1 on rank 1"),
        ({"t": [0.0, -0.0][rank % 2]}, mismatch, mismatch, r"got 0\.0 on rank 0 and -0\.0 on rank 1"),
        ({"t": {"a": 1} if first else 1}, mismatch, mismatch, "t must be of the same kind"),
        ({"d": {"a" if first else "b": 1}}, mismatch, mismatch, "the keys of d must be the same"),
        ({"x": np.zeros((2, 3 - first))}, shape, shape, "the shape of x beyond axis 0 must be .* dc.Cut"),
        ({"x": np.zeros(3, "f4" if first else "f8")}, mismatch, mismatch, "the dtype of x must be the same"),
        ({"x": dc.Replicated(np.arange(3) - rank)}, mismatch, mismatch, "x, replicated, must be the same .* ranks? 1"),
        ({"x": [1]} if first else {"x": 1}, TypeError, mismatch, "x must be an array, a number, .* got list"),
        (
            {"x": np.array([{}]) if first else 1},
            TypeError,
            mismatch,
            "without pickle; got object",
        ),
        ({"x": np.zeros(1, OFFSETS) if first else 1}, TypeError, mismatch, "without pickle"),
        ({"x": dc.Cut(np.zeros(3), 1 if first else 0)}, ValueError, mismatch, "axis of x"),
        ({"d": {1: 1} if first else {}}, TypeError, mismatch, "the keys of d must be strings"),
        ({"n": 10**5000 if first else 1}, ValueError, mismatch, "n must have at most 4000 digits"),
        ({"d": endless if first else {}}, ValueError, mismatch, r"d\.d\.d\.\.\. must not have more than 100 dicts"),
    ]


@pytest.mark.usefixtures("needs_checks")
def test_states_that_do_not_fit_together(world, folder):
    """One fault, every rank; nothing is left, and the next save works."""
    if world.size == 1:
        pytest.skip("one rank fits itself")
    checkpoint = dc.Checkpoint(folder, comm=world)
    checkpoint.save(1, x=np.zeros(2))
    for state, on_first, on_others, match in wrong_states(world.rank):
        with all_raise(on_first if world.rank == 0 else on_others, match):
            checkpoint.save(2, **state)
    with all_raise(ValueError if world.rank == 0 else dc.CollectiveMismatchError, "step must be at least 0"):
        checkpoint.save(-1 if world.rank == 0 else 1)
    first, error = world.rank == 0, TypeError if world.rank == 0 else dc.CollectiveMismatchError
    with all_raise(ValueError if first else dc.CollectiveMismatchError, r"step must be less than 2\*\*63"):
        checkpoint.save(10**5000 if first else 1)
    with all_raise(error, "wait must be True or False"):
        checkpoint.save(1, wait=np.zeros(2) if first else True)
    with all_raise(error, "step must be an integer"):
        checkpoint.restore(np.array([1]) if first else 1)
    with all_raise(ValueError if first else dc.CollectiveMismatchError, "path must be the path of a folder"):
        dc.Checkpoint("a\0b" if first else folder, comm=world)
    with all_raise(dc.CollectiveMismatchError, "step"):
        checkpoint.restore(world.rank)
    with all_raise(dc.CollectiveMismatchError, "path"):
        dc.Checkpoint(folder / str(world.rank), comm=world)
    with all_raise(ValueError if world.rank == 0 else dc.CollectiveMismatchError, "keep must be at least 1"):
        dc.Checkpoint(folder, keep=world.rank, comm=world)
    checkpoint.save(3, x=np.zeros(2))
    with together():
        assert checkpoint.steps() == [1, 3]
        assert len(list(folder.iterdir())) == 3
    checkpoint.close()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["x.npy", "manifest.json"])
def test_damage_is_told_on_every_rank(world, folder, name):
    """The older step is taken, with a warning; asked for by name, or if there is no other, it is an error."""
    checkpoint = dc.Checkpoint(folder, keep=3, comm=world)
    for step in (1, 2):
        checkpoint.save(step, x=np.full(1000, step))
    world.barrier()
    if world.rank == 0:
        damage(next(folder.glob(f"*step-2/{name}")))
    world.barrier()
    match = f"step-2/{name} is damaged: .*checksum .*is wrong .*Restore another of steps"
    with all_raise(dc.CheckpointError, f"^restore: .*{match}"):
        checkpoint.restore(2)
    with together():
        if world.rank == 0:
            with pytest.warns(RuntimeWarning, match=f"(?s)^restore: .*{match}.*step 1, which .* was taken"):
                step, state = checkpoint.restore()
        else:
            step, state = checkpoint.restore()
        assert step == 1
        assert (state["x"] == 1).all()
        told = checkpoint.verify()
        assert list(told) == [1, 2]
        assert told[1] is None
        assert f"step-2/{name} is damaged" in told[2]
        if world.rank == 0:
            os.remove(next(folder.glob("*step-1/x.npy")))
        world.barrier()
    with all_raise(dc.CheckpointError, f"(?s)no step is whole.*{match}.*step-1/x.npy: No such file"):
        checkpoint.restore()
    checkpoint.save(3, x=np.zeros(1))
    with together():
        assert checkpoint.restore()[0] == 3
    checkpoint.save(2, x=np.zeros(1))
    with together():
        assert f"step-2/{name} is damaged" in checkpoint.verify()[2]  # the older one of the same step
    checkpoint.close()
