"""Checkpoints and everything that can happen to them: the old state or the new one is there, as a whole."""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import stages
from jobs import run
from launch import environment

import dcomp as dc
from dcomp._checkpoint import files, manifest
from dcomp._checkpoint.values import describe


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(manifest, "PIECE", 64)


# Killed


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory, if there is one that this user may write: what a kill leaves does not depend on the disk."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="dcomp-test-", dir=base) as path:
        yield Path(path)


def test_killed_at_every_call(in_memory):
    """Before and after every call of the system that a save makes, and within every write."""
    start, path = in_memory / "start", in_memory / "run"
    for step in (1, 2):
        stages.save(start, step)
    found: Counter = Counter()
    calls: Counter = Counter()
    for when in ("before", "within", "after"):
        for point in itertools.count():
            shutil.copytree(start, path)
            name = stages.killed_at(point, when, lambda: stages.save(path, 3))
            if name is None:
                break
            if not name:
                shutil.rmtree(path)
                continue
            calls[name] += 1
            try:
                step = stages.restore(path)
            except Exception as error:
                step = f"{when} {name} {point}: {error}"
            found[{2: "old", 3: "new"}.get(step, step)] += 1
            if point % 3 == 0:  # the next job finds no lock, and nothing of the killed one keeps it from saving
                stages.save(path, 4)
                assert stages.restore(path) == 4
                assert len(list(path.iterdir())) == 3
            shutil.rmtree(path)
        assert stages.restore(path) == 3
        shutil.rmtree(path)
    table = f"{sum(found.values())} kills: {dict(found)}; at {dict(calls)}"
    print(table)
    assert set(found) == {"old", "new"}, table
    assert sum(found.values()) >= 200, table
    assert all(calls[name] for name in ("pwrite", "fsync", "rename", "mkdir", "unlink", "rmdir", "flock")), table


def test_all_is_on_the_disk_before_it_is_in_its_place(tmp_path, monkeypatch):
    """What a kill does not show, but a power cut would: the order of fsync and rename."""
    trace: list[tuple[str, str]] = []
    paths: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "pwrite", "rename")}

    def open_(path, *args, **more):
        fd = real["open"](path, *args, **more)
        paths[fd] = os.fspath(path)
        return fd

    def fsync(fd):
        trace.append(("fsync", paths[fd]))
        real["fsync"](fd)

    def pwrite(fd, *args):
        trace.append(("write", paths[fd]))
        return real["pwrite"](fd, *args)

    def rename(old, new):
        trace.append(("rename", old))
        real["rename"](old, new)

    for name, wrapper in (("open", open_), ("fsync", fsync), ("pwrite", pwrite), ("rename", rename)):
        monkeypatch.setattr(os, name, wrapper)
    run_path = tmp_path / "not" / "there" / "run"
    stages.save(run_path, 1)
    draft = str(run_path / ".00000001.step-1.writing")
    arrays = ("u", "v", "none", "table", *(f"w.{i}" for i in range(5)))
    names = {os.path.join(draft, name) for name in (*(f"{one}.npy" for one in arrays), "manifest.json")}
    place = trace.index(("rename", draft))
    written = {path for kind, path in trace if kind == "write" and path.startswith(draft)}
    assert written == names
    for path in names:
        last_write = max(i for i, one in enumerate(trace) if one == ("write", path))
        assert ("fsync", path) in trace[last_write:place]
    assert ("fsync", draft) in trace[:place]
    assert ("fsync", str(run_path)) in trace[place:]
    assert {("fsync", str(above)) for above in run_path.parents[:3]} <= set(trace[:place])


_KILLED = """
import numpy as np

from dcomp._checkpoint import files, folder

def die(*_):
    if {others}:
        dc.COMM_WORLD.mpi.Barrier()
    event()
    os.kill(os.getpid(), signal.SIGKILL)

checkpoint = dc.Checkpoint(sys.argv[0] + ".run")
checkpoint.save(1, x=np.full(1000, 1))
settle()
if {others} or dc.rank == {rank}:
    {where} = die
checkpoint.save(2, wait={wait}, x=np.full(1000, 2))
checkpoint.wait()
"""


