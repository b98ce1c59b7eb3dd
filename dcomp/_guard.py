"""The guard: a process beside the ranks that sees how they end, and says it once.

One per job, started by rank 0 (`_watch.py`); every rank keeps one TCP connection to it. It exists because a
rank can neither tell its own sudden death nor, under launchers that kill all others within milliseconds
(MPICH's: 3 ms), another's; and because who prints *once* must hear of all. It has a session of its own, so that
what kills the ranks does not kill it, and it ends when the ranks have. It knows no MPI and imports the standard
library, `_report` and `_restarts` only.

Lines of JSON go both ways. A rank says::

    hello, node, place, pid, mac, ...    first; the code proves that it knows the job's token
    failed, status                  the traceback of an uncaught exception
    ended, calls                    the program is over, with this status
    state, id                       the answer to `state`
    report, id                      asks for the report of a wait
    publish                         a report to be printed, unless it has been

The guard says `state`, `answer` (the report), `flush` (standard output), `printed` (the traceback), `lost` (ranks that
have died, where the others can go on) and `abort` (with a status).
What is not JSON was written by `faulthandler`: in a rank's last moments, or when it got the report signal.

With p ranks, the guard has p open files, a report is p short messages each way, and nothing happens in between.
"""

import contextlib
import heapq
import hmac
import itertools
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from . import _report, _restarts
from ._census import Census, Peer
from ._layout import format_ranks
from ._report import RankState

FOLD = 0.25  # seconds in which equal tracebacks are collected before they are printed
TO_THE_END = 1.0  # seconds that the other ranks have to come to their end when one has ended with a bad status
ENDED_CHECK = 0.5  # seconds between looks for waits that no one will end, for up to 100 ranks
LONG_WAIT = 2.0  # seconds after which a message that is still under way is thought never to come
ONE_SIGNAL = 1.0  # seconds in which signals count as one, sent to several ranks
FORWARD = 0.05  # seconds that the launcher has to pass on what was printed
GATHER = 0.03  # seconds after a death in which others belong to it
LAUNCHER = 0.3  # seconds that the launcher has to end the job by itself
_LAUNCHERS = ("prte", "mpirun", "mpiexec")  # names of Open MPI's processes that start ranks
FIRST = 15.0  # seconds within which the first rank connects


def prove(token: str, *words: object) -> str:
    """A code that only who knows `token` can make."""
    return hmac.new(token.encode(), repr(words).encode(), "sha256").hexdigest()


