"""``python -m dcomp run --restarts 3``: a job that has ended by the death of a rank, or asks for it, is started again.

Launchers' exit statuses do not tell a death from an exception (MPICH ends with 9 where a rank was killed, and where the
program says ``sys.exit(9)``). The guard knows, so it says a word, through a pipe whose name is in the environment. It
keeps the pipe open until it ends, which may be a little after the launcher.
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

PROGRAM, DEATH = b"program", b"death"  # what has ended the job
_NAME = "_DCOMP_VERDICT"  # in the environment
_LATE = 2.0  # seconds in which the guard ends after the launcher
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_BY_PROGRAM = (0, 1, 2)  # statuses of Python's own: an end, an exception, wrong arguments
_STOPPED = os.EX_TEMPFAIL  # dcomp.STOPPED, which cannot be imported without MPI


def open_verdict() -> Callable[[bytes], None]:
    """In the guard: what takes its word; the first one counts."""
    path = os.environ.get(_NAME)
    if path is None:
        return lambda word: None
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no one reads it, or the guard is on another machine
        return lambda word: None
    return lambda word: _write(pipe, word)


def _write(pipe: int, word: bytes) -> None:
    with suppress(OSError):  # no one reads it any more
        os.write(pipe, word + b"\n")


def run(argv: list[str], environment: dict[str, str], restarts: int) -> int:
    """Run a launcher, and as often as `restarts` again if its job has ended by a death, or with `STOPPED`.

    In a Slurm job that status says that the job has to make room, and is left to its script.

    Returns
    -------
    The last exit status.
    """
    for left in range(restarts, -1, -1):
        status, why = _run_once(argv, environment)
        if why is None or not left:
            break
        print(
            f"dcomp: the job has ended with status {status}, {why}. It is started again; {left - 1} more restarts are "
            "left.",
            file=sys.stderr,
            flush=True,
        )
    return status


def _run_once(argv: list[str], environment: dict[str, str]) -> tuple[int, str | None]:
    """The exit status of a launcher, and why its job is to be started again, if it is."""
    is_stopped = is_told = False  # to end; anything
    with tempfile.TemporaryDirectory(prefix="dcomp-") as folder:
        path = os.path.join(folder, "verdict")
        os.mkfifo(path)
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        process = subprocess.Popen(argv, env={**environment, _NAME: path})

        def forward(number: int, frame: FrameType | None) -> None:
            nonlocal is_stopped, is_told
            is_told = True
            is_stopped = is_stopped or number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
            if number != signal.SIGINT:  # which a terminal sends to the launcher, too
                process.send_signal(number)

        previous = {number: signal.signal(number, forward) for number in (*_FORWARDED, signal.SIGINT)}
        try:
            status = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        word = _read(pipe)
        os.close(pipe)
    if status < 0:
        status = 128 - status  # as shells say it
    if word != DEATH and status == _STOPPED:
        return status, None if is_told or "SLURM_JOB_ID" in environment else "which asks for another start"
    is_death = word == DEATH or (not word and status not in _BY_PROGRAM)
    return status, "by the death of a rank" if is_death and not is_stopped else None


def _read(pipe: int) -> bytes:
    """The guard's word; nothing if there was none, as for a single rank."""
    said, end = b"", time.monotonic() + _LATE
    while b"\n" not in said and time.monotonic() < end:
        ready, _, _ = select.select([pipe], [], [], 0.05)
        data = os.read(pipe, 4096) if ready else b""
        if ready and not data:
            break  # whoever could say it is gone
        said += data
    return said.partition(b"\n")[0]
