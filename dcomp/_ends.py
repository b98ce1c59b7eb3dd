"""How a rank's program ends, and that the others hear of it.

An uncaught exception ends the job. So does `sys.exit` with a bad status, unless the other ranks come to their end
too. Python tells no one of a `SystemExit` that was raised without `sys.exit`: that end, and an early one, is noticed
as soon as others wait for this rank (`_guard.py`), and a sudden death by the guard.
"""

import atexit
import contextlib
import faulthandler
import itertools
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, NoReturn

from mpi4py import MPI

from . import _report, _watch
from ._guard import FORWARD
from ._link import Link
from .engine import losses, recovery
from .engine.channel import close_all

_PACKAGE = __name__.partition(".")[0]
#: The package and what it calls: no lines of the program.
_BELOW = {_PACKAGE, "numpy", "numba", "llvmlite", "scipy", "mpi4py", "threadpoolctl", *sys.stdlib_module_names}
_PRINTED = 1.0  # seconds that the guard may take to print a traceback; then this rank prints it
_ABORTED = 0.5  # seconds that the guard's order to end the job may take; then this rank ends it unasked
_INTERRUPTED = 130  # the status of shells for SIGINT

_ending: "_Ending | None" = None


def install(channel: Any, link: Link | None) -> None:
    """Take care of how this process ends; once. `channel` is COMM_WORLD's, `link` comes from `_watch.start`."""
    global _ending
    ending = _ending = _Ending(channel, link)
    # MPI_Finalize deletes the attributes of COMM_SELF before it does anything else (MPI-4.1, 11.2.4).
    keyval = MPI.Comm.Create_keyval(delete_fn=lambda comm, number, value: ending.finalize())
    MPI.COMM_SELF.Set_attr(keyval, None)
    sys.exit = _exit
    atexit.register(ending.leave)
    os.register_at_fork(after_in_child=ending.forget)
    if channel.size > 1:  # else Python's own way is right
        sys.excepthook = ending.fail
        _watch.know_end(ending.give_up)
        ending.follow_orders()


def fail_late(error: BaseException) -> None:
    """End the job with an error that came when the program was over, from a function that Python calls at its end."""
    sys.excepthook(type(error), error, error.__traceback__)
    if _ending is not None:
        _ending.abort(1)


class _Watched:
    """The argument of a `SystemExit`, which sees whether that is caught.

    Python prints no traceback for a `SystemExit` and calls no hook; it drops it before threads are joined and
    `atexit` functions run. Then no Python code is below; whoever catches it, is. A subclass of `SystemExit` itself
    would not do: `threading` ignores only the class that it knows.
    """

    def __del__(self) -> None:
        if _ending is not None and threading.current_thread() is threading.main_thread():
            try:
                sys._getframe(1)
            except ValueError:  # the call stack is not deep enough
                status = int(self) & 0xFF if isinstance(self, int) else 1
                if status:  # else threads that Python waits for may go on and call dcomp
                    _ending.end(status)


class _Number(_Watched, int):
    """An exit status."""


class _Text(_Watched, str):
    """A message that Python prints before it exits with status 1."""


def _exit(status: Any = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status); see Python's `sys.exit`, which this stands for."""
    if isinstance(status, int):
        status = _Number(status)
    elif isinstance(status, str):
        status = _Text(status)
    raise SystemExit(status)


class _Ending:
    """The end of this process's program."""

    def __init__(self, channel: Any, link: Link | None) -> None:
        self._channel, self._link = channel, link
        self._printed = threading.Event()
        self._has_ended = False
        self._is_child = False
        self._status = 0
        self._previous_hook = sys.excepthook

    def follow_orders(self) -> None:
        """Do what the guard says, and tell it of crashes."""
        if self._link is None:
            return
        self._link.actions["flush"] = lambda _: _flush()
        self._link.actions["printed"] = lambda _: self._printed.set()
        self._link.actions["abort"] = self.abort
        if not faulthandler.is_enabled():
            faulthandler.enable(file=self._link.fileno, all_threads=False)

    def fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """`sys.excepthook`: have it printed once for all ranks that fail alike, and end the job."""
        if self._has_ended:  # and so, perhaps, has MPI
            self._previous_hook(kind, error, trace)
            return
        self._has_ended = True
        _flush()
        if self._previous_hook is sys.__excepthook__:
            text = _format(error)
        else:  # the program has its own way to show it
            self._previous_hook(kind, error, trace)
            text = f"ends with {kind.__name__}"
        self._tell(text, _INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1)

    def give_up(self, text: str) -> None:
        """End the job from another thread than the main one, which is inside MPI."""
        if not self._has_ended:
            self._has_ended = True
            _flush()
            self._tell(text, 1)

    def _tell(self, text: str, status: int) -> None:
        """Have it printed, once for all ranks that say the same, and end the job."""
        if self._link is not None and self._link.say(failed=text, status=status) and self._printed.wait(_PRINTED):
            threading.Event().wait(_ABORTED)
        else:
            rank, size, node = self._channel.rank, self._channel.size, os.uname().nodename
            sys.stderr.write(_report.fold({rank: text}, size, {rank: node}))
            sys.stderr.flush()
            threading.Event().wait(FORWARD)
        self.abort(status)

    def end(self, status: int) -> None:
        """The program is over, with this status if it is known, or with 0; MPI is not yet."""
        self._status = status
        if not self._has_ended:
            self._has_ended = True
            if status:
                _flush()
            if self._link is not None:
                self._link.say(ended=status, calls=_watch.calls())

    def leave(self) -> None:
        """Python is about to end, and mpi4py with it."""
        if self._is_child:
            # It would end MPI in the child, which waits for other ranks, or brings the parent down (both were seen).
            # What is lost is the status of a `SystemExit` that was raised without `sys.exit`.
            _flush()
            os._exit(1 if hasattr(sys, "last_type") else self._status)
        if not self._has_ended:
            self.end(0)
        self._finalize_without_the_lost()

    def finalize(self) -> None:
        """The program ends MPI itself."""
        self.end(0)
        self._finalize_without_the_lost()
        close_all("MPI has been finalised")

    def _finalize_without_the_lost(self) -> None:
        if losses.lost and not MPI.Is_finalized():
            recovery.prepare_finalize(self._channel)

    def forget(self) -> None:
        """A forked child: its end is not the rank's."""
        if self._link is not None and faulthandler.is_enabled():
            faulthandler.disable()  # it would write to a closed connection
        self._is_child = self._has_ended = True
        self._link = None

    def abort(self, status: int) -> None:
        """End the job, now."""
        if MPI.Is_finalized():
            os._exit(status)
        MPI.COMM_WORLD.Abort(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not there: nothing to lose
            stream.flush()


def _format(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error)
    if isinstance(error, KeyboardInterrupt):
        # Where inside dcomp it hit is chance, and so is what dcomp was handling: it would tell apart ranks that wait at
        # the same line.
        frames = traceback.walk_tb(error.__traceback__)
        modules = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in frames]
        below = len(list(itertools.takewhile(_BELOW.__contains__, reversed(modules))))
        if below < len(modules) and _PACKAGE in modules[len(modules) - below :]:
            del told.stack[len(modules) - below :]
            told.__suppress_context__ = True
    return "".join(told.format())
