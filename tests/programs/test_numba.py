"""What numba learns of dcomp, and when; programs that are compiled once."""

import os
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
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


_CACHED = """
import sys
import numba
import numpy as np
import dcomp._njit._stamp as stamp

if sys.argv[1:]:  # as if dcomp had been changed since
    stamp.SOURCES = sys.argv[1]
import dcomp as dc

@numba.njit(cache=True)
def loop(comm, x):
    for turn in range(3):
        x = comm.allreduce(x, dc.MAX) + comm.rank
    return x

@numba.njit(cache=True)
def functions(x):
    dc.barrier()
    return dc.allgather(x[:1]), dc.COMM_WORLD.size

@numba.njit(cache=True)
def place():
    return dc.rank

size, mine = dc.size, loop(dc.COMM_WORLD, np.zeros(3))
every = functions(mine)
assert every[0].tolist() == [2.0 * size - 2 + rank for rank in range(size)], every
assert every[1] == size
assert place() == dc.rank
told = np.zeros(2, int)
for function in (loop, functions, place):
    told += sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())
dc.allreduce(told, out=told)
if dc.rank == 0:
    print(f"found {told[0]}, compiled {told[1]}")
"""


def test_compiled_code_serves_other_ranks_and_processes(tmp_path):
    """Nothing of the process is in it, nor the rank that compiled it; but code of another dcomp is compiled anew."""
    path = tmp_path / "loop.py"
    path.write_text(_CACHED)
    runs = [(1, [], 0), (3, [], 9), (2, [], 6), (1, ["other"], 0), (2, ["other"], 6)]
    for ranks, arguments, found in runs:
        done = mpirun(ranks, path, *arguments)
        assert done.returncode == 0, done.stderr
        assert f"found {found}, compiled {3 * ranks - found}" in done.stdout, done.stdout


_TOGETHER = """
import numba
import numpy as np
import dcomp as dc
from helper import FACTOR, twice

@dc.jit
def loop(comm, x):
    return comm.allreduce(twice(x)) * FACTOR

@dc.jit(nogil=True)
def wrong(x):
    return x.nothing

for turn in range(2):  # the second time it must not wait for itself, nor others for it
    try:
        wrong(np.ones(3))
    except numba.core.errors.TypingError:
        pass
result = loop(dc.COMM_WORLD, np.ones(2))
told = np.array([sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())])
dc.allreduce(told, out=told)
if dc.rank == 0:
    print(f"{result[0]:g}; found {told[0]}, compiled {told[1]}")
"""
_HELPER = "import dcomp as dc\nFACTOR = {}\n@dc.jit\ndef twice(x):\n    return x * {}\n"


def test_one_rank_compiles_and_what_it_uses_is_never_stale(tmp_path):
    (tmp_path / "loop.py").write_text(_TOGETHER)
    for factor, times, told in ((1, 2, "6; found 2, compiled 1"), (1, 2, "6; found 3, compiled 0"),
                                (1, 3, "9; found 2, compiled 1"), (5, 3, "45; found 2, compiled 1")):  # fmt: skip
        (tmp_path / "helper.py").write_text(_HELPER.format(factor, times))
        done = mpirun(3, tmp_path / "loop.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout, done.stdout


_USER = """
import dcomp as dc
import numpy as np
from dcomp.kernels import stencil
from user import CHOICES, POINT, WEIGHTS, Box, Colour, real, scaled, twice

@dc.jit
def cells(x):
    weighted, computed = np.zeros((3, 3)), np.zeros((3, 3))
    stencil.apply(weighted, np.ones((3, 3)), WEIGHTS)
    stencil.apply(computed, np.ones((3, 3)), POINT)
    return weighted[1, 1], computed[1, 1]

print(cells(1.0), sum(cells.stats.cache_hits.values()))

@dc.jit
def all_of_them(x):
    return (
        np.ones(1).astype(real).itemsize, scaled(x), Colour.RED.value, CHOICES[1](x), Box(x).get(), twice(x)
    )

result = all_of_them(1.0)
print(result, sum(all_of_them.stats.cache_hits.values()))
"""
_USED = """
import enum
import numba
import numpy as np
from numba.experimental import jitclass
from numba.extending import overload
from dcomp.kernels.stencil import Point, Weights

real = np.float{bits}
WEIGHTS = Weights(np.full((3, 3), {n}))
POINT = Point(lambda u: u[0, 1] * {n}, 1)

@numba.vectorize
def scaled(x):
    return x * {n}

class Colour(enum.Enum):
    RED = {n}

@numba.njit
def one(x):
    return x

@numba.njit
def other(x):
    return x + {n}

CHOICES = one, other

@jitclass([("value", numba.float64)])
class Box:
    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value + {n}

def doubled(x):
    raise NotImplementedError

@overload(doubled)
def compiled(x):
    return lambda x: x * {n}

@numba.njit
def twice(x):
    return doubled(x)
"""


def test_nothing_of_another_file_is_stale(tmp_path):
    """Not what no function tells of: dtypes, enumerations, classes, tuples of functions, overloads, stencils."""
    (tmp_path / "program.py").write_text(_USER)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for bits, n, hits in ((32, 10, 0), (32, 10, 1), (64, 20, 0), (64, 20, 1)):
        (tmp_path / "user.py").write_text(_USED.format(bits=bits, n=n))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "program.py"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = (bits // 8, 1.0 * n, n, 1.0 + n, 1.0 + n, 1.0 * n)
        assert done.stdout == f"{(9.0 * n, 1.0 * n)} {hits}\n{told} {hits}\n"


_UNCACHED = """
import os
import dcomp as dc
import numpy as np

@dc.jit
def mean(x):
    return dc.allreduce(x.sum()) / dc.allreduce(x.size)

told = mean(np.full(3, float(dc.rank))), mean(np.full(3, float(dc.rank)))
if dc.rank == 0:
    print(told, dc.COMM_WORLD._channel.meeting is not None)
"""


_NO_PLACE = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []  # no place, as numba finds in a system that cannot be written

import dcomp as dc
from dcomp.kernels import _jit, boxes

function, arguments = boxes.CALLED[0]
assert not _jit.load_compiled(function, arguments)
function.compile(arguments)
print(len(function.signatures), dc.jit(lambda x: x + 1)(1))
"""


def test_without_a_place_for_a_cache():
    """As in a container that cannot be written: every process compiles."""
    done = subprocess.run([sys.executable, "-c", _NO_PLACE], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 2\n"


def test_compilation_of_the_users_functions_is_switched_off():
    """For a debugger: they are Python's; and without dcomp's own, MPI carries the calls."""
    done = mpirun(2, "-c", _UNCACHED, env={"NUMBA_DISABLE_JIT": "1"}, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(np.float64(0.5), np.float64(0.5)) False\n"


def test_jit_without_a_file_and_wrongly_used():
    program = """
import dcomp as dc
assert "mpi4py" not in __import__("sys").modules
assert dc.jit(lambda x: x + 1)(1) == 2
for wrong in (lambda: dc.jit(3), lambda: dc.jit(cache=True)(abs)):
    try:
        wrong()
    except TypeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "jit: function must be callable; got 3. Options are given by name.",
        "jit: cache must not be given; it is on. numba.njit compiles without one.",
    ]


_IN_THREADS = """
import numba
import numpy as np
import dcomp as dc

@numba.njit
def part(x):
    return dc.allreduce(x)

@numba.njit(parallel=True)
def region(x):
    for i in numba.prange(x.size):
        x[i] = part(x[i])
    return x

part(1.0), part(1.0)
region(np.ones(1000))
print("went on")
"""


def test_a_thread_of_a_parallel_region_ends_the_job():
    """Where numba does not let it be seen before: it would drop the exception, and go on with wrong numbers."""
    done = mpirun(2, "-c", _IN_THREADS, env={"NUMBA_NUM_THREADS": "2"})
    assert done.returncode != 0
    assert "in part: no collective can be called in a parallel region (prange)" in done.stderr
    assert "went on" not in done.stdout


_FIRST_USE = """
import numba
import dcomp as dc

@numba.njit(cache=True)
def who():
    return dc.rank, dc.size

@numba.njit(cache=True)
def total(x, op):
    return dc.allreduce(x, op)

assert who() == (dc.rank, dc.size), who()
assert total(dc.rank, dc.MAX) == dc.size - 1
"""


def test_the_rank_is_never_frozen(tmp_path):
    """Also where compiled code is what uses dcomp first, and numba has not been told of it: nothing is installed."""
    path = tmp_path / "first.py"
    path.write_text(_FIRST_USE)
    for ranks in (3, 3, 2):
        done = mpirun(ranks, path)
        assert done.returncode == 0, done.stderr


_LOADED_FIRST = """
import numba
import numpy as np
import dcomp as dc

@numba.njit(cache=True)
def work(comm, x):
    return dc.sum(x, comm=comm), dc.norm(x, True, comm), comm.stop_requested(), dc.stop_requested()

print(work(dc.COMM_WORLD, np.ones(4)), sum(work.stats.cache_hits.values()))
"""


def test_cached_code_comes_before_what_it_calls(tmp_path):
    """The program has used none of dcomp's functions when numba loads code that calls them."""
    path = tmp_path / "program.py"
    path.write_text(_LOADED_FIRST)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for hits in (0, 1):
        done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"(4.0, 2.0, False, False) {hits}\n"
