"""Who waits for whom, and where: a rank's side of the guard (`_guard.py`).

Every rank has one thread that sleeps until the guard or a signal wakes it. It answers while the program waits,
computes or sits inside MPI; only compiled code that keeps the GIL silences it. One thread and one connection a
rank; while nothing happens, nothing is sent.
"""

import faulthandler
import itertools
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

from . import _guard, _report

_PACKAGE = __name__.partition(".")[0]
_LIBRARY = tuple({*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen"})
_CONNECT = 3.0  # seconds for each address of the guard
_REPORT = 3.0  # seconds for a report; the guard asks for 1 s, and may be asked by thousands
_SEND = 2.0

_waits: "set[Wait]" = set()
_serials = itertools.count(1)
_link: "_Link | None" = None


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
        """The wait as the guard hears of it, in ranks of COMM_WORLD (`_report.WaitState`)."""
        members = self.channel.members
        return {
            "serial": self.serial,
            "function": self.function,
            "channel": self.channel.id,
            "name": self.channel.name,
            "call": self.call,
            "peers": None if self.peers is None else [members[rank] for rank in self.peers],
            "members": None if len(members) == (_link.size if _link else 1) else list(members),
            "site": position(frames.get(self.thread)),
        }


def waiting(channel: Any, function: str, peers: tuple[int, ...] | None) -> Wait:
    """Say that this thread waits, while it does: ``with waiting(...) as wait``.

    `peers` are the ranks of the channel that are waited for; None: all of them.
    """
    return Wait(channel, function, peers)


def report(wait: Wait) -> str:
    """Who is missing in a wait of this rank, and where every rank is.

    Takes a second if some rank does not answer. Ranks that ask at the same time get the same text.
    """
    link = _link
    told = wait.tell(sys._current_frames())
    text = link.ask(_REPORT, report=told) if link is not None else None
    if text is not None:
        return text
    state = _report.RankState(site=position(main_frame()), waits=(_report.read_wait(told),))
    others = "" if link is None else "\n  the other ranks cannot be asked: the guard on rank 0's node does not answer"
    rank = wait.channel.members[wait.channel.rank]
    return f"{wait.function}: waiting on {wait.channel.name}\n{_report.positions({rank: state})}{others}"


def publish(text: str) -> None:
    """Print a report; the same report of several ranks is printed once."""
    if _link is None or not _link.say(publish=text):
        print(text, file=sys.stderr, flush=True)


def position(frame: FrameType | None) -> str:
    """File, line and function of the program's own innermost frame.

    Frames of dcomp, of the standard library and of installed packages are left out, for a line of
    `threading.py` says little; if there are no others, of the innermost frame outside dcomp.
    """
    innermost = None
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            innermost = innermost or frame
            if not frame.f_code.co_filename.startswith(_LIBRARY):
                innermost = frame
                break
        frame = frame.f_back
    if innermost is None:
        return "no line of the program"
    return f"{innermost.f_code.co_filename}:{innermost.f_lineno} in {innermost.f_code.co_name}"


def main_frame() -> FrameType | None:
    """The innermost frame of the main thread."""
    return sys._current_frames().get(threading.main_thread().ident or 0)


class _Link:
    """This rank's connection to the guard."""

    def __init__(
        self, connection: socket.socket, channel: Any, channels: Mapping[int, Any], child: subprocess.Popen | None
    ) -> None:
        self.size = channel.size
        self.connection = connection
        self.printed = threading.Event()
        self._channel, self._channels = channel, channels
        self._child = child
        self._sending = threading.Lock()
        self._unread = b""
        self._numbers = itertools.count()
        self._answers: dict[int, str | None] = {}
        self._answered = threading.Condition()
        self._signal_end, self.signal_pipe = os.pipe()

    def say(self, **message: Any) -> bool:
        """Send a message to the guard; false if it cannot be reached."""
        try:
            with self._sending:
                self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def ask(self, seconds: float, **message: Any) -> str | None:
        """Send a message and return the guard's answer; None if it does not come in time."""
        number = next(self._numbers)
        with self._answered:
            self._answers[number] = None
            if self.say(id=number, **message):
                self._answered.wait_for(lambda: self._answers[number] is not None, seconds)
            return self._answers.pop(number)

    def calls(self) -> dict[int, int]:
        """How many collective calls this rank has begun, by channel."""
        return {number: channel.calls for number, channel in list(self._channels.items())}

    def serve(self) -> None:
        """The thread: wake for the guard and for the signal."""
        if self._child is not None:
            self._child.wait()  # it has ended at once, leaving the guard as a process of its own
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ, self._read)
            selector.register(self._signal_end, selectors.EVENT_READ, self._read_signal)
            is_open = True
            while is_open:
                for key, _ in selector.select():
                    is_open = key.data() and is_open

    def _read_signal(self) -> bool:
        os.read(self._signal_end, 1 << 16)  # what faulthandler says is seen from here in better order
        return self.say(signal=True)

    def _read(self) -> bool:
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            data = b""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))
        return bool(data)

    def _hear(self, message: dict[str, Any]) -> None:
        if "state" in message:
            self.say(state=self._state(), id=message["state"])
        elif "report" in message:
            with self._answered:
                if message["id"] in self._answers:
                    self._answers[message["id"]] = message["report"]
                    self._answered.notify_all()
        elif "flush" in message:
            flush()
        elif "printed" in message:
            self.printed.set()
        elif "abort" in message:
            self._channel.sync.Abort(message["abort"])

    def _state(self) -> dict[str, Any]:
        frames = sys._current_frames()
        return {
            "site": position(frames.get(threading.main_thread().ident or 0)),
            "waits": [wait.tell(frames) for wait in list(_waits)],
            "calls": self.calls(),
        }


