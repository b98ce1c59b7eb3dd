"""The guard asks all ranks where they are (`_guard.py`)."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import _report
from ._report import RankState, WaitState

ANSWER = 0.7  # seconds within which a rank answers
PROD = 0.3  # seconds within which one that did not may answer to the report signal
FRESH = 0.3  # seconds in which what the ranks have told serves whoever asks

_SILENCE = "does not answer: stopped, dead, or in compiled code that keeps the GIL"
_EXIT_CODE = 49  # field of /proc/pid/stat after the name; proc(5) counts it as the 52nd
_COMPILED = "in compiled code that keeps the GIL, called"
_STRANGER = "cannot be asked: has no connection to the guard on rank 0's node"

#: A line of faulthandler's: file, line, function.
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')

_Action = Callable[[dict[int, RankState]], None]


class Peer:
    """A rank, as the guard knows it; its number is -1 until it has said hello."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.is_open = True
        self.rank = -1
        self.node = ""
        self.known_since = 0.0
        self.pid: int | None = None  # where it is a process of this machine
        self.signal: int | None = None  # to which it answers even in compiled code
        self.library: tuple[str, ...] = ()  # what the paths of files begin with that are not the program's
        self.unread = b""
        self.ended = False
        self.status = 0
        self.calls: dict[int, int] = {}
        self.fate = ""  # how it died
        self.can_be_lost = True  # where MPI can go on: it notices this death
        self.is_killed = True  # as a launcher kills, for all that is known
        self.was_known = True  # to the guard, before it died
        self._words: list[str] = []  # of faulthandler
        self._is_prodded = False

    def say(self, **message: Any) -> None:
        """Send a message; one that cannot be delivered at once is dropped, for the guard waits for no rank."""
        with contextlib.suppress(OSError):  # the end of the connection is seen, and dealt with, when it is read
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def hear_words(self, line: str) -> bool:
        """A line of `faulthandler`'s; true at the first one of a stack for which the guard has not asked."""
        is_first = "most recent call first" in line and not self.last_words()
        if is_first or line.startswith("Fatal Python error"):
            self._words = []
        if not line.startswith("Extension modules"):
            self._words.append(line)
        is_asked = is_first and self._is_prodded
        if is_asked:
            self._is_prodded = False  # but a stopped rank stays so, and may answer much later
        return is_first and not is_asked

    def last_words(self) -> str:
        """What the rank said as it crashed; empty if it did not."""
        crashed = bool(self._words) and self._words[0].startswith("Fatal Python error")
        return "\n".join(self._words).rstrip() if crashed else ""

    def see_death(self, idle_at: float) -> None:
        """The rank is gone: see how, while the system still knows, which is until its parent has been told.

        `idle_at` is when the guard last had nothing to do: if not since the hello, that had waited as this has.
        """
        self.was_known = idle_at > self.known_since
        self.fate = "died: killed, out of memory, os._exit or MPI_Abort"
        if self.pid is None:
            return
        with contextlib.suppress(OSError, ValueError, IndexError):  # its parent has been told, or this is not Linux
            with open(f"/proc/{self.pid}/stat") as file:
                code = int(file.read().rpartition(")")[2].split()[_EXIT_CODE])
            number, status = code & 0x7F, code >> 8
            self.is_killed = number in (signal.SIGKILL, signal.SIGTERM) or not code
            if number:
                hint = ", perhaps for want of memory" if number == signal.SIGKILL else ""
                self.fate = f"died of {signal.Signals(number).name}{hint}"
            elif status:
                self.can_be_lost = False
                self.fate = f"died with status {status}, by os._exit or MPI_Abort"

    def prod(self) -> None:
        """Make a rank of this node that does not answer tell its stack."""
        self._words = []
        if self.pid is not None and self.signal is not None:
            self._is_prodded = True
            with contextlib.suppress(OSError):  # it is gone
                os.kill(self.pid, self.signal)

    def prodded_site(self) -> str | None:
        """Where the rank is, from the stack that it has told; as `_watch.position` finds it."""
        frames = [match.groups() for match in map(_FRAME.match, self._words) if match is not None]
        own = [frame for frame in frames if not frame[0].startswith(self.library)] or frames
        return f"{own[0][0]}:{own[0][1]} in {own[0][2]}" if own else None