@pytest.mark.parametrize(
    ("rank", "others", "where", "wait"),
    [
        (1, False, "files.write_block", True),
        (0, False, "files.write_block", False),
        (0, False, "folder.Folder.keep", True),  # which comes when the new one is in its place
        (0, True, "files.write_block", True),
    ],
)
def test_killed_ranks(tmp_path, rank, others, where, wait):
    """The job ends, and its state can be restored; by another process, which gets the lock."""
    job = run(tmp_path, _KILLED.format(rank=rank, others=others, where=where, wait=wait), n=2)
    job.assert_ended_soon()
    with dc.Checkpoint(f"{job.path}.run", comm=dc.COMM_SELF) as checkpoint:
        expected = 2 if "keep" in where else 1
        step, state = checkpoint.restore()
        assert step == expected
        assert np.array_equal(state["x"], np.full(2000, expected))
        checkpoint.save(3)
        assert not list(Path(checkpoint.path).glob(".*"))


# A system that fails


_FAILING = """
import errno
import resource
from pathlib import Path

import numpy as np

def told(call):
    "The number of the error that every rank raises, and that the old step is still there."
    try:
        call()
        return "no error"
    except dc.CheckpointError as error:
        text, number = str(error), error.errno
    assert dc.bcast_object(text) == text
    assert "What was saved before" in text or "se a" in text or "Make room" in text or "Raise" in text, text
    return errno.errorcode[number] if number else text

def attempt(name, path, x, limit=None):
    checkpoint = dc.Checkpoint(path)
    if limit is not None and dc.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    result = told(lambda: checkpoint.save(2, x=x))
    behind = told(lambda: (checkpoint.save(2, wait=False, x=x), checkpoint.wait()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    step, state = checkpoint.restore()
    left = [one.name for one in Path(path).glob(".*")]
    if dc.rank == 0:
        print(name, result, behind, step, int(next(iter(state.values())).sum()), left, flush=True)
    checkpoint.close()

big, small = np.ones(2**20), np.ones(3)
where = Path(sys.argv[0]).parent
for name in ("limit", "forbidden", *os.environ["FOLDERS"].split()):
    path = where / name
    if name not in ("read-only", "broken"):
        with dc.Checkpoint(path) as checkpoint:
            checkpoint.save(1, x=small)
    if name == "limit":
        attempt(name, path, big, limit=10**6)
    elif name == "forbidden":
        if dc.rank == 0:
            path.chmod(0o555)
        dc.barrier()
        own = os.geteuid()
        if own == 0:
            os.seteuid(65534)
        attempt(name, path, small)
        os.seteuid(own)
    else:
        attempt(name, path, small if name == "read-only" else big)
"""


