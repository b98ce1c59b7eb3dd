"""The threads of the libraries under a program."""

import os

import pytest
from launch import mpirun

_TOLD = """
import os
import sys
import threading

if "numba" in sys.argv:
    import numba
if "started" in sys.argv:
    numba.set_num_threads(1)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
import numpy as np
import dcomp as dc
from threadpoolctl import threadpool_info

dc.barrier()
import numba

@numba.njit(parallel=True)
def add(x):
    for i in numba.prange(x.size):
        x[i] += 1

before = len(os.listdir("/proc/self/task"))
add(np.zeros(100))
more = len(os.listdir("/proc/self/task")) - before
# OpenBLAS itself takes no more than there are CPUs, if it is loaded later.
blas = max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=0)
os.write(1, f"{numba.get_num_threads()} {more} {blas}\\n".encode())
"""


def told(n, *words, cpus=None, **env):
    """What the ranks say: threads of numba, threads that it has started, threads of BLAS."""
    bind = "" if cpus is None else f"import os\nos.sched_setaffinity(0, {cpus})\n"
    done = mpirun(n, "-c", bind + _TOLD, *words, env=env)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize("words", [(), ("numba",)])
def test_ranks_share_the_cpus(words):
    """Before numba is imported and after; numba starts no thread for a rank that has one."""
    one = sorted(os.sched_getaffinity(0))[:1]
    assert told(2, *words, cpus=set(one)) == ["1 0 1"] * 2


def test_threads_that_have_been_started():
    """numba has its threads, and uses the rank's share of them."""
    one = sorted(os.sched_getaffinity(0))[:1]
    assert told(2, "numba", "started", cpus=set(one)) == ["1 0 1"] * 2


@pytest.mark.parametrize("words", [(), ("numba",)])
def test_asked_for(words):
    """numba's pool has one thread less: that which calls works, too. (Its threads are of OpenMP, or its own.)"""
    lines = told(2, *words, DCOMP_THREADS="3")
    assert [line.split()[0] for line in lines] == ["3", "3"]
    assert [line.split()[2] for line in lines] == ["3", "3"]
    assert all(2 <= int(line.split()[1]) <= 3 for line in lines)


def test_what_the_user_has_set_stays():
    one = sorted(os.sched_getaffinity(0))[:1]
    assert told(1, cpus=set(one), NUMBA_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")[0].startswith("2 ")
    assert told(1, cpus=set(one), NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="2", DCOMP_THREADS="1") == ["1 0 1"]
