"""Whether the job is to stop, for a signal has come or its time is nearly up, and how long it still has."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from math import inf
from typing import Any

import numpy as np

from ._errors import UsageError
from ._settings import Settings

TOLD = "of: the job"  # what the ranks agree about that ask
#: What a rank puts into the sum over all: low, how many have got a signal; high, whether the time is nearly up.
_SIGNALLED, _LATE = 1, 1 << 32
_JOB = "SLURM_JOB_ID"
_ASKING = 10.0  # seconds that Slurm may take for an answer
_FRESH = 600.0  # seconds after which Slurm is asked again: the limit of a job can be changed while it runs

#: What this rank puts into the sum, whether it watches for signals, and whether for time; compiled code reads them.
words = np.zeros(3, np.int64)
_wanted = words[:1]
_end = inf  # of the job, in seconds since 1970
_asked = -inf  # when Slurm was asked, on the monotonic clock
_lock = threading.Lock()


def watch(settings: Settings, keeps_time: bool) -> np.ndarray:
    """From now on note whether a signal comes, and, where this rank `keeps_time`, whether the end is near.

    Returns
    -------
    array of one int64, which changes when that happens

    Raises
    ------
    UsageError     If the first call is not in the main thread.
    """
    if not words[1]:
        if threading.current_thread() is not threading.main_thread():
            raise UsageError(
                "stop_requested: its first call must be in the main thread, where Python lets signals be handled; got "
                f"{threading.current_thread().name!r}. Call it there once, early in the program."
            )
        for number in settings.stop_signals:
            _note(number)
        words[1] = True
    if keeps_time and not words[2]:
        words[2] = True
        job_end()
        if _JOB in os.environ:
            threading.Thread(target=_keep_time, args=(settings.stop_before,), name="dcomp time", daemon=True).start()
    return _wanted


def _note(number: int) -> None:
    """Have a signal noted; a handler that the program has set is still called."""
    previous: Any = signal.getsignal(number)
    if previous is signal.default_int_handler:  # Python's own, which would end the program
        previous = None

    def handle(number: int, frame: Any) -> None:
        _wanted[0] |= _SIGNALLED
        if callable(previous):
            previous(number, frame)

    signal.signal(number, handle)


def _keep_time(before: float) -> None:
    """Sleep until so many seconds before the end."""
    while True:
        left = job_end() - time.time() - before
        if left <= 0:
            left = job_end(again=True) - time.time() - before
        if left <= 0:
            break
        time.sleep(min(left, _FRESH))
    _wanted[0] |= _LATE


def _reason(total: int, size: int) -> str:
    """Why the job is to stop, by the sum over all ranks."""
    signalled, late = total % _LATE, total // _LATE
    why = [f"{signalled} of {size} ranks got a signal"] if signalled else []
    if late:
        why.append(f"Slurm ends the job in {max(0.0, job_end() - time.time()):.0f} s")
    return "; ".join(why)


def job_end(again: bool = False) -> float:
    """When Slurm ends the job, in seconds since 1970; infinity where nothing ends it.

    Newer versions of Slurm tell it at the start, in the environment. Slurm is asked where it does not, every ten
    minutes for what has become of it, and when it is wanted `again`.
    """
    global _end, _asked
    job = os.environ.get(_JOB)
    with _lock:
        if job is not None and (again or time.monotonic() - _asked > _FRESH):
            told = os.environ.get("SLURM_JOB_END_TIME", "")
            if _asked == -inf and told.isdecimal():
                _end = float(told)
            else:
                _end = _ask_slurm(job, _end, says_why=_asked == -inf)
            _asked = time.monotonic()
        return _end


def _ask_slurm(job: str, known: float, *, says_why: bool) -> float:
    """The end of the job by its limit; what is `known` if Slurm does not answer, and `says_why`."""
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--format=%A %e", f"--jobs={job}"],
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
            capture_output=True,
            text=True,
            timeout=_ASKING,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        if says_why:
            said = getattr(error, "stderr", None) or error
            warnings.warn(f"time_left: Slurm does not tell when job {job} ends, so it is unknown: {said}", stacklevel=2)
        return known
    # One run of an array has the number of the whole, for which Slurm tells of all. Without a limit %e is no number.
    found = re.search(rf"^{re.escape(job)} (\d+)$", answer, re.MULTILINE)
    return float(found[1]) if found else inf


class Stopping:
    """The methods of a communicator that tell of the end."""

    rank: int
    size: int
    _channel: Any
    _combine: Any  # the sum over all ranks
    _refuse: Any
    _wanted: np.ndarray | None = None  # what this rank puts into the sum
    _total: np.ndarray  # the sum, whose array is made once: that takes longer than to add
    _is_stopping = False

    def stop_requested(self) -> bool:
        """Whether the job is to stop soon: the same answer on all ranks; collective.

        It is true from the first call on before which one of the signals of ``DCOMP_STOP_SIGNALS`` (SIGUSR1 and
        SIGTERM) has reached any rank, or ``DCOMP_STOP_BEFORE`` seconds (120) before the end of a Slurm job. A program
        that asks after every step saves its state then, and ends with ``sys.exit(dc.STOPPED)``: that status, 75, tells
        whoever has started it to start it again.

        Raises
        ------
        UsageError     If the first call is not in the main thread, where Python lets signals be handled.

        Notes
        -----
        A sum of 8 bytes. The first call sets the handlers: until then a signal does what it did. Handlers that the
        program has set before are still called; one that it sets later takes the place of this one, and should call
        what `signal.signal` returns. Rank 0 keeps the time, and says what the reason is.

        Examples
        --------
        SIGUSR1 to rank 1  ->  every rank True
        """
        if self._wanted is None:
            try:
                self._wanted, self._total = watch(self._channel.settings, self.rank == 0), np.zeros(1, np.int64)
            except UsageError as fault:
                self._refuse("stop_requested", fault)
        total = int(self._combine(self._wanted, "stop_requested", TOLD, self._total)[0])
        return total != 0 and self._note_stop(total)

    def _note_stop(self, total: int) -> bool:
        """Say once why the job is to stop; true."""
        if self.rank == 0 and not self._is_stopping:
            why = _reason(total, self.size)
            print(f"dcomp: {self._channel.name} is to stop: {why}", file=sys.stderr, flush=True)
        self._is_stopping = True
        return True

    def time_left(self) -> float:
        """Seconds until Slurm ends the job, infinity without a limit; the same answer on all ranks; collective.

        Notes
        -----
        A sum of 8 bytes. Rank 0 knows it by ``SLURM_JOB_END_TIME``, or asks `squeue` at the first call; it asks every
        ten minutes whether the limit has been changed. Slurm's own clock may be some tens of seconds off. Where it
        does not answer, rank 0 warns, and the time is infinite.
        """
        left = max(0.0, job_end() - time.time()) if self.rank == 0 else 0.0
        return float(self._combine(np.array([left]), "time_left", TOLD)[0])