def _mounted(kind: list[str], path: Path) -> str:
    """Mount something; why that cannot be done here, or nothing."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *kind, str(path)], capture_output=True, text=True)
    return done.stderr.strip()


def _attached(image: Path) -> str:
    """A disk of 64 MiB, its name; nothing, if there can be none here."""
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    commands = (["mkfs.ext2", "-q", "-F", "-b", "4096", str(image)], ["losetup", "-f", "--show", str(image)])
    if not all(shutil.which(command[0]) for command in commands):
        return ""
    done = [subprocess.run(command, capture_output=True, text=True) for command in commands]
    return done[1].stdout.strip() if done[0].returncode == 0 else ""


@pytest.fixture
def mounts(tmp_path):
    """Small, read-only and broken file systems, by name, where this user may have them."""
    if os.geteuid() != 0:
        yield []
        return
    made, device = [], ""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)  # a job that is not root's any more must find its way
    (tmp_path / "read-only").mkdir()
    stages.save(tmp_path / "read-only", 1)
    try:
        if not _mounted(["-t", "tmpfs", "-o", "size=3m", "none"], tmp_path / "full"):
            made.append("full")
        if not _mounted(["--bind", str(tmp_path / "read-only")], tmp_path / "read-only"):
            made.append("read-only")
            subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path / "read-only")], check=True)
        device = _attached(tmp_path / "image")
        if device and not _mounted([device], tmp_path / "broken"):
            made.append("broken")
            stages.save(tmp_path / "broken", 1)
            os.sync()
            os.truncate(tmp_path / "image", 8 << 20)  # the file system believes that its disk is larger
            subprocess.run(["losetup", "-c", device], check=True)
        yield made
    finally:
        for name in reversed(made):
            subprocess.run(["umount", "-l", str(tmp_path / name)], check=True)
        if device:
            subprocess.run(["losetup", "-d", device], check=True)


def test_systems_that_fail(tmp_path, mounts):
    """A full disk, a limit, no permission, a read-only and a broken disk: the same error on every rank, and the old
    step is there; also when it is written behind the computation."""
    job = run(tmp_path, _FAILING, n=2, env={"FOLDERS": " ".join(mounts)})
    assert job.returncode == 0, job.output
    errors = {"limit": "EFBIG", "forbidden": "EACCES", "full": "ENOSPC", "read-only": "EROFS", "broken": "EIO"}
    for name in ("limit", "forbidden", *mounts):
        total = 6 if name in ("read-only", "broken") else 3
        left = r"\[\]" if name != "broken" else ""  # where what is half written cannot be removed
        again = errors[name] if name != "broken" else r"E\w+"  # after an error it has others, too
        job.assert_once(rf"{name} {errors[name]} {again} 1 {total} {left}")


# Files that are not as they were


@pytest.fixture
def saved(in_memory) -> Path:
    """The folder of a whole step, the second one."""
    for step in (1, 2):
        stages.save(in_memory, step)
    assert stages.restore(in_memory) == 2
    return in_memory / "00000002.step-2"


def assert_refused(saved: Path, name: str = "", match: str = ".") -> None:
    with pytest.raises(dc.CheckpointError, match=match) as caught:
        stages.restore(saved.parent)
    assert str(saved / name) in str(caught.value)


def test_a_flipped_bit_anywhere(saved):
    """In every byte of every file one bit."""
    flips = 0
    for path in sorted(saved.iterdir()):
        whole = path.read_bytes()
        is_array = path.suffix == ".npy"  # with a header of a page, of which every 97th byte will do
        for place in (*range(0, 4096, 97), *range(4096, len(whole))) if is_array else range(len(whole)):
            data = bytearray(whole)
            data[place] ^= 1 << place % 8
            flips += 1
            if is_array:
                path.write_bytes(data)
                assert_refused(saved, path.name)
            else:
                with pytest.raises(ValueError, match="its checksum is wrong"):
                    manifest.parse(bytes(data))
        path.write_bytes(whole)
    assert flips > 1000, flips
    assert stages.restore(saved.parent) == 2


def test_missing_cut_and_mixed_files(saved):
    old = saved.parent / "00000001.step-1"
    for path in sorted(saved.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        assert_refused(saved, path.name, "No such file")
        for data in (b"", whole[:-1], whole + b"\0", whole[: len(whole) // 2]):
            path.write_bytes(data)
            assert_refused(saved, path.name, "is damaged")
        shutil.copy(old / path.name, path)  # of the other step
        if path.name != "none.npy":  # which is the same in both
            assert_refused(saved, path.name, "is damaged")
        path.unlink()
        os.symlink(old / path.name, path)  # which leads elsewhere
        assert_refused(saved, path.name)
        path.unlink()
        os.mkfifo(path)
        assert_refused(saved, path.name, "it is no file")
        path.unlink()
        path.write_bytes(whole)
    assert stages.restore(saved.parent) == 2


def rewrite(saved: Path, change) -> None:
    """Change the manifest as someone would who knows how its checksum is made."""
    path = saved / manifest.NAME
    content = json.loads(path.read_bytes())["content"]
    change(content)
    rest = manifest._MIDDLE + json.dumps(content).encode() + manifest._TAIL
    path.write_bytes(manifest._HEAD + manifest.digest(rest).encode() + rest)


def _set(*path, value):
    """Put a value into the place of another one."""

    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    change.__name__ = f"{path[-1]}={value!r:.40}"
    return change


NO_GENERATOR = {"dict": {"bit_generator": "seterr"}}
U = ("state", "dict", "u", "array")


def generator(kind: str, name: str, value: int) -> dict:
    """The node of a generator in whose state a number has another value."""
    node, _ = describe({"g": np.random.Generator(getattr(np.random, kind)(1))}, stages.Alone(), manifest.digest)

    def change(below):
        if isinstance(below, dict):
            return {key: value if key == name else change(one) for key, one in below.items()}
        return [change(one) for one in below] if isinstance(below, list) else below

    changed = change(node)
    assert changed != node
    return changed["dict"]["g"]


@pytest.mark.parametrize(
    "change",
    [
        _set(*U, "shape", value=[2**62]),
        _set(*U, "shape", value=[-12]),
        _set(*U, "shape", value=[1] * 100),
        _set(*U, "shape", value="12"),
        _set(*U, "blocks", value=[2**70]),
        _set(*U, "blocks", value=[]),
        _set(*U, "piece", value=0),
        _set(*U, "start", value=2**40),
        _set(*U, "start", value=-1),
        _set(*U, "axis", value=7),
        _set(*U, "checksums", value=[]),
        _set(*U, "checksums", value={"0": "", "1": ""}),
        _set(*U, "shape", value=[12] + [1] * 99),
        _set(*U, "dtype", value="()"),
        _set("state", "dict", "none", "array", "dtype", value="[]"),
        _set(*U, "dtype", value="'O'"),
        _set(*U, "dtype", value="__import__('os').abort()"),
        _set(*U, "dtype", value="(" * 5000),
        _set("state", "dict", "step", value={"pickle": "x"}),
        _set("state", "dict", "step", value={"generator": {"of": "os", "states": [{}]}}),
        _set("state", "dict", "step", value={"generator": {"of": "numpy", "states": [NO_GENERATOR]}}),
        _set("state", "dict", "step", value={"numpy": ["'<f8'", [2**60], "00"]}),
        _set("state", "dict", "step", value={"numpy": ["'<f8'", [2**70], "00"]}),
        _set("state", "dict", "step", value=generator("MT19937", "pos", 10**6)),
        _set("state", "dict", "step", value=generator("Philox", "buffer_pos", -9)),
        _set("state", "dict", "step", value=generator("PCG64", "pool_size", 2**34)),
        _set("state", value=1),
        _set("format", value=2),
        _set("step", value=True),
    ],
    ids=lambda change: change.__name__,
)
def test_a_manifest_of_nonsense(saved, change):
    """It is refused, and no memory is asked for; the limit leaves room for little."""
    rewrite(saved, change)
    assert_refused(saved)


@pytest.mark.parametrize("of_a_folder", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_files_alone(tmp_path, monkeypatch, of_a_folder):
    """CIFS and some of FUSE's say EINVAL; what the disk cannot take is an error nevertheless."""
    sync = os.fsync

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(of_a_folder, os.strerror(of_a_folder))
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with dc.Checkpoint(tmp_path) as checkpoint:
        if of_a_folder == errno.EIO:
            with pytest.raises(dc.CheckpointError, match="Input/output error"):
                checkpoint.save(1, x=np.arange(5.0))
            return
        checkpoint.save(1, x=np.arange(5.0))
        np.testing.assert_array_equal(checkpoint.restore()[1]["x"], np.arange(5.0))


