"""The guard asks all ranks where they are (`_guard.py`)."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import _report
from ._report import RankState, WaitState

ANSWER = 1.0  # seconds within which a rank answers
FRESH = 0.3  # seconds in which what the ranks have told serves whoever asks

_SILENCE = "does not answer: stopped, dead, or in compiled code that keeps the GIL"
_STRANGER = "cannot be asked: has no connection to the guard on rank 0's node"

_Action = Callable[[dict[int, RankState]], None]


class Peer:
    """A rank, as the guard knows it; its number is -1 until it has said hello."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.is_open = True
        self.rank = -1
        self.node = ""
        self.known_since = 0  # the how-manieth wake of the guard
        self.pid: int | None = None  # where it is a process of this machine
        self.unread = b""
        self.ended = False
        self.status = 0
        self.calls: dict[int, int] = {}
        self.last_words: list[str] = []

    def say(self, **message: Any) -> None:
        """Send a message; one that cannot be delivered at once is dropped, for the guard waits for no rank."""
        with contextlib.suppress(OSError):  # the end of the connection is seen, and dealt with, when it is read
            self.connection.sendall(json.dumps(message).encode() + b"\n")


class Census:
    """Rounds of asking; what is asked for at the same time shares one.

    A round is one message to every rank and one back. It ends when all have answered, or after `ANSWER` seconds.
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
        self._after(ANSWER, lambda: self._end_if(number == self._number))
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
        return RankState(peer.node, calls=peer.calls, ended=peer.ended, silence="" if peer.ended else _SILENCE)
