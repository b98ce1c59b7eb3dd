"""What dead jobs leave in /dev/shm is swept, and nothing else; too little room there is told."""

import mmap
import os
import time
from pathlib import Path

import pytest

from dcomp import _shm
from dcomp._errors import LaunchError


def _file(folder, name, age=60):
    path = folder / name
    path.write_bytes(bytes(4096))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def folder():
    """A folder in memory, as /dev/shm is."""
    path = f"/dev/shm/dcomp-test-{os.getpid()}"
    os.mkdir(path)
    yield Path(path)
    for left in os.listdir(path):
        os.unlink(f"{path}/{left}")
    os.rmdir(path)


def test_sweep_takes_what_nobody_has(folder):
    kinds = "mpich_shm_1_0", "sm_segment.host.0.1.0", "vader_segment.host.0"
    for name in kinds:
        _file(folder, name)
    _file(folder, "else")
    _file(folder, "mpich_shm_young", age=0)
    (folder / "mpich_shm_link").symlink_to("else")
    opened, mapped, by_child = (_file(folder, f"mpich_shm_{name}") for name in ("open", "mapped", "child"))
    with open(opened, "rb+") as file, open(mapped, "rb+") as of_map:
        memory = mmap.mmap(of_map.fileno(), 4096)
        of_map.close()
        memory_of_child = mmap.mmap(os.open(by_child, os.O_RDWR), 4096)
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
        memory_of_child.close()
        assert sorted(_shm.sweep(str(folder))) == sorted(kinds)
        assert {"else", "mpich_shm_young", "mpich_shm_link", *(p.name for p in (opened, mapped, by_child))} == set(
            os.listdir(folder)
        )
        os.kill(child, 9)
        os.waitpid(child, 0)
        memory.close()
        assert not file.closed
    assert sorted(_shm.sweep(str(folder))) == ["mpich_shm_mapped", "mpich_shm_open"]  # the test itself has `child` open


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_sweep_leaves_other_users_files(folder):
    os.chown(_file(folder, "mpich_shm_other"), 12345, 12345)
    assert _shm.sweep(str(folder)) == []


def test_too_little_room(monkeypatch):
    for vendor, size, told in (
        ("MPICH", 1 << 30, None),
        ("MPICH", 9_000_000, "may die of SIGBUS"),
        ("Intel MPI", 9_000_000, None),
        ("Intel MPI", 1_000_000, "I_MPI_FABRICS=ofi"),
        ("Open MPI", 1000, None),
        ("MPICH", None, None),
    ):
        monkeypatch.setattr(_shm, "_size", lambda folder, size=size: size)
        environment = {}
        warning = _shm.prepare(vendor, 4, environment)
        assert (warning is None) == (told is None) and (told or "") in (warning or ""), warning
        assert environment == ({"I_MPI_FABRICS": "ofi"} if told == "I_MPI_FABRICS=ofi" else {})
    for vendor in "MPICH", "Intel MPI":
        monkeypatch.setattr(_shm, "_size", lambda folder: 300_000)
        with pytest.raises(LaunchError, match="--shm-size"):
            _shm.prepare(vendor, 4, {})
        assert _shm.prepare(vendor, 1, {}) is None
