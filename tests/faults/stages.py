"""Saves and restores of one process without MPI, which can be forked: for what must be done hundreds of times."""

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dcomp._checkpoint.folder import Folder
from dcomp._checkpoint.manifest import digest
from dcomp._checkpoint.restoring import Restoring
from dcomp._checkpoint.saving import Saving
from dcomp._checkpoint.values import Replicated, describe


class _Done:
    def __init__(self, result: Any) -> None:
        self.test = lambda: (True, result)


class Alone:
    """A communicator of one rank, as far as checkpoints need one."""

    rank, size = 0, 1
    igather = iallgather = ibcast = staticmethod(lambda x: _Done(x))

    @staticmethod
    def allgather(x: Any, counts: Any = None) -> np.ndarray:
        return np.atleast_1d(x)

    @staticmethod
    def block(n: int) -> slice:
        return slice(n)


def state_of(step: int) -> dict[str, Any]:
    """Arrays of one, two and no pieces of 64 bytes, all of which tell the step."""
    return {
        "u": np.full(12, step, np.int32),
        "v": np.full((8, 4), step, np.float32),
        "none": np.zeros(0),
        "w": {f"{i}": np.full(4, step + i) for i in range(5)},
        "table": Replicated(np.array(step)),
        "step": step,
    }


def save(path: Path, step: int, keep: int = 2) -> None:
    folder = Folder(str(path))
    saving = Saving(Alone(), folder, step, keep)
    try:
        saving.begin(*describe(state_of(step), Alone(), digest), is_behind=False)
        saving.write()
        saving.finish()
    finally:
        folder.let_go()


def restore(path: Path) -> int:
    """The step of the last state, which must be whole, and of that step in all its parts."""
    folder = Folder(str(path))
    last = folder.saved()[-1]
    found = Restoring(Alone(), folder, last, "restore").restore(Alone())
    expected = state_of(last.step)
    expected["table"] = expected["table"].x
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_equal(found[name], expected[name])
    return last.step


#: What a save asks of the system, by which a point in it is told.
CALLS = (
    *((os, name) for name in ("open", "close", "pwrite", "ftruncate", "fsync", "mkdir", "rename", "unlink", "rmdir")),
    (fcntl, "flock"),
)


def watch_calls(notice: Callable[[str, Callable, tuple], Any]) -> None:
    """From now on, for good, each of the calls is made by `notice`: so do it in a process that is to end."""
    for module, name in CALLS:
        real = getattr(module, name)
        setattr(module, name, lambda *args, _name=name, _real=real, **more: notice(_name, _real, args, **more))


def killed_at(point: int, when: str, action: Callable[[], None]) -> str | None:
    """Do something in a child that is killed at its call of that number, before it, after it, or in the middle of it.

    Returns
    -------
    The name of the call; None, if it was over before. Within calls that are no writes nothing is killed: "", then.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        number = -1

        def notice(name: str, real: Callable, args: tuple, **more: Any) -> Any:
            nonlocal number
            number += 1
            if number != point:
                return real(*args, **more)
            if when == "within" and name != "pwrite":
                os._exit(0)
            os.write(write, name.encode())
            if when == "after":
                real(*args, **more)
            elif when == "within":
                fd, data, offset = args
                real(fd, data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)

        try:
            watch_calls(notice)
            action()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    os.close(write)
    with os.fdopen(read) as told:
        name = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return ""
    assert status == (-signal.SIGKILL if name else -signal.SIGTERM)
    return name or None
