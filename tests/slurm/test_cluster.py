"""`slurm/cluster.sh` itself."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import SCRIPT, Cluster, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

_NODES = ("n1", "n2", "n3", "n4")

#: A job that leaves something behind: a file on its first node, and processes that no one's end takes along.
_LEAVES = """#!/bin/bash
#SBATCH --nodes=2
touch $TMPDIR/file
srun bash -c 'echo $(hostname): $(ls $TMPDIR)'
setsid sleep 600 &
setsid sleep 600
"""


def script(*words: str | os.PathLike, **options) -> tuple[int, str]:
    """Exit status, and what it says."""
    done = subprocess.run(["bash", "-s", *words], input=SCRIPT.read_text(), capture_output=True, text=True, **options)
    return done.returncode, done.stdout + done.stderr


def machines(folder: Path) -> set[int]:
    """Processes that belong to a cluster: first ones of nodes, and what they have started."""
    namespaces, found = set(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"MACHINE={folder}/".encode() in (entry / "environ").read_bytes():
                namespaces.add(os.readlink(entry / "ns" / "pid"))
        except OSError:
            continue  # it has just ended
    namespaces.discard(os.readlink("/proc/self/ns/pid"))  # where those wait that have made the namespaces
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "ns" / "pid") in namespaces:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_up_and_down(tmp_path):
    own = Cluster(tmp_path / "own")
    try:
        with ThreadPoolExecutor() as pool:  # two at once, of which one has nothing to do
            told = set(pool.map(Cluster.up, (own, own)))
        assert told == {f"export SLURM_CONF={tmp_path}/own/slurm.conf\n"}
        first = [own.pid(node) for node in _NODES]
        own.up()
        assert [own.pid(node) for node in _NODES] == first, "a second `up` has nothing to do"
        assert own.do("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t").split() == [
            word for node in _NODES for word in (node, "idle")
        ]
        job = own.submit(tmp_path / "job", _LEAVES)
        deadline = time.monotonic() + 20
        while job.output().count("\n") < 2:
            assert time.monotonic() < deadline, job.output()
            time.sleep(0.05)
        assert sorted(job.output().splitlines()) == ["n1: file", "n2:"]
        while sum("sleep 600" in words for words in own.processes("n1")) < 2:
            assert time.monotonic() < deadline, own.processes("n1")
            time.sleep(0.05)
        own.kill("n2")
        assert "n2 does not run" in own.do(SCRIPT, "status", own.folder)
        own.up()
        assert [own.pid(node) for node in ("n1", "n3", "n4")] == [first[0], *first[2:]]
        assert own.pid("n2") != first[1]
        assert len(machines(own.folder)) > 10
    finally:
        own.down()
    assert not machines(own.folder)
    assert str(own.folder) not in Path("/proc/mounts").read_text()
    status, told = script("status", own.folder)
    assert status == 1
    assert told.count("does not run") == 5
    own.down()


def test_what_it_refuses(tmp_path):
    (tmp_path / "file").touch()
    status, told = script("up", tmp_path)
    assert (status, told) == (1, f"cluster.sh: {tmp_path} is there and is no cluster's folder\n")
    status, told = script("up", tmp_path / "a b")
    assert (status, told) == (1, f"cluster.sh: Slurm takes no folder with such characters: {tmp_path}/a b\n")
    for word in ("up", "down", "status"):
        status, told = script(word, user="nobody", extra_groups=[], cwd="/")
        assert (status, told) == (1, "cluster.sh: needs root, for nodes with host names of their own\n")
    for name in ("id", "realpath", "uname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    bash = shutil.which("bash")
    done = subprocess.run([bash, SCRIPT, "up"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not installed:" in done.stderr
    assert "sbatch" in done.stderr
    assert "apt-get install --no-install-recommends slurmctld" in done.stderr
    assert script("start")[0] == 1
