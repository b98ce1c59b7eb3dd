"""Whose CPUs are whose."""

import os
from pathlib import Path

import pytest

from dcomp import _threads
from dcomp._threads import Room, share_out

INF = float("inf")


def rooms(*cpus, group="", quota=INF, per_task=INF):
    return [Room(frozenset(some), group, quota, per_task) for some in cpus]


def shares(given):
    return [share_out(given, rank) for rank in range(len(given))]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (rooms(range(8)), [8]),
        (rooms(range(8), range(8)), [4, 4]),
        (rooms(range(8), range(8), range(8)), [2, 2, 2]),
        (rooms({0}, {1}), [1, 1]),  # bound by the launcher
        (rooms({0, 1}, {2, 3}), [2, 2]),
        (rooms({0, 1}, {2, 3}, {2, 3}), [2, 1, 1]),
        (rooms(range(4), {0}), [3, 1]),  # one bound, one not: 3 1/2 and 1/2
        (rooms(*[{0, 1}] * 8), [1] * 8),  # each has one, though there are fewer CPUs
        (rooms(range(8), range(8), group="g", quota=4.0), [2, 2]),  # of a container that has four
        (rooms(range(8), group="g", quota=2.5), [2]),
        (rooms(range(8), group="g", quota=0.5), [1]),
        (rooms(range(4), group="a", quota=2.0) + rooms(range(4, 8), group="b", quota=2.0), [2, 2]),  # one group each
        (rooms(range(64), range(64), per_task=2), [2, 2]),
        (rooms(range(4), range(4), range(4), range(4), per_task=2), [1] * 4),  # more ranks than Slurm knows of
    ],
)
def test_shares(given, expected):
    assert shares(given) == expected


def test_thirds_make_whole_ones():
    assert shares(rooms(*[range(9)] * 3)) == [3, 3, 3]
    assert shares(rooms(*[range(49)] * 49)) == [1] * 49


def test_room_of_this_process():
    room = _threads.find_room({"SLURM_CPUS_PER_TASK": "3"})
    assert room.cpus == os.sched_getaffinity(0)
    assert room.per_task == 3
    assert room.quota > 0
    assert _threads.find_room({}).per_task == INF


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A system's control groups; the process is in those of these lines."""
    monkeypatch.setattr(_threads, "_CGROUPS", tmp_path)

    def make(text, files):
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        read = Path.read_text
        monkeypatch.setattr(Path, "read_text", lambda path: text if str(path) == "/proc/self/cgroup" else read(path))
        room = _threads.find_room({})
        return room.quota, room.group.removeprefix(str(tmp_path))

    return make


def test_quota_of_the_second_version(groups):
    files = {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}
    assert groups("0::/a/b\n", files) == (1.5, "/a/b")


def test_quota_of_a_group_above(groups):
    files = {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}
    assert groups("0::/a/b\n", files) == (2.0, "/a")


def test_quota_of_the_first_version(groups):
    files = {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n",
             "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}  # fmt: skip
    assert groups("4:memory:/x\n3:cpu:/x\n0::/\n", files) == (3.0, "/cpu/x")


def test_quota_of_a_container_whose_path_is_not_seen(groups):
    assert groups("0::/../outside\n", {"cpu.max": "50000 100000\n"}) == (0.5, "")


def test_no_quota(groups):
    assert groups("0::/\n", {}) == (INF, "")
