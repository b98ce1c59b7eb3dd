"""A rank's connection to the guard (`_guard.py`), and how the guard is started."""

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from . import _guard

_CONNECT = 3.0  # seconds, for each address of the guard
_SEND = 2.0  # seconds after which a guard that does not read is given up
_SIOCGIFADDR = 0x8915  # netdevice(7): the address of a network interface

#: Runs the guard without the package's __init__ and all that it imports.
_CODE = """
import importlib, sys, types
package = types.ModuleType(sys.argv[1])
package.__path__ = [sys.argv[2]]
sys.modules[sys.argv[1]] = package
importlib.import_module(sys.argv[3]).main()
"""


class Link:
    """This rank's connection to the guard, and the thread that serves it.

    `actions` are called in that thread, by the first word of the guard's message, with the value behind it. The
    thread sleeps until the guard says something, and ends with the connection. What `faulthandler` writes to `fileno`
    reaches the guard even while no thread of Python can run. Every `period` seconds, if there is one, the thread calls
    `look`.
    """

    period: float | None = None
    look: Callable[[], None]

    def __init__(self, connection: socket.socket, child: subprocess.Popen | None) -> None:
        self.actions: dict[str, Callable[[Any], None]] = {}
        self.fileno = connection.fileno()
        self._connection, self._child = connection, child
        self._is_open = True
        self._sending = threading.Lock()
        self._unread = b""
        self._numbers = itertools.count()
        self._answers: dict[int, str | None] = {}
        self._answered = threading.Condition()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._serve, name="dcomp watch", daemon=True).start()

    def say(self, **message: Any) -> bool:
        """Send a message to the guard; false if it cannot be reached."""
        try:
            with self._sending:
                self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return self._is_open

    def ask(self, seconds: float, **message: Any) -> str | None:
        """Send a message and return the guard's answer; None if it does not come in time."""
        number = next(self._numbers)
        with self._answered:
            self._answers[number] = None
            if self.say(id=number, **message):
                self._answered.wait_for(lambda: self._answers[number] is not None, seconds)
            return self._answers.pop(number)

    def close(self) -> None:
        """Close this process's end; in a forked child, the parent's stays open."""
        self._connection.close()

    def _serve(self) -> None:
        if self._child is not None:
            self._child.wait()  # it ends at once and leaves the guard as a process of its own
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            look_at = 0.0
            while self._is_open:
                if selector.select(None if self.period is None else max(look_at - time.monotonic(), 0)):
                    self._read()
                if self.period is not None and time.monotonic() >= look_at:
                    self.look()
                    look_at = time.monotonic() + self.period

    def _read(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
        except OSError:
            data = b""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "answer" in message:
                self._take(message["id"], message["answer"])
            else:
                for word, value in message.items():
                    if word in self.actions:  # it may come before everything is set up
                        self.actions[word](value)
        self._is_open = bool(data)

    def _take(self, number: int, answer: str) -> None:
        with self._answered:
            if number in self._answers:  # else whoever asked has waited long enough
                self._answers[number] = answer
                self._answered.notify_all()


def connect(comm: Any, pretended: int | None, is_tolerant: bool, **about: Any) -> Link | None:
    """Start the guard and connect every rank to it; collective over `comm`, that of all ranks.

    None where the guard cannot be reached. `pretended` is how many ranks make up a pretended node: such nodes
    talk as over a network. `is_tolerant` tells that the job goes on when a rank dies. `about` is what else the guard
    must know of this rank.

    Notes
    -----
    Four small exchanges, and one process on rank 0's node.
    """
    rank = comm.Get_rank()
    place = f"{_place()} {rank // pretended if pretended else ''}"
    first_place, token = comm.bcast((place, secrets.token_hex(16)) if rank == 0 else None)
    is_one_node = comm.allreduce(int(place == first_place)) == comm.Get_size()
    child, addresses, port = None, None, 0
    if rank == 0:
        child, addresses, port = _start_guard(
            is_one_node, size=comm.Get_size(), token=token, place=place, is_tolerant=is_tolerant
        )
    addresses, port = comm.bcast((addresses, port))
    connection = _reach(["127.0.0.1"] if place == first_place else addresses, port)
    if connection is None:
        return None
    link = Link(connection, child)
    node, pid = socket.gethostname(), os.getpid()
    link.say(hello=rank, node=node, place=place, pid=pid, mac=_guard.prove(token, rank, node, place, pid), **about)
    return link


def _place() -> str:
    """Equal where processes reach each other at 127.0.0.1 and see each other's process numbers."""
    parts = [socket.gethostname()]
    for read in (_boot_id, lambda: os.readlink("/proc/self/ns/net"), lambda: os.readlink("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):  # where there is no such file, the host's name must do
            parts.append(read())
    return " ".join(parts)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _start_guard(is_one_node: bool, **settings: Any) -> tuple[subprocess.Popen | None, list[str], int]:
    """Start the guard; its addresses and port. It can be connected to at once: the socket listens already."""
    flags = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    try:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(
                socket.create_server(("127.0.0.1" if is_one_node else "", 0), backlog=socket.SOMAXCONN)
            )
            read_end, write_end = os.pipe()
            stack.callback(os.close, read_end)
            with open(write_end, "w") as file:
                own = {"listener": listener.fileno(), "launcher": os.getppid()}
                json.dump(own | settings, file)  # short enough to wait in the pipe
            child = subprocess.Popen(
                [sys.executable, *flags, "-c", _CODE, __package__, os.path.dirname(__file__), _guard.__name__],
                stdin=read_end,
                stdout=subprocess.DEVNULL,  # who reads rank 0's output to its end does not wait for the guard
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            return child, [] if is_one_node else _addresses(), listener.getsockname()[1]
    except OSError:
        return None, [], 0  # no more processes or ports, say; then there is no guard


def _addresses() -> list[str]:
    """The addresses by which other machines may know this one, the likeliest first."""
    found = []
    with contextlib.suppress(OSError):  # the resolver may not know the name
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface may have no address
                request = struct.pack("256s", name.encode()[:15])
                found.append(socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[20:24]))
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def _reach(addresses: list[str], port: int) -> socket.socket | None:
    for address in addresses if port else []:
        with contextlib.suppress(OSError):  # the next may do
            connection = socket.create_connection((address, port), _CONNECT)
            connection.settimeout(_SEND)
            return connection
    return None