class Census:
    """Rounds of asking; what is asked for at the same time shares one.

    A round is one message to every rank and one back. It ends when all have answered, or after a second.
    """

    def __init__(
        self, size: int, ranks: Mapping[int, Peer], after: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._size, self._ranks, self._after = size, ranks, after
        self._number = 0
        self._awaited: set[int] | None = None  # ranks whose answer is still to come; None: no round is under way
        self._answers: dict[int, RankState] = {}
        self._actions: list[_Action] = []
        self._states: dict[int, RankState] = {}  # what the last round found, and the texts made of it
        self._texts: dict[tuple, str] = {}
        self._states_at = float("-inf")

    def ask(self, action: _Action) -> None:
        """Call `action` with the states of all ranks, now or when they are known."""
        if self._awaited is None and time.monotonic() - self._states_at < FRESH:
            action(self._states)
            return
        self._actions.append(action)
        if self._awaited is not None:
            return
        self._number += 1
        number = self._number
        self._answers = {}
        asked = [peer for peer in self._ranks.values() if peer.is_open and not peer.ended]
        # Ranks that have not said hello yet may do so any moment.
        self._awaited = {peer.rank for peer in asked} | (set(range(self._size)) - set(self._ranks))
        for peer in asked:
            peer.say(state=number)
        self._after(ANSWER, lambda: self._prod(number))
        self._after(ANSWER + PROD, lambda: self._end_if(number == self._number))
        self._end_if(not self._awaited)

    def join(self, peer: Peer) -> None:
        """A rank has said hello, perhaps while the others are being asked."""
        if self._awaited is not None:
            peer.say(state=self._number)

    def leave(self, peer: Peer) -> None:
        """A rank will answer no more."""
        if self._awaited is not None:
            self._awaited.discard(peer.rank)
            self._end_if(not self._awaited)

    def take(self, peer: Peer, number: int, told: dict[str, Any]) -> None:
        """A rank's answer."""
        if self._awaited is not None and number == self._number:
            self._answers[peer.rank] = RankState(
                peer.node,
                told["site"],
                tuple(_report.read_wait(wait) for wait in told["waits"]),
                _report.read_calls(told["calls"]),
            )
            self.leave(peer)

    def _prod(self, number: int) -> None:
        if self._awaited is not None and number == self._number:
            for rank in self._awaited & set(self._ranks):
                self._ranks[rank].prod()

    def end(self) -> None:
        """End the round under way with what is known."""
        self._end_if(True)

    def report(self, wait: WaitState, states: dict[int, RankState]) -> str:
        """Who is missing in a wait; many ranks that wait alike ask for the same."""
        key = (wait.function, wait.channel, wait.call, wait.peers)
        if key not in self._texts:
            self._texts[key] = _report.wait_report(wait, states)
        return self._texts[key]

    def _end_if(self, is_over: bool) -> None:
        if self._awaited is None or not is_over:
            return
        self._awaited = None
        self._states = {rank: self._answers.get(rank) or self._guess(rank) for rank in range(self._size)}
        self._texts = {}
        self._states_at = time.monotonic()
        actions, self._actions = self._actions, []
        for action in actions:
            action(self._states)

    def _guess(self, rank: int) -> RankState:
        """The state of a rank that has not told it."""
        peer = self._ranks.get(rank)
        if peer is None:
            return RankState(silence=_STRANGER)
        if peer.ended:
            return RankState(peer.node, calls=peer.calls, ended=True)
        if peer.fate:
            return RankState(peer.node, death=peer.fate)
        site = peer.prodded_site()
        return RankState(peer.node, silence=_SILENCE if site is None else f"{_COMPILED} at {site}")