def test_a_manifest_that_memory_does_not_hold(saved, monkeypatch):
    monkeypatch.setattr(files, "_size", lambda *_: 2**62)
    assert_refused(saved, manifest.NAME, "allocate")


def test_names_do_not_lead_out_of_the_folder(saved):
    """A key is no path: what is at the path that it looks like is not read."""
    outside = saved.parent / "outside.npy"
    shutil.copy(saved / "u.npy", outside)

    def change(content):
        state = content["state"]["dict"]
        state[f"{outside.with_suffix('')}"] = state["../outside"] = state.pop("u")

    rewrite(saved, change)
    assert_refused(saved)
    names = [path.name for path in saved.iterdir()]
    for key in ("..", ".", "/", "../outside", "a.b", "a\0b", "ä", "manifest", "%2E"):
        for path in ((key,), ("a", key)):
            told = {"dtype": "'<f8'", "shape": [], "axis": None, "start": 0, "blocks": [8], "piece": 8, "checksums": []}
            names.append(manifest.Array(path, told).name)
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and "\0" not in name for name in names)


# Two jobs

_SECOND = """
checkpoint = dc.Checkpoint(os.environ["RUN"])
try:
    checkpoint.save(2)
except dc.CheckpointError as error:
    os.write(1, f"refused: {error}\\n".encode())
dc.barrier()
if dc.rank == 0:
    os.kill(int(os.environ["HOLDER"]), signal.SIGKILL)
    while checkpoint.comm.size and os.path.exists(f"/proc/{os.environ['HOLDER']}/fd/0"):
        time.sleep(0.01)
dc.barrier()
assert checkpoint.steps() == [1]
checkpoint.save(2)
os.write(1, f"steps {checkpoint.steps()}\\n".encode())
"""


