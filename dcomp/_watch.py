"""Who waits for whom, and where: what a rank tells of itself, and how it asks for the others.

Every rank has one thread that sleeps until the guard (`_guard.py`) asks. It answers while the program waits,
computes or sits inside MPI. Only compiled code that keeps the GIL silences it; then the guard sends the report
signal, if the rank is on its node, and `faulthandler` tells the line from within the signal's handler. That is one
thread and one connection a rank, and while nothing happens nothing is sent.
"""

import faulthandler
import itertools
import math
import os
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

from . import _report
from ._link import Link, connect

_PACKAGE = __name__.partition(".")[0]
_LIBRARY = ("<frozen", *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
REPORT_AFTER = 60.0  # seconds; without DCOMP_TIMEOUT the report comes once and the wait goes on
_LOOKS = 4  # in the time after which a call inside MPI is told of
_MOMENT = 0.1  # seconds
_REPORT = 3.0  # seconds that a report may take; the guard gives the ranks 1 s to answer

_waits: "set[Wait]" = set()
_serials = itertools.count(1)
_channels: Mapping[int, Any] = {}
_size = 1
_signal: int | None = None  # that has been set up to ask for a report
_link: Link | None = None
_inside: "dict[int, _Inside]" = {}  # by channel
_give_up: Callable[[str], None] | None = None


class Wait:
    """What a thread of this rank waits for; ``with`` it, the thread does."""

    __slots__ = ("channel", "function", "peers", "call", "thread", "serial")

    def __init__(self, channel: Any, function: str, peers: tuple[int, ...] | None) -> None:
        self.channel = channel
        self.function = function
        self.peers = peers
        self.call: int = channel.calls
        self.thread = threading.get_ident()
        self.serial = next(_serials)

    def __enter__(self) -> "Wait":
        _waits.add(self)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        _waits.discard(self)

    def tell(self, frames: Mapping[int, FrameType]) -> dict[str, Any]:
        """The wait as others hear of it, in ranks of COMM_WORLD (`_report.WaitState`)."""
        members = self.channel.members
        return {
            "serial": self.serial,
            "function": self.function,
            "channel": self.channel.id,
            "name": self.channel.name,
            "call": self.call,
            "peers": None if self.peers is None else [members[rank] for rank in self.peers],
            "members": None if len(members) == _size else members,
            "site": position(frames.get(self.thread)),
        }


class _Inside(Wait):
    """A blocking call of MPI in which this rank was when last looked at: its data is under way."""

    __slots__ = ("of", "looks")

    def __init__(self, channel: Any, of: tuple[str, int]) -> None:
        super().__init__(channel, of[0], None)
        self.of, self.thread = of, of[1]
        self.looks = 0  # that have found it; no clock, which goes on while the whole job is stopped

    def tell(self, frames: Mapping[int, FrameType]) -> dict[str, Any]:
        return {**super().tell(frames), "inside": True}


def waiting(channel: Any, function: str, peers: tuple[int, ...] | None) -> Wait:
    """Say that this thread waits, while it does: ``with waiting(...) as wait``.

    `peers` are the ranks of the channel that are waited for; None: all of them.
    """
    return Wait(channel, function, peers)


def report(wait: Wait) -> str:
    """Who is missing in a wait of this rank, and where every rank is.

    Takes a second if some rank does not answer. Ranks that ask at the same time get the same text.
    """
    told = wait.tell(sys._current_frames())
    text = _link.ask(_REPORT, report=told) if _link is not None else None
    if text is not None:
        return text
    here = _report.RankState(site=told["site"], waits=(_report.read_wait(told),))
    where = _report.positions({wait.channel.members[wait.channel.rank]: here})
    return f"{wait.function}: waiting on {wait.channel.name}; where others are cannot be told:\n{where}"


def publish(text: str) -> None:
    """Print a report; the same report of several ranks is printed once."""
    if _link is None or not _link.say(publish=text):
        print(text, file=sys.stderr, flush=True)


def position(frame: FrameType | None) -> str:
    """File, line and function of the program's own innermost frame.

    Frames of dcomp, of the standard library and of installed packages are left out, for a line of
    `threading.py` says little; if there are no others, it is the innermost frame outside dcomp.
    """
    found = None
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            if not frame.f_code.co_filename.startswith(_LIBRARY):
                found = frame
                break
            found = found or frame
        frame = frame.f_back
    if found is None:
        return "no line of the program"
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"


def start(channel: Any, channels: Mapping[int, Any], lose: Callable[[list[int]], None] | None) -> Link | None:
    """Start the guard and this rank's connection to it; collective, once, when MPI is up.

    Parameters
    ----------
    channel      Of COMM_WORLD.
    channels     All channels of this process by id, now and later.
    lose         Called in another thread with the ranks that have died. None: the job ends when one does.

    Returns
    -------
    The connection, to whose `actions` others add; None where there is none.

    Notes
    -----
    A single rank needs no guard. Where the guard cannot be started or reached, the sudden death of a rank is the
    launcher's to notice, a report knows one rank only, and equal tracebacks are not folded.
    """
    global _link, _channels, _size, _signal
    _channels, _size = channels, channel.size
    number = channel.settings.report_signal
    if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # else the program has its own use for it
        _signal = number
    if channel.size > 1:
        about = {"signal": _signal, "library": [os.path.dirname(__file__), *_LIBRARY]}
        _link = connect(channel.sync, channel.settings.ranks_per_node, lose is not None, **about)
    if _signal is not None:
        # In C, for Python's handlers do not run while the main thread is inside MPI or other compiled code.
        faulthandler.register(_signal, file=2 if _link is None else _link.fileno, all_threads=False)
    if _link is not None:
        _link.actions["state"] = _tell_state
        if lose is not None:
            _link.actions["lost"] = lose
        _link.look = _look
        _link.period = min(max((channel.settings.timeout or REPORT_AFTER) / _LOOKS, _MOMENT), REPORT_AFTER)
        _link.start()
    return _link


def know_end(give_up: Callable[[str], None]) -> None:
    """Have the function that ends the job and says why, which a module above this one knows."""
    global _give_up
    _give_up = give_up


def _look_inside() -> "list[_Inside]":
    """The calls of this rank that are inside MPI."""
    for number, channel in _all_channels():
        of, known = channel.inside, _inside.get(number)
        if of is None:
            _inside.pop(number, None)
        elif known is None or known.of is not of:
            _inside[number] = _Inside(channel, of)
    return list(_inside.values())


def _all_channels() -> list[tuple[int, Any]]:
    """A snapshot: other threads make channels, and drop them."""
    while True:
        try:
            return list(_channels.items())
        except RuntimeError:  # changed meanwhile
            continue


def _look() -> None:
    """Tell of calls that have been inside MPI for too long; if its thread waits as well, that wait knows its time."""
    waiting_threads = {wait.thread for wait in list(_waits)}
    for call in _look_inside():
        call.looks = 0 if call.thread in waiting_threads else call.looks + 1
        limit = call.channel.settings.timeout or REPORT_AFTER
        if _link is not None and _link.period and call.looks == math.ceil(limit / _link.period) + 1:
            # This thread is needed for the answers.
            threading.Thread(target=_tell_of, args=(call,), name="dcomp report", daemon=True).start()


def _tell_of(call: _Inside) -> None:
    text, timeout = report(call), call.channel.settings.timeout
    time.sleep(_MOMENT)  # if the whole job has just been woken up, it goes on
    if call.channel.inside is not call.of:
        return
    if timeout is None or _give_up is None:
        publish(text)
    else:
        _give_up(
            f"DeadlockError: {text}\nThe wait was longer than DCOMP_TIMEOUT={timeout:g} s. It is inside MPI, which no "
            "exception can leave, so the job ends."
        )


def _tell_state(number: int) -> None:
    link, frames = _link, sys._current_frames()
    if link is not None:
        waits = [wait.tell(frames) for wait in [*_waits, *_look_inside()]]
        state = {"site": position(frames.get(threading.main_thread().ident or 0)), "waits": waits, "calls": calls()}
        link.say(state=state, id=number)


def calls() -> dict[int, int]:
    """How many collective calls this rank has begun, by channel."""
    return {number: channel.calls for number, channel in _all_channels()}


def _after_fork() -> None:
    """A child is no rank: it must neither speak for one nor keep the connection open after the rank's death."""
    global _link
    if _link is not None:
        if _signal is not None:
            faulthandler.unregister(_signal)  # it would write to what is closed now
        _link.close()
        _link = None
    _waits.clear()
    _inside.clear()


os.register_at_fork(after_in_child=_after_fork)
