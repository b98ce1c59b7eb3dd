"""A Slurm cluster of four nodes on this machine, and jobs on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch import environment

FOLDER = Path(__file__).parents[2] / "slurm"
SCRIPT = FOLDER / "cluster.sh"
_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"}


def why_not() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.geteuid() != 0:
        return "takes root: nodes with host names of their own"
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    missing = [name for name in _NEEDED if shutil.which(name, path=path) is None]
    return f"takes {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge libpmix2)" if missing else ""


class Cluster:
    """What `slurm/cluster.sh` starts in a folder: nodes n1 to n4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = environment() | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            # The nodes claim more CPUs than the machine has, to which Open MPI would bind.
            "PRTE_MCA_hwloc_default_binding_policy": "none",
            "PYTHONUNBUFFERED": "1",
        }
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)  # every rank would compile all modules again

    def do(self, *words: str | os.PathLike, **options) -> str:
        """What a command prints that succeeds."""
        done = subprocess.run(list(words), env=self.env, capture_output=True, text=True, timeout=60, **options)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> str:
        return self.do(SCRIPT, "up", self.folder)

    def down(self) -> str:
        return self.do(SCRIPT, "down", self.folder)

    def logs(self) -> str:
        """The last lines of each."""
        return "".join(f"{log}\n{log.read_text()[-2000:]}\n" for log in sorted(self.folder.glob("*.log")))

    def pid(self, node: str) -> int:
        """The first process of a node."""
        return int((self.folder / f"{node}.pid").read_text())

    def kill(self, node: str) -> None:
        """What a power cut does."""
        os.kill(self.pid(node), signal.SIGKILL)

    def processes(self, node: str) -> list[str]:
        """Command lines of what runs on a node, besides Slurm's own."""
        mine = _namespace(self.pid(node))
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            if mine and _namespace(int(folder.name)) == mine:
                words = _read(folder / "cmdline").replace("\0", " ")
                if int(folder.name) != self.pid(node) and not words.startswith(("slurm", "munged", ": slurm")):
                    found.append(words)
        return found

    def shared_memory(self, node: str) -> list[str]:
        """Files in /dev/shm of a node."""
        return os.listdir(f"/proc/{self.pid(node)}/root/dev/shm")

    def submit(self, folder: Path, script: str, *options: str, **settings: str) -> "Job":
        """Have sbatch take a script, in a folder and with variables of its own."""
        folder.mkdir(exist_ok=True)
        (folder / "job.sbatch").write_text(script)
        job = self.do("sbatch", "--parsable", *_variables(settings), *options, "job.sbatch", cwd=folder)
        return Job(self, int(job), folder)


class Job:
    """A job, in a folder of its own."""

    def __init__(self, cluster: Cluster, number: int, folder: Path) -> None:
        self.cluster = cluster
        self.number = number
        self.folder = folder

    def states(self) -> set[str]:
        """Of the job, or of the runs of an array."""
        told = self.cluster.do("scontrol", "-o", "show", "job", str(self.number))
        return set(re.findall(r" JobState=(\w+)", told))

    def output(self) -> str:
        """All that it has printed."""
        return "".join(_read(path) for path in sorted(self.folder.glob("*.out")))

    def wait(self, seconds: float = 150) -> str:
        """Wait for its end; its state."""
        deadline = time.monotonic() + seconds
        while not (states := self.states()) <= _ENDED:
            self._want(time.monotonic() < deadline, "end", states)
            time.sleep(0.2)
        return " ".join(states)

    def wait_for_file(self, name: str, seconds: float = 150) -> None:
        """Wait until it has written a file of this name, or pattern."""
        deadline = time.monotonic() + seconds
        while not any(self.folder.glob(name)):
            states = self.states()
            self._want(time.monotonic() < deadline and not states <= _ENDED, name, states)
            time.sleep(0.2)

    def _want(self, is_so: bool, what: str, states: set[str]) -> None:
        assert is_so, f"no {what} of {self.folder.name}, which is {states}:\n{self.output()}{self.cluster.logs()}"


def fill(template: str, **changes: object) -> str:
    """A template of `slurm/` with the marked lines changed, as a user would: ``nodes=2`` changes ``#SBATCH --nodes``,
    and ``program="a.py"`` the variable. The environment is this interpreter's.
    """
    lines = (FOLDER / f"{template}.sbatch").read_text().splitlines()
    (source,) = (number for number, line in enumerate(lines) if line.startswith("source "))
    lines[source] = f"source {sys.prefix}/bin/activate"
    for name, value in changes.items():
        name = name.replace("_", "-")
        starts = (f"#SBATCH --{name}=", f"{name}=")
        (found,) = (number for number, line in enumerate(lines) if line.startswith(starts))
        assert "# <-" in lines[found], f"{template}: {lines[found]} is not marked as what a user changes"
        lines[found] = f"{lines[found].partition('=')[0]}={value}"
    return "\n".join([*lines, ""])


def _variables(settings: dict[str, str]) -> list[str]:
    return ["--export=" + ",".join(["ALL", *(f"{name}={value}" for name, value in settings.items())])]


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""  # it has ended


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
