"""exchange.c from Python: the flag barrier that starts every timed call, and the reference contender."""

import ctypes
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from cases import DTYPE, Case
from disturbance import Watch
from results import COLLECTIVES

SOURCE = Path(__file__).with_name("exchange.c")
LINE = 128  # as in exchange.c
PAGE = mmap.PAGESIZE
SPINS_OF_OUR_OWN = 20_000  # before a wait yields: some 100 us; the core is ours
SPINS_SHARED = 20


class _Room(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_void_p),
        ("rank", ctypes.c_long),
        ("ranks", ctypes.c_long),
        ("start", ctypes.c_long),
        ("capacity", ctypes.c_long),
        ("spins", ctypes.c_long),
        ("epoch", ctypes.c_long),
    ]


def compile_library(folder: Path) -> Path:
    """Compile exchange.c into `folder`.

    Raises
    ------
    RuntimeError     If there is no C compiler or it does not like the file.
    """
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        raise RuntimeError("no C compiler: cc is not on the PATH and CC is not set")
    library = folder / "exchange.so"
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(f"no C compiler: {error}") from None
    if done.returncode:
        raise RuntimeError(f"{compiler} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return library


def header_bytes(ranks: int) -> int:
    """How much of a room its flags take: whole pages."""
    return -(-ranks * LINE // PAGE) * PAGE


def room_bytes(ranks: int, capacity: int) -> int:
    """The size of a room whose inputs and results have up to `capacity` bytes."""
    return header_bytes(ranks) + 2 * ranks * capacity


class Exchange:
    """Shared memory of all ranks of a job, with a flag barrier and the reference's collectives."""

    def __init__(self, library: str, memory: str, rank: int, ranks: int, *, cores_are_ours: bool):
        with open(memory, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        capacity = (len(self._memory) - header_bytes(ranks)) // (2 * ranks)
        spins = SPINS_OF_OUR_OWN if cores_are_ours else SPINS_SHARED
        self._room = _Room(base, rank, ranks, header_bytes(ranks), capacity, spins, 0)
        self._at = ctypes.byref(self._room)
        code = ctypes.CDLL(library)
        code.run.restype = ctypes.c_double
        code.run.argtypes = [ctypes.c_void_p, ctypes.c_int, *[ctypes.c_long] * 3, ctypes.c_int]
        self._run, self._meet = code.run, code.meet

    def meet(self) -> None:
        """Wait for all ranks, and leave at the same moment as they."""
        if self._meet(self._at):
            raise RuntimeError("a rank did not come to the flag barrier")

    def _array(self, offset: int, n: int) -> np.ndarray:
        room = self._room
        start = room.start + (2 * room.rank + offset) * room.capacity
        return np.frombuffer(self._memory, DTYPE, n, start)

    def verify(self, collective: str, case: Case) -> bool:
        """Whether this rank's result is right."""
        if case.x is not None:
            self._array(0, len(case.x))[:] = case.x
        in_place = case.out is case.x  # a barrier, or the root of bcast
        if case.out is not None and not in_place:
            self._array(1, len(case.out)).fill(case.blank)
        self.run_batch(collective, case, 1, fresh=False)
        if case.expected is None:
            return True
        return np.array_equal(self._array(0 if in_place else 1, len(case.expected)), case.expected)

    def run_batch(self, collective: str, case: Case, calls: int, *, fresh: bool) -> tuple[float, float]:
        """Seconds per call on this rank, and the part of the time during which it was without its core."""
        written = len(case.x) if case.x is not None else 0
        n = message_elements(collective, case)
        watch = Watch()
        seconds = self._run(self._at, COLLECTIVES.index(collective), n, written, calls, fresh)
        lost = watch.lost()
        if seconds < 0:
            raise RuntimeError(f"{collective}: a rank did not come to the flag barrier")
        return seconds, lost


def message_elements(collective: str, case: Case) -> int:
    """How many elements the message of a case has: a block's, in the blockwise collectives."""
    if collective == "barrier":
        return 0
    if case.counts is not None and collective != "reduce_scatter":
        return case.counts[0]
    return len(case.out if case.x is None else case.x)
