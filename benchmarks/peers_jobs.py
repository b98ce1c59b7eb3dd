"""Starting the jobs of peers.py, and talking to their ranks."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exchange import room_bytes
from peers_settings import environment_of, launch_command

START_SECONDS = 60.0  # a job takes some two seconds to start
ANSWER_SECONDS = 120.0  # the longest request takes some five
END_SECONDS = 10.0
AT_ONCE = 3  # jobs that start at the same time: more of them get in each other's way, as ranks that start spin
CHECKOUT = Path(__file__).resolve().parent.parent


class JobError(Exception):
    """A job could not be started, or failed, or did not answer."""


@dataclass(frozen=True)
class Place:
    """What all jobs have in common."""

    folder: Path  # for the socket and the logs
    ranks: int
    cores: list[int]
    library: str | None  # the compiled exchange.c
    check: str  # DCOMP_CHECK


class Connection:
    """The driver's end of a rank's socket: a request goes out, one line comes back."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(None)
        self._socket = connection
        self._lines = connection.makefile("r")

    def send(self, line: str) -> None:
        """Send a request."""
        self._socket.sendall(line.encode())

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def receive(self) -> dict:
        """The answer; an OSError if the rank has ended."""
        line = self._lines.readline()
        if not line:
            raise ConnectionError("a rank has ended")
        return json.loads(line)

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()


@dataclass(eq=False)
class Job:
    """One MPI with one set of settings, and the contenders that it measures."""

    mpi: str
    settings: str
    python: Path
    contenders: list[str]
    probe: bool = False
    capacity: int = 0  # bytes of an input in the reference's memory
    script: str = "peers_rank.py"  # what its ranks run
    told: dict[str, Any] = field(default_factory=dict)  # what they are told besides
    versions: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # contender -> why
    failure: str | None = None

    def __post_init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._connections: dict[int, Connection] = {}
        self._memory: int | None = None

    @property
    def name(self) -> str:
        """For messages."""
        role = "probe and references" if self.probe else self.settings
        return f"{self.mpi}:{'dcomp' if any(c.startswith('dcomp') for c in self.contenders) else role}"

    def start(self, place: Place, address: str, number: int) -> None:
        """Start the ranks; they will come to the socket at `address`."""
        ranks, cores = place.ranks, len(place.cores)
        spec = {
            "job": number,
            "socket": address,
            "ranks": ranks,
            "cores": place.cores,
            "contenders": self.contenders,
            "probe": self.probe,
            "library": place.library,
            "memory": None,
            **self.told,
        }
        if place.library:
            self._memory = os.memfd_create("peers")  # leaves nothing behind, however the jobs end
            os.ftruncate(self._memory, room_bytes(ranks, self.capacity))
            spec["memory"] = f"/proc/{os.getpid()}/fd/{self._memory}"
        script = Path(__file__).with_name(self.script)
        command = [*launch_command(self.mpi, self.settings, self.python, ranks, cores), str(script), json.dumps(spec)]
        environment = environment_of(self.mpi, self.settings, self.python, ranks, cores)
        environment["DCOMP_CHECK"] = place.check
        # the dcomp beside this file, unless the user points to another one
        environment["PYTHONPATH"] = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(CHECKOUT)])
        self._ranks = ranks
        self._log = place.folder / f"{number}.log"
        with self._log.open("w") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.fail(f"{command[0]}: {error.strerror}")

    @property
    def has_exited(self) -> bool:
        """Whether the launcher is gone."""
        return self._process is not None and self._process.poll() is not None

    @property
    def is_complete(self) -> bool:
        """Whether all ranks have come."""
        return len(self._connections) == self._ranks

    def welcome(self, connection: Connection, hello: dict) -> None:
        """A rank has come."""
        self._connections[hello["rank"]] = connection
        if hello["rank"] == 0:
            self.versions = hello["versions"]
        self.absent |= hello["absent"]

    def ask(self, do: str, **request: Any) -> list[dict]:
        """Let all ranks do something together; their answers in the order of ranks.

        Raises
        ------
        JobError     If a rank failed or did not answer; the job is ended.
        """
        if self.failure:
            raise JobError(self.failure)
        line = json.dumps({"do": do, **request}) + "\n"
        what = " ".join([do, *map(str, request.values())])
        answers: dict[int, dict] = {}
        try:
            for connection in self._connections.values():
                connection.send(line)
            # in the order in which they come: a rank that failed speaks before those that its end takes along
            while waiting := {c: rank for rank, c in self._connections.items() if rank not in answers}:
                ready, _, _ = select.select(list(waiting), [], [], ANSWER_SECONDS)
                if not ready:
                    self.fail(
                        f"{what}: no answer within {ANSWER_SECONDS:g} seconds from ranks {list(waiting.values())}"
                    )
                for connection in ready:
                    answer = connection.receive()
                    if "error" in answer:
                        self.fail(f"{what}: {answer['error'].strip()}")
                    answers[waiting[connection]] = answer
        except OSError as error:
            self.fail(f"{what}: {error}")
        return [answers[rank] for rank in sorted(answers)]

    def fail(self, why: str) -> None:
        """End the job and say so."""
        log = self._log.read_text(errors="replace").strip()[-400:] if self._process else ""
        self.failure = why + (f"\n  its output ends with: {log}" if log else "")
        self.kill()
        raise JobError(self.failure)

    def end(self) -> None:
        """Let the ranks finish; those that do not are killed."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.send('{"do": "end"}\n')
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End everything that the launcher started, by its session."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()  # a launcher takes its ranks with it
            try:
                self._process.wait(3.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


def start_all(jobs: list[Job], place: Place) -> None:
    """Start jobs, a few at a time. Those that do not come to life have a `failure` afterwards."""
    address = str(place.folder / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(place.ranks * len(jobs))
        for first in range(0, len(jobs), AT_ONCE):
            some = jobs[first : first + AT_ONCE]
            for number, job in enumerate(some, first):
                with contextlib.suppress(JobError):
                    job.start(place, address, number)
            _await_ranks(jobs, some, listener)


def _await_ranks(jobs: list[Job], some: list[Job], listener: socket.socket) -> None:
    deadline = time.monotonic() + START_SECONDS
    listener.settimeout(0.2)
    while waiting := [job for job in some if not job.failure and not job.is_complete]:
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            for job in waiting:
                with contextlib.suppress(JobError):
                    if job.has_exited:
                        job.fail("it ended while it started")
                    if time.monotonic() > deadline:
                        job.fail(f"it did not start within {START_SECONDS:g} seconds")
            continue
        connection = Connection(accepted)
        with contextlib.suppress(OSError):  # a rank that failed at once is found by its job's end
            hello = connection.receive()
            jobs[hello["job"]].welcome(connection, hello)