def test_two_jobs(tmp_path):
    """The second one cannot save, and says who can, on every rank; when the first has been killed, it can."""
    path = tmp_path / "run"
    stages.save(path, 1)
    code = f"""
import os, time
from dcomp._checkpoint.folder import Folder
folder = Folder({str(path)!r})
os.rmdir(folder.draft(folder.begin(2)))
print("held", flush=True)
if os.fork() == 0:  # it outlives its parent, and holds nothing
    os.close(0), os.close(1)
    time.sleep(20)
    os._exit(0)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(), text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        job = run(tmp_path, _SECOND, n=2, env={"RUN": str(path), "HOLDER": str(holder.pid)})
    finally:
        with contextlib.suppress(ProcessLookupError):
            holder.kill()
        holder.wait()
        holder.stdout.close()
    assert job.returncode == 0, job.output
    told = rf"refused: save: .*run/lock is held by process {holder.pid} on .*\(on rank 0 of 2\)"
    assert len(job.output.split("refused: ")) == 3, job.output
    assert len(re.findall(told, job.output)) == 2, job.output
    assert job.output.count("steps [1, 2]") == 2


def test_a_program_in_its_own_way(tmp_path):
    """Two checkpoints on one folder: the error says what to close."""
    first, second = (dc.Checkpoint(tmp_path, comm=dc.COMM_SELF) for _ in range(2))
    first.save(1)
    with pytest.raises(dc.CheckpointError, match="by another Checkpoint of this program. Close that one"):
        second.save(2)
    first.close()
    second.save(2)
    second.close()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """It is warned of, once, at the line that saves."""

    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with dc.Checkpoint(tmp_path, comm=dc.COMM_SELF) as checkpoint:
        with pytest.warns(RuntimeWarning, match="lock: .*: nothing keeps two jobs from saving there") as caught:
            checkpoint.save(1)
        assert [one.filename for one in caught] == [__file__]
        checkpoint.save(2)
        assert checkpoint.steps() == [1, 2]


# The end of the program

_LATE = """
import numpy as np

from dcomp._checkpoint import files

real = files.write_block

def write_late(*arguments):
    time.sleep(0.5)
    {fault}
    return real(*arguments)

files.write_block = write_late
checkpoint = dc.Checkpoint(sys.argv[0] + ".run")
checkpoint.save(1, wait=False, x=np.full(1000, dc.rank))
"""


def test_the_end_of_the_program_waits(tmp_path):
    """What is written behind it comes into its place."""
    job = run(tmp_path, _LATE.format(fault=""), n=2)
    assert job.returncode == 0, job.output
    with dc.Checkpoint(f"{job.path}.run", comm=dc.COMM_SELF) as checkpoint:
        step, state = checkpoint.restore()
        assert step == 1
        assert np.array_equal(state["x"], np.repeat(np.arange(2), 1000))


@pytest.mark.parametrize("n", [1, 2])
def test_a_fault_at_the_end_of_the_program(tmp_path, n):
    """The job fails and says so, once."""
    fault = "raise dc.CheckpointError('x.npy: the disk is on fire')"
    job = run(tmp_path, _LATE.format(fault=fault), n=n)
    assert job.returncode != 0, job.output
    job.assert_once(r"CheckpointError: save: x\.npy: the disk is on fire \(on ranks? 0(, 1)? of \d\)")


def test_progress_is_told(monkeypatch, capfd):
    """By rank 0, and not more often than it takes long."""
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    for is_told in (True, False):
        progress = files.Progress("saving step 3 in run", 2**30, is_told)
        progress.add(2**28)
        time.sleep(0.06)
        progress.add(2**28)
        progress.add(0)
    assert capfd.readouterr().err == "dcomp: saving step 3 in run: rank 0 has done 0.5 of 1.0 GiB in 0 s\n"
