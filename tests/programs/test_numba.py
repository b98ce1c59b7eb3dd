"""What numba learns of dcomp, and when; programs that are compiled once."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from launch import mpirun

_PROGRAM = """
import numba, sys
numba.njit(lambda x: x)(1)
assert "dcomp._njit" in sys.modules
started = {"mpi4py", "dcomp._functions", "dcomp.engine"} & sys.modules.keys()
assert not started, started
import dcomp as dc
assert numba.njit(lambda: dc.allreduce(1) + dc.size)() == 2
"""


def test_numba_finds_dcomp_by_itself():
    """Without an import of dcomp, and without MPI; functions that are loaded later are known, too."""
    if not entry_points(group="numba_extensions", name="init", module="dcomp._njit"):
        pytest.skip("dcomp is not installed here, so it has no entry point")
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


_CACHED = """
import sys
import numba
import numpy as np
import dcomp as dc

@numba.njit(cache=True)
def loop(comm, x):
    for turn in range(3):
        x = comm.allreduce(x, dc.MAX) + dc.rank
        dc.barrier()
    return x, dc.allgather(x[:1]), dc.COMM_WORLD.size

x, every, size = loop(dc.COMM_WORLD, np.zeros(3))
assert every.tolist() == [2.0 * size - 2 + rank for rank in range(size)], every
told = dc.allreduce(np.array([sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())]))
if dc.rank == 0:
    print(f"found {told[0]}, compiled {told[1]}")
"""


def test_compiled_code_serves_other_ranks_and_processes(tmp_path):
    """Nothing of the process is in it, nor the rank that compiled it."""
    path = tmp_path / "loop.py"
    path.write_text(_CACHED)
    for ranks, told in ((1, "found 0, compiled 1"), (3, "found 3, compiled 0"), (2, "found 2, compiled 0")):
        done = mpirun(ranks, path)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout
