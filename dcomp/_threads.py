"""How many threads a rank runs: the CPUs of a node are shared out among its ranks, once, when the job starts.

Without this every rank would start as many threads as the node has CPUs: those of numba, of BLAS and of OpenMP.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import threadpoolctl

#: Which variable tells a library how many threads it may have; the names are threadpoolctl's, and numba.
_VARIABLES = {
    "numba": "NUMBA_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
    "openmp": "OMP_NUM_THREADS",
}
_CGROUPS = Path("/sys/fs/cgroup")


class Room(NamedTuple):
    """What one rank finds that it may use; the ranks of a node tell each other.

    Attributes
    ----------
    cpus : frozenset of int     The CPUs that it may run on.
    group, quota     The control group that limits it, and the CPUs' time which that has; "" and inf if there is none.
    per_task : float     SLURM_CPUS_PER_TASK, or inf.
    """

    cpus: frozenset[int]
    group: str
    quota: float
    per_task: float


def find_room(environment: Mapping[str, str] = os.environ) -> Room:
    """What this process may use."""
    group, quota = min(_quotas(), key=lambda found: found[1], default=("", float("inf")))
    per_task = environment.get("SLURM_CPUS_PER_TASK", "")
    cpus = frozenset(os.sched_getaffinity(0))
    return Room(cpus, group, quota, int(per_task) if per_task.isdecimal() else float("inf"))


def share_out(rooms: Sequence[Room], rank: int) -> int:
    """Threads for one of the ranks of a node.

    A CPU that several ranks may use is divided among them, and so is a control group's quota; who gets a part of a CPU
    besides whole ones leaves it. All ranks together have no more threads than CPUs, but each has one.
    """
    mine = rooms[rank]
    cpus = sum(1 / sum(cpu in room.cpus for room in rooms) for cpu in mine.cpus)
    quota = mine.quota / sum(room.group == mine.group for room in rooms)
    return max(1, int(min(cpus, quota, mine.per_task) + 1e-6))


def use(threads: int, *, is_asked_for: bool) -> None:
    """Have the libraries run so many threads: those that are loaded, and by their variables those that will be.

    What the user has set a variable for stays as it is, unless it `is_asked_for` by dcomp's own.
    """
    given = {name for name, variable in _VARIABLES.items() if variable in os.environ}
    if "openmp" in given:  # which all but numba look at
        given |= _VARIABLES.keys() - {"numba"}
    names = [name for name in _VARIABLES if is_asked_for or name not in given]
    os.environ.update({_VARIABLES[name]: str(threads) for name in names})
    threadpoolctl.ThreadpoolController().select(internal_api=names).limit(limits=threads)
    if "numba" in names and "numba" in sys.modules:
        _limit_numba(threads)


def _limit_numba(threads: int) -> None:
    """numba has read its variable when it was imported; but it starts its threads when it first needs them."""
    from numba.core.config import reload_config
    from numba.np.ufunc import parallel

    if parallel._is_initialized:
        parallel.set_num_threads(min(threads, parallel.NUM_THREADS))
    else:
        reload_config()
        parallel.NUM_THREADS = threads


def _quotas() -> Iterator[tuple[str, float]]:
    """The control groups that limit the CPU time of this process, and the CPUs that each may keep busy.

    Of both versions (Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max"; scheduler/sched-bwc.rst).
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        top = _CGROUPS / controllers
        own = top / path.lstrip("/")
        for folder in (own, *(parent for parent in own.parents if top in (parent, *parent.parents))):
            try:
                if controllers:
                    limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                else:
                    limit, period = (folder / "cpu.max").read_text().split()
            except OSError:  # the top has none, and of a container's path nothing may be seen here
                continue
            if limit.strip() not in ("max", "-1"):
                yield str(folder), int(limit) / int(period)
