"""Starts programs under `mpirun` from tests that are themselves one process."""

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path


def mpirun(
    n: int,
    *command: str | os.PathLike,
    env: dict[str, str] | None = None,
    timeout: float = 100,
    cwd=None,
    launcher: tuple[str, ...] = (),
) -> subprocess.CompletedProcess:
    """Run `command` on `n` ranks and wait for it.

    Parameters
    ----------
    n : int     Number of ranks.
    command     The program and its arguments: ``sys.executable, "program.py"``. A `.py` file or an option
        such as ``-c`` in the first place is given to the running interpreter.
    env : dict     Added to the environment.
    timeout : float     Seconds after which every process of the job is killed.
    launcher     Options of mpirun's.

    Returns
    -------
    subprocess.CompletedProcess     With `returncode`, `stdout` and `stderr` (text).

    Raises
    ------
    subprocess.TimeoutExpired     What the job has printed until then is printed first, for pytest to show.
    """
    words = [os.fspath(word) for word in command]
    if words[0].endswith(".py") or words[0].startswith("-"):
        words.insert(0, sys.executable)
    job = [find_mpirun(), *options(), *launcher, "-n", str(n), *words]
    process = subprocess.Popen(
        job,
        env={**environment(), **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        stdout, stderr = end_job(process)
        print(stdout, stderr, sep="\n")
        raise subprocess.TimeoutExpired(job, timeout, stdout, stderr) from None
    finally:
        kill_session(process.pid)
    return subprocess.CompletedProcess(job, process.returncode, stdout, stderr)


@functools.cache
def find_mpirun() -> str:
    """The `mpirun` beside the running interpreter, else the first on the path: it must be mpi4py's MPI."""
    beside = shutil.which("mpirun", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("mpirun")
    if found is None:
        raise FileNotFoundError(f"mpirun: neither in {sysconfig.get_path('scripts')} nor on the path")
    return found


@functools.cache
def options() -> tuple[str, ...]:
    """What this `mpirun` needs for more ranks than cores."""
    asked = [find_mpirun(), "--version"]
    version = subprocess.run(asked, env=environment(), capture_output=True, text=True, timeout=60).stdout
    return ("--oversubscribe",) if "Open MPI" in version or "prte" in version else ()


def environment() -> dict[str, str]:
    """This process's environment, less what pytest puts there, and with what the ranks need."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Open MPI refuses to run as root unless told twice.
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    # Intel MPI's `mpirun` looks for its parts on the path.
    env["PATH"] = os.pathsep.join([str(Path(find_mpirun()).parent), env.get("PATH", os.defpath)])
    # The ranks import the dcomp that the tests would, installed or not.
    spec = importlib.util.find_spec("dcomp")
    if spec is not None and spec.origin is not None:
        paths = [str(Path(spec.origin).parents[1]), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return env


def end_job(process: subprocess.Popen) -> tuple[str, str]:
    """Let the launcher end its ranks, then kill whatever is left of the job; return what it printed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=5)
    kill_session(process.pid)
    return process.communicate()


def kill_session(session: int) -> None:
    """Kill every process of a session: ranks have process groups of their own, but stay in the session."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == session:
                os.kill(int(entry.name), signal.SIGKILL)