class Guard:
    """The guard's process; see the module.

    `is_tolerant`: the ranks can go on without those that die. `launcher` is the process that has started rank 0.
    """

    def __init__(
        self, listener: socket.socket, size: int, token: str, place: str, is_tolerant: bool, launcher: int
    ) -> None:
        self._listener, self._size, self._token, self._place = listener, size, token, place
        self._is_tolerant, self._launcher = is_tolerant, launcher
        self._is_aborted = False
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._open: set[Peer] = set()  # ranks whose connection is open
        self._ranks: dict[int, Peer] = {}  # all who have ever said hello
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._idle_at = float("-inf")
        self._deaths: list[Peer] = []  # that have not been told yet
        self._ending = False  # something has been said about the job's end; the rest follows from it
        self._failures: dict[int, tuple[str, int]] = {}
        self._census = Census(size, self._ranks, self._after)
        self._seen: dict[tuple[int, int], float] = {}  # since when a rank is known to be in a wait
        self._published: set[str] = set()
        self._signal_at = float("-inf")
        self._verdict = _restarts.open_verdict()

    def run(self) -> None:
        """Serve until the ranks have ended or are gone."""
        self._after(FIRST, lambda: None)
        start = time.monotonic()
        while not self._is_over(start):
            ready = self._selector.select(0)
            if not ready:
                self._idle_at = time.monotonic()
                ready = self._selector.select(max(self._timers[0][0] - self._idle_at, 0) if self._timers else None)
            for key, _ in ready:
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        self._census.end()
        self._tell_of_deaths()
        if self._failures:
            self._print_failures()  # the launcher was faster
        if len(self._ranks) == self._size and all(peer.ended or peer.fate for peer in self._ranks.values()):
            self._verdict(_restarts.PROGRAM)
        for peer in self._open:
            peer.connection.close()
        self._selector.close()
        self._listener.close()
        if self._is_tolerant and self._is_aborted:
            self._end_launcher()

    def _end_launcher(self) -> None:
        """The launcher of Open MPI 5.0 may go on without end when a job is aborted that has lost a rank before."""
        for number in (None, signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(OSError):  # it is gone
                    os.kill(self._launcher, number)
            end = time.monotonic() + LAUNCHER
            while time.monotonic() < end:
                try:
                    with open(f"/proc/{self._launcher}/comm") as file:
                        if not file.read().startswith(_LAUNCHERS):
                            return  # another process has its number now
                except OSError:
                    return
                time.sleep(0.01)

    def _is_over(self, start: float) -> bool:
        if len(self._ranks) == self._size and all(peer.ended for peer in self._ranks.values()):
            return True
        # MPI_Finalize is collective: when all who ever connected are gone, no one else is still coming.
        return not self._open and (bool(self._ranks) or time.monotonic() - start > FIRST)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), action))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):  # that was all
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(0.1)
                self._selector.register(connection, selectors.EVENT_READ, Peer(connection))

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.connection.recv(1 << 16)
        except OSError:
            data = b""
        *lines, peer.unread = (peer.unread + data).split(b"\n")
        if not data and peer.unread:
            lines.append(peer.unread)
        for line in lines:
            self._hear(peer, line)
        if not data or (peer.rank < 0 and (lines or len(peer.unread) > 4096)):
            self._close(peer)

    def _hear(self, peer: Peer, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            if peer.hear_words(line.decode(errors="replace")):
                self._signal()
            return
        if peer.rank < 0:
            self._greet(peer, message)
            return
        for kind, action in _ACTIONS.items():
            if kind in message:
                action(self, peer, message)

    def _greet(self, peer: Peer, message: dict[str, Any]) -> None:
        words = [message.get(name) for name in ("hello", "node", "place", "pid")]
        known = hmac.compare_digest(str(message.get("mac")), prove(self._token, *words))
        if known and message["hello"] not in self._ranks:
            peer.rank, peer.node, peer.known_since = message["hello"], message["node"], time.monotonic()
            if message["place"] == self._place:
                peer.pid, peer.signal, peer.library = message["pid"], message["signal"], tuple(message["library"])
            self._ranks[peer.rank] = peer
            self._open.add(peer)
            self._census.join(peer)
            if self._failures:
                peer.say(flush=True)
            if self._lost():
                peer.say(lost=self._lost())

    def _close(self, peer: Peer) -> None:
        self._selector.unregister(peer.connection)
        peer.connection.close()
        self._open.discard(peer)
        peer.is_open = False
        self._census.leave(peer)
        if peer.rank >= 0 and not peer.ended and not self._ending:
            peer.see_death(self._idle_at)
            self._deaths.append(peer)
            self._after(GATHER, self._tell_of_deaths)

    def _tell_of_deaths(self) -> None:
        """Say who has died first; then the launcher has perhaps killed all others.

        That is who has crashed with a word, or was not killed as launchers kill. Else connections tell, which are
        read in the order in which they ended; unless they had when the guard came to know their ranks.
        """
        deaths, self._deaths = self._deaths, []
        if not deaths or self._ending:
            return
        if self._is_tolerant and all(peer.can_be_lost for peer in deaths) and self._open:
            self._tell_the_others(deaths)
            return
        self._ending = True
        self._verdict(_restarts.DEATH)
        crashed = [peer for peer in self._ranks.values() if peer.last_words()]
        left = [peer for peer in deaths if not peer.is_killed]
        # Of a rank of another node only the time is known. MPI may have ended those here that talked with it.
        is_elsewhere = deaths[0].pid is None and deaths[0].was_known
        if crashed or (left and not is_elsewhere):
            deaths = (crashed or left)[:1]
        elif deaths[0].was_known:
            deaths = deaths[:1]
        self._print(f"{self._tag([peer.rank for peer in deaths])} {deaths[0].last_words() or deaths[0].fate}\n")
        self._after(LAUNCHER, lambda: self._abort(1))

    def _tell_the_others(self, deaths: list[Peer]) -> None:
        """Ranks have died, and the others go on."""
        for peer in self._open:
            peer.say(lost=self._lost())
        fates = {peer.rank: peer.last_words() or peer.fate for peer in deaths}
        self._print(_report.fold(fates, self._size, self._nodes()))

    def _lost(self) -> list[int]:
        """Ranks that have died."""
        return [rank for rank, peer in self._ranks.items() if peer.fate]

    def _failed(self, peer: Peer, message: dict[str, Any]) -> None:
        if self._ending and not self._failures:
            peer.say(printed=True)  # it comes of the end that is under way
            return
        if not self._failures:
            if self._is_tolerant:
                self._tell_of_deaths()  # of which the failure comes
            self._ending = True
            self._after(FOLD, self._print_failures)
            for other in self._open:
                other.say(flush=True)
        self._failures[peer.rank] = message["failed"], message["status"]

    def _print_failures(self) -> None:
        failures, self._failures = self._failures, {}
        self._print(_report.fold({rank: text for rank, (text, _) in failures.items()}, self._size, self._nodes()))
        for rank in failures:
            self._ranks[rank].say(printed=True)
        first = min(failures)
        self._end_job(failures[first][1], first)

    def _ended(self, peer: Peer, message: dict[str, Any]) -> None:
        if message["ended"]:
            self._after(TO_THE_END, lambda: self._end_of_one(peer))
        if not any(other.ended for other in self._ranks.values()):
            self._after(ENDED_CHECK, self._look_for_hopeless)
        peer.ended, peer.status = True, message["ended"]
        peer.calls = _report.read_calls(message["calls"])
        self._census.leave(peer)

    def _end_of_one(self, peer: Peer) -> None:
        going_on = [rank for rank, other in self._ranks.items() if not other.ended and not other.fate]
        if going_on and not self._ending:
            self._ending = True
            self._print(f"{self._tag([peer.rank])} sys.exit({peer.status}), while {format_ranks(going_on)} went on\n")
            self._end_job(peer.status, min(going_on))

    def _look_for_hopeless(self) -> None:
        if not self._ending:
            self._census.ask(self._judge)
            # A look costs a message per rank; at thousands of ranks they are further apart.
            self._after(max(ENDED_CHECK, self._size / 200), self._look_for_hopeless)

    def _judge(self, states: dict[int, RankState]) -> None:
        """End the job if a rank waits for what those who have ended will never do."""
        now = time.monotonic()
        waits = {(rank, wait.serial): wait for rank, state in states.items() for wait in state.waits}
        self._seen = {key: self._seen.get(key, now) for key in waits}
        judged = set()
        for key, wait in waits.items():
            long = now - self._seen[key] >= LONG_WAIT
            call = (wait.channel, wait.call, wait.peers, long)  # of many ranks alike
            if call in judged or self._ending:
                continue
            judged.add(call)
            if _report.is_hopeless(wait, key[0], states, long):
                self._ending = True
                ended = [rank for rank, state in states.items() if state.ended]
                status = max(self._ranks[rank].status for rank in ended)
                how = f"sys.exit({status})" if status else "the program ended"
                self._print(
                    f"{self._tag(ended)} {how}, while others wait for what will never come.\n"
                    f"{self._census.report(wait, states)}\n"
                )
                self._end_job(status or 1, key[0])

    def _end_job(self, status: int, first: int) -> None:
        self._verdict(_restarts.DEATH if self._lost() else _restarts.PROGRAM)
        # MPICH's mpirun may drop what it has not read when the job is aborted.
        self._after(FORWARD, lambda: self._abort(status, first))

    def _abort(self, status: int, first: int | None = None) -> None:
        """End the job: one rank calls MPI_Abort; if that did not help, all do; then all here are killed."""
        self._is_aborted = True
        running = {rank: peer for rank, peer in self._ranks.items() if peer in self._open and not peer.ended}
        if first in running:
            running[first].say(abort=status)
            self._after(LAUNCHER, lambda: self._abort(status))
            return
        for peer in running.values():
            peer.say(abort=status)
        self._after(2 * LAUNCHER, self._kill)

    def _kill(self) -> None:
        for peer in self._open:
            if peer.pid is not None and not peer.ended:
                with contextlib.suppress(OSError):  # it is gone, which is what was wanted
                    os.kill(peer.pid, signal.SIGKILL)

    def _report(self, peer: Peer, message: dict[str, Any]) -> None:
        wait = _report.read_wait(message["report"])
        self._census.ask(lambda states: peer.say(answer=self._census.report(wait, states), id=message["id"]))

    def _publish(self, peer: Peer, message: dict[str, Any]) -> None:
        if message["publish"] not in self._published:
            self._published.add(message["publish"])
            self._print(f"{message['publish']}\n")

    def _signal(self) -> None:
        """A rank has got the report signal."""
        # A launcher may forward the signal to every rank; one report answers them all.
        if time.monotonic() - self._signal_at > ONE_SIGNAL:
            self._signal_at = time.monotonic()
            self._census.ask(
                lambda states: self._print(f"Where the {self._size} ranks are:\n{_report.positions(states)}\n")
            )

    def _state(self, peer: Peer, message: dict[str, Any]) -> None:
        self._census.take(peer, message["id"], message["state"])

    def _nodes(self) -> dict[int, str]:
        return {rank: peer.node for rank, peer in self._ranks.items()}

    def _tag(self, ranks: list[int]) -> str:
        return _report.tag(ranks, self._size, self._nodes())

    def _print(self, text: str) -> None:
        """Write to standard error in one piece, so that other output does not cut it."""
        data = text.encode(errors="replace")
        with contextlib.suppress(OSError):  # no one is left to read it
            while data:
                data = data[os.write(2, data) :]


_ACTIONS: dict[str, Callable[[Guard, Peer, dict[str, Any]], None]] = {
    "failed": Guard._failed,
    "ended": Guard._ended,
    "state": Guard._state,
    "report": Guard._report,
    "publish": Guard._publish,
}


def main() -> None:
    """The guard's process. Standard input has its settings: the listening socket among them."""
    told = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # rank 0 need not wait for its child; the guard has no parent to tell
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    listener = socket.socket(fileno=told.pop("listener"))
    Guard(listener, **told).run()