def start(channel: Any, channels: Mapping[int, Any] | None = None) -> None:
    """Start the guard and this rank's connection to it; collective, once, when MPI is up.

    Parameters
    ----------
    channel      Of COMM_WORLD.
    channels     All channels of this process, by id, now and later; without it, only the world's calls are known.

    Notes
    -----
    Four small exchanges, and one process on rank 0's node; nothing for a single rank. If the guard cannot be
    started or reached, everything works but the sudden death of a rank is the launcher's to notice, and reports
    know this rank only.
    """
    global _link
    number = channel.settings.report_signal
    if channel.size == 1:
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            faulthandler.register(number, file=sys.__stderr__, all_threads=False)
        return
    rank, comm = channel.rank, channel.sync
    # DCOMP_RANKS_PER_NODE pretends that nodes are smaller; their ranks then talk as over a network.
    pretended = channel.settings.ranks_per_node
    place = f"{_place()} {rank // pretended if pretended else ''}"
    first_place, token = comm.bcast((place, secrets.token_hex(16)) if rank == 0 else None)
    is_one_node = comm.allreduce(int(place == first_place)) == channel.size
    child, where = _start_guard(channel.size, token, place, is_one_node) if rank == 0 else (None, None)
    addresses, port = comm.bcast(where)
    connection = _connect(["127.0.0.1"] if place == first_place else addresses, port)
    if connection is None:
        return
    node, pid = socket.gethostname(), os.getpid()
    proof = _guard.prove(token, rank, node, place, pid)
    link = _Link(connection, channel, channels if channels is not None else {channel.id: channel}, child)
    link.say(hello=rank, node=node, place=place, pid=pid, mac=proof)
    _link = link
    if number is not None and signal.getsignal(number) is signal.SIG_DFL:
        # In C, for Python's own handlers do not run while the main thread is inside MPI.
        faulthandler.register(number, file=link.signal_pipe, all_threads=False)
    threading.Thread(target=link.serve, name="dcomp watch", daemon=True).start()


def _place() -> str:
    """Equal where processes reach each other at 127.0.0.1 and see each other's process numbers."""
    parts = [socket.gethostname()]
    for read in (_boot_id, lambda: os.readlink("/proc/self/ns/net"), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(read())
        except OSError:
            parts.append("")  # no such file on this system: the host's name must do
    return " ".join(parts)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _start_guard(
    size: int, token: str, place: str, is_one_node: bool
) -> tuple[subprocess.Popen | None, tuple[list[str], int]]:
    """Start the guard; its process and its addresses. It listens already: no one waits for it to be up."""
    # The package's __init__ and all it imports stay out of that process.
    code = (
        "import sys, types; package = types.ModuleType(sys.argv[1]); package.__path__ = [sys.argv[2]]; "
        "sys.modules[sys.argv[1]] = package; from importlib import import_module; "
        "import_module(sys.argv[3]).main()"
    )
    command = [sys.executable, "-I", "-S", "-c", code, _PACKAGE, os.path.dirname(__file__), _guard.__name__]
    try:
        with socket.create_server(("127.0.0.1" if is_one_node else "", 0), backlog=socket.SOMAXCONN) as listener:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # whoever waits for the end of rank 0's output need not wait for the guard
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            settings = {"listener": listener.fileno(), "size": size, "token": token, "place": place}
            assert child.stdin is not None
            with child.stdin:
                child.stdin.write(json.dumps(settings).encode())
            return child, ([] if is_one_node else _addresses(), listener.getsockname()[1])
    except OSError:
        return None, ([], 0)  # no more processes, say; `start` tells what is lost


def _addresses() -> list[str]:
    """The addresses of this machine that other machines may know it by, the likeliest first."""
    found = []
    try:
        found += [entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    except OSError:
        pass  # the name is not known to the resolver; the interfaces are
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found.append(_interface_address(probe, name))
            except OSError:
                pass  # an interface without an address
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def _interface_address(probe: socket.socket, name: str) -> str:
    import fcntl
    import struct

    answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
    return socket.inet_ntoa(answer[20:24])


def _connect(addresses: list[str], port: int) -> socket.socket | None:
    for address in addresses if port else []:
        try:
            connection = socket.create_connection((address, port), _CONNECT)
        except OSError:
            continue  # another address may do
        connection.settimeout(_SEND)
        return connection
    return None
