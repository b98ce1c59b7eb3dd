"""The compiled functions on disk: made once, loaded by every job, made anew where they are broken."""

import os
import shutil

import pytest
from launch import mpirun

_PROGRAM = """\
import sys

import numpy as np
import dcomp as dc
from dcomp.kernels import ready

total = dc.COMM_WORLD.allreduce(np.ones(2))
loaded = sum(sum(function.stats.cache_misses.values()) for function, _ in ready._CALLED) == 0
compiler = "numba.np.arraymath" in sys.modules  # which compiling begins by importing
print(f"{total} {dc.COMM_WORLD._channel.meeting is not None} {loaded and not compiler}\\n", end="", flush=True)
"""


_REDUCE = """\
import dcomp as dc

print(f"{dc.COMM_WORLD.allreduce(2.5)} {type(dc.COMM_WORLD._channel.claims).__name__}\\n", end="", flush=True)
"""


@pytest.mark.parametrize("end", ["nbi", "nbc"])
def test_broken_files_of_what_goes_between_nodes(end, tmp_path):
    path, cache = tmp_path / "program.py", tmp_path / "cache"
    path.write_text(_REDUCE)
    mpirun(2, path, env={"DCOMP_RANKS_PER_NODE": "1"}, timeout=120)
    shutil.copytree(os.environ["NUMBA_CACHE_DIR"], cache)
    for broken in ("joint.merge", "combine.folder"):
        files = [*cache.rglob(f"{broken}*.{end}")]
        assert files
        for file in files:
            os.truncate(file, 0)
    settings = {"NUMBA_CACHE_DIR": str(cache), "DCOMP_RANKS_PER_NODE": "1"}
    for _ in range(2):
        done = mpirun(2, path, env=settings, timeout=120)
        assert done.stdout.splitlines() == ["5.0 JointClaims"] * 2, done.stdout + done.stderr


def test_made_once_and_mended(tmp_path):
    """The first job makes what is missing, and the second compiles nothing; in the third, in which files are broken,
    ranks share memory, too.
    """
    path, cache = tmp_path / "program.py", tmp_path / "cache"
    path.write_text(_PROGRAM)
    mpirun(2, path, timeout=120)  # compiles all, if no test has
    shutil.copytree(os.environ["NUMBA_CACHE_DIR"], cache)
    for broken in (*cache.rglob("exchange.post-*"), *cache.rglob("exchange.take-*")):
        broken.unlink()
    told, said = [], []
    for turn in range(4):
        done = mpirun(2, path, env={"NUMBA_CACHE_DIR": str(cache)}, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(sorted(done.stdout.splitlines()))
        said.append(done.stderr)
        if turn == 1:
            for broken in cache.rglob("exchange.call-*.nbi"):  # also those of other checkouts
                os.truncate(broken, 10)
            for broken in cache.rglob("exchange.tell-*.nbc"):
                os.truncate(broken, 0)
    assert told[1] == told[3] == ["[2. 2.] True True"] * 2, told
    assert "[2. 2.] True False" in told[0], told
    assert [text.count("dcomp: compiling") for text in said] == [1, 0, 1, 0]
    assert all(line.startswith("[2. 2.] True") for line in told[2]), told
