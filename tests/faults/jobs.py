"""Jobs that go wrong: a program is written, run under `mpirun`, and what came of it is looked at."""

import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from launch import mpirun

#: Seconds after which a job must be over when something has gone wrong in it.
SOON = 2.0

#: What every program begins with.
PRELUDE = """\
import os, signal, sys, threading, time
import dcomp as dc


def event():
    os.write(1, f"EVENT {time.time()}\\n".encode())


def launcher():
    "The process number of mpirun: the ancestor whose parent is the test."
    pid = os.getpid()
    while True:
        parent = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        if parent == int(os.environ["TEST_PID"]):
            return pid
        pid = parent


def settle():
    "Wait until the guard is up and knows all ranks."
    from dcomp import _watch

    told = ""
    while "Where the ranks are" not in told or "cannot be asked" in told:
        told = _watch.report(_watch.waiting(dc.COMM_WORLD._channel, "settle", None))
    dc.barrier()


def limit(seconds):
    "DCOMP_TIMEOUT from here on: what comes before, compiling most of all, takes its time on a busy machine."
    object.__setattr__(dc.COMM_WORLD._channel.settings, "timeout", seconds)


def leave():
    "End without MPI_Finalize, for ranks out of step; not at once, for Open MPI loses what they have just said."
    dc.COMM_WORLD.mpi.Barrier()
    time.sleep(0.5)
    os._exit(0)


dc.barrier()
"""


@dataclass
class Job:
    """A job that has ended."""

    returncode: int
    output: str  # standard output, then standard error, of all ranks and the launcher
    path: Path
    end: float

    def seconds(self) -> float:
        """From the program's first `event()` to the end of mpirun."""
        stamps = re.findall(r"EVENT (\d+\.\d+)", self.output)
        assert stamps, self.output
        return self.end - float(min(stamps))

    def assert_ended_soon(self, more: float = 0.0) -> None:
        """It failed, and within `SOON` of the event; `more` seconds are for what else happens in that time."""
        assert self.returncode != 0, self.output
        assert self.seconds() < SOON + more, self.output

    def assert_once(self, pattern: str) -> None:
        """The output has this, once."""
        assert len(re.findall(pattern, self.output)) == 1, f"not once: {pattern}\n{self.output}"

    def place(self, mark: str) -> str:
        """``file:line`` of the line of the program that ends in ``# mark``."""
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            if line.endswith(f"# {mark}"):
                return f"{self.path}:{number}"
        raise ValueError(mark)


def run(
    tmp_path: Path,
    program: str,
    *,
    n: int = 3,
    env: dict[str, str] | None = None,
    first: str = "",
    launcher: tuple[str, ...] = (),
    timeout: float = 60,
) -> Job:
    """Run a program on `n` ranks; nothing of the job may be left a second after its end.

    `first` is a line before the prelude, `launcher` are options of mpirun's.
    """
    path = tmp_path / "program.py"
    path.write_text(f"{first}\n{PRELUDE}{program}")
    mark = uuid.uuid4().hex
    done = mpirun(
        n,
        path,
        env={"TEST_PID": str(os.getpid()), "TEST_MARK": mark, **(env or {})},
        timeout=timeout,
        launcher=launcher,
    )
    end = time.time()
    while left := _marked(mark):
        assert time.time() - end < 1, f"left behind: {left}"
        time.sleep(0.02)
    return Job(done.returncode, done.stdout + done.stderr, path, end)


def _marked(mark: str) -> list[str]:
    """Command lines of the processes that have the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has just ended, or is another user's
    return found
