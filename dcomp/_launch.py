"""Starting MPI, and telling a start that cannot work before it goes wrong.

An MPI library learns from its own launcher that it is one of many. Under the launcher of another MPI it either
stops with an error of its own, or every process believes to be alone: n times the same program, each "rank 0 of 1".
"""

import importlib
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from . import _mpirun, _shm
from ._errors import LaunchError, UsageError

_FIRST_PRINTS = 1.0  # seconds that the other processes leave the first to print; a launcher kills all when one ends
_BY_PMIX = "srun --mpi=pmix"
_LEVELS = {"multiple": "THREAD_MULTIPLE", "serialized": "THREAD_SERIALIZED", "funneled": "THREAD_FUNNELED"}

_is_loaded = False
_initialises = False  # mpi4py would have initialised MPI, had it not been told to leave that to `load_mpi`


@dataclass(frozen=True)
class Launch:
    """How this process was started."""

    launcher: str
    family: str | None  # of the MPI libraries that it can start (`_mpirun.family_of`); None: not known
    rank: int
    size: int


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """How this process was started, from what launchers leave in the environment; None: by itself.

    Slurm's own variables count only where there are no others: under an `mpirun` in a Slurm job they number mpirun's
    daemons. SLURM_NTASKS is the job's and set in its script too, SLURM_STEP_NUM_TASKS is what `srun` starts.
    """

    def number(name: str, default: int) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else default

    if "OMPI_COMM_WORLD_SIZE" in environment:
        rank, size = number("OMPI_COMM_WORLD_RANK", 0), number("OMPI_COMM_WORLD_SIZE", 1)
        return Launch("the mpirun of Open MPI", "Open MPI", rank, size)
    if "PMI_SIZE" in environment:
        by_hydra = "PMI_HOSTNAME" in environment or "MPI_LOCALNRANKS" in environment
        launcher = "the mpirun of MPICH or Intel MPI" if by_hydra else "srun --mpi=pmi2"
        return Launch(launcher, "MPICH", number("PMI_RANK", 0), number("PMI_SIZE", 1))
    if "SLURM_STEP_NUM_TASKS" in environment:
        launcher = _BY_PMIX if "PMIX_RANK" in environment else "srun without --mpi"
        return Launch(launcher, None, number("SLURM_PROCID", 0), number("SLURM_STEP_NUM_TASKS", 1))
    return None


def load_mpi() -> None:
    """Load MPI, check how the program was launched, and initialise MPI unless the program does that itself.

    Raises
    ------
    LaunchError     If there is no MPI, if every process is alone in it, or if /dev/shm is too small for it; then on
                    all, and the first prints it.
    UsageError      If the program has switched mpi4py's initialisation off and has not initialised MPI, or has
                    finalised it.
    """
    global _is_loaded
    if _is_loaded:
        return
    mpi = import_mpi()
    launch = find_launch()
    if launch is not None and launch.size > 1 and not can_start(launch, mpi):
        _refuse(mpi, launch)  # before MPI_Init, in which MPICH would stop with an error that is hard to read
    if _initialises and not mpi.Is_initialized():
        try:
            _shm.start(mpi.get_vendor()[0], 1 if launch is None else launch.size)
        except LaunchError as error:
            _raise_once(error, 0 if launch is None else launch.rank)
        rc = importlib.import_module("mpi4py").rc
        mpi.Init_thread(getattr(mpi, _LEVELS.get(rc.thread_level, "") if rc.threads else "", mpi.THREAD_SINGLE))
    if not mpi.Is_initialized() or mpi.Is_finalized():
        state = "has been finalised" if mpi.Is_initialized() else "is not initialised, and mpi4py.rc.initialize is off"
        raise UsageError(f"dcomp: MPI {state}. Use dcomp between MPI.Init and MPI.Finalize.")
    if launch is not None and launch.size > 1 and mpi.COMM_WORLD.Get_size() == 1:
        _refuse(mpi, launch)
    _is_loaded = True


def import_mpi() -> Any:
    """The module mpi4py.MPI, without initialising MPI.

    Raises
    ------
    LaunchError     If it, or the MPI library under it, is missing.
    """
    global _initialises
    if "mpi4py.MPI" in sys.modules:
        return sys.modules["mpi4py.MPI"]
    try:
        rc = importlib.import_module("mpi4py").rc
        initialize, finalize = rc.initialize, rc.finalize
        if initialize:
            _initialises = True
            rc.initialize, rc.finalize = False, finalize is None or finalize
        try:
            return importlib.import_module("mpi4py.MPI")
        finally:
            rc.initialize, rc.finalize = initialize, finalize
    except ImportError as error:
        raise LaunchError(f"mpi4py cannot be imported: {error}. {_mpirun.INSTALL}") from None
    except RuntimeError as error:  # mpi4py's own, with the names of the libraries that it has tried
        raise LaunchError(f"mpi4py {error}\n{_mpirun.INSTALL}") from None


def can_start(launch: Launch, mpi: Any) -> bool:
    """Whether a launcher and an MPI may fit together; where nothing tells, they may."""
    if launch.launcher == _BY_PMIX and mpi.get_vendor()[0] == "MPICH":
        return "pmix" in mpi.Get_library_version().lower()  # among the options that it was built with
    return launch.family in (None, _mpirun.family_of(mpi))


def _refuse(mpi: Any, launch: Launch) -> NoReturn:
    _raise_once(LaunchError(explain(mpi, launch)), launch.rank)


def _raise_once(error: LaunchError, rank: int) -> NoReturn:
    """Raise it on all ranks, of which the first prints it."""
    if rank != 0:
        previous = sys.excepthook

        def say_nothing(kind: type[BaseException], raised: BaseException, trace: TracebackType | None) -> None:
            if raised is not error:
                previous(kind, raised, trace)

        sys.excepthook = say_nothing
        time.sleep(_FIRST_PRINTS)
    raise error


def explain(mpi: Any, launch: Launch) -> str:
    """Why a launch cannot work, and which command does."""
    family = _mpirun.family_of(mpi)
    name = ".".join(map(str, mpi.get_vendor()[1]))
    library = _mpirun.library_path() or "path unknown"
    words = [sys.executable, *sys.orig_argv[1:]]
    ways = [_mpirun.command_line(family, launch.size, words)]
    ways.append(shlex.join([sys.executable, "-m", "dcomp", "run", "-n", str(launch.size), *sys.orig_argv[1:]]))
    if launch.launcher.startswith("srun"):
        ways = [f"{way}    (in the batch script, without srun)" for way in ways]
        ways.append(shlex.join([*_mpirun.SRUN[family], *words]))
    known = "\nor with\n".join(f"  {way}" for way in ways)
    return (
        f"{launch.launcher} has started {launch.size} processes, but mpi4py has loaded {mpi.get_vendor()[0]} {name} "
        f"({library}), in which each of them is alone. Start the program with\n{known}\n"
        f"`{sys.executable} -m dcomp doctor` tells more."
    )
