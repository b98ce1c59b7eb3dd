"""``python -m dcomp tune``: measure which way of a collective is the fastest on this machine, and write the rules.

All ranks run it together. Every way gets a duplicate of the communicator whose rules allow no other. Their calls are
timed in turns, a few of one after a few of another, and all inputs are written anew before each, as in a program.
"""

import contextlib
import os
import time
from itertools import combinations_with_replacement
from math import log
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ._errors import LaunchError
from ._ops import MAX
from ._settings import RULES
from ._world import world
from .engine.choose import NEVER, Rules, format_rules, parse_rules

_IN_A_ROW = 3  # timed calls of one way before those of the next; the caches are its own by then
_GAIN = 1.05  # how much faster MPI must be to be chosen: less is noise
_MEMORY = 1 << 30  # bytes of a rank's arrays; larger blocks are not measured


class _Way(NamedTuple):
    """A way that is measured, and the numbers of a rule that allow no other."""

    name: str
    numbers: dict[str, int]


class _Choice(NamedTuple):
    """What is to be found for some collectives: between ways in the order in which they are good for more bytes."""

    collectives: tuple[str, ...]
    ways: tuple[_Way, ...]
    least: int
    most: int  # bytes, doubled from one measurement to the next
    gives_out: bool = True  # else results are in the heap


_BLOCKS = _Choice(
    ("bcast", "scatter", "gather", "allgather", "alltoall"),
    (
        _Way("ring", {"once": NEVER, "once_far": NEVER, "mpi": NEVER, "mpi_far": NEVER}),
        _Way("once", {"once": 0, "once_far": 0, "mpi": NEVER, "mpi_far": NEVER}),
        _Way("mpi", {"mpi": 0, "mpi_far": 0}),
    ),
    64 << 10,
    32 << 20,
)
_ROOTS = _Choice(
    ("bcast", "scatter"),
    (_Way("alone", {"alone": NEVER}), _Way("shared", {"alone": 0})),
    16 << 10,
    8 << 20,
    gives_out=False,
)
# No more: a combination takes 1 MiB of memory besides its arrays at most.
_COMBINED = _Choice(
    ("reduce", "allreduce", "scan", "exscan"),
    (_Way("heap", {"heap": NEVER}), _Way("across", {"heap": 0})),
    4 << 10,
    1 << 20,
)
_SPREAD = _Choice(
    ("bcast", "reduce", "allreduce"),
    (_Way("mpi", {"lanes": NEVER}), _Way("lanes", {"lanes": 0})),
    8 << 10,
    8 << 20,
)

# Seconds of a call by its bytes and the way's place in the choice.
_Times = dict[int, list[float]]


def tune(output: str | None, seconds: float) -> int:
    """Measure, `seconds` for each collective and size, and write the rules to `output`; returns the exit status.

    Raises
    ------
    LaunchError     If there is one rank.
    """
    os.environ["DCOMP_RULES"] = "shipped"  # what is to be replaced may be the reason for doing it
    comm: Any = world()
    if comm.size == 1:
        raise LaunchError(
            "one rank has nothing to tune. Start as many as your programs have, on a node or on several: "
            "mpirun -n 8 python -m dcomp tune"
        )
    channel, path = comm._channel, output or RULES
    if channel.levels is not None:
        choices: tuple[_Choice, ...] = (_SPREAD,)
    elif channel.meeting is not None:
        choices = (_BLOCKS, _ROOTS, _COMBINED)
    else:
        _say(
            comm,
            "There is nothing to tune: on one node the ranks share no memory (see python -m dcomp doctor); or a node "
            "has one rank, or less than half as many as another, or DCOMP_CHECK=off.",
        )
        return 1
    fault = comm.bcast_object(_write(path, {}) if comm.rank == 0 else None)
    if fault:
        _say(comm, fault)
        return 1
    found: dict[str, dict[str, int]] = {}
    for choice in choices:
        for name in choice.collectives:
            numbers = _numbers(choice, _measure(comm, choice, name, seconds))
            found.setdefault(name, {}).update(numbers)
            told = ", ".join(f"{key} {_text(value)}" for key, value in numbers.items())
            _say(comm, f"{name:10} {told or 'as it is: the cores were near for a while, and far for another'}")
    fault = comm.bcast_object(_write(path, found) if comm.rank == 0 else None)
    _say(comm, fault or f"Written to {path}")
    return 1 if fault else 0


def _say(comm: Any, text: str) -> None:
    if comm.rank == 0:
        print(text, flush=True)


def _text(nbytes: int) -> str:
    if nbytes >= NEVER:
        return "never"
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"


def _measure(comm: Any, choice: _Choice, name: str, seconds: float) -> dict[bool, _Times]:
    """The times for near and far cores, as they were found; collective."""
    times: dict[bool, _Times] = {}
    nbytes = choice.least
    while nbytes <= choice.most and 2 * len(choice.ways) * nbytes * comm.size <= _MEMORY:
        with contextlib.ExitStack() as stack:
            rivals = []
            for way in choice.ways:
                of_way = stack.enter_context(comm.dup())
                of_way._channel.rules = Rules({name: way.numbers})
                rivals.append(_Rival(of_way, name, nbytes // 8, choice.gives_out))
            for is_far, medians in _race(comm, rivals, seconds).items():
                times.setdefault(is_far, {})[nbytes] = medians
        nbytes *= 2
    return times


class _Rival:
    """A collective on blocks of `n` float64, or, where x is combined, arrays of them, in ordinary memory."""

    def __init__(self, comm: Any, name: str, n: int, gives_out: bool) -> None:
        is_root, size = comm.rank == 0, comm.size
        self._comm, self._call = comm, getattr(comm, name)
        self._x = np.ones(n * size if name in ("scatter", "alltoall") else n)
        out = np.empty(n * size if name in ("gather", "allgather", "alltoall") else n)
        sends = is_root or name not in ("bcast", "scatter")
        receives = not is_root if name == "bcast" else is_root or name not in ("gather", "reduce")
        self._given = (self._x,) if sends else ()
        self._out = out if receives and gives_out else None

    def seconds(self) -> float:
        """Make the call, and time it on this rank."""
        self._x.fill(1.0)
        self._comm.barrier()
        began = time.perf_counter()
        self._call(*self._given, out=self._out)
        return time.perf_counter() - began

    @property
    def is_far(self) -> bool:
        """Whether the ranks' cores share no cache, as they have found."""
        meeting = self._comm._channel.meeting
        return meeting is not None and meeting.is_far


def _race(comm: Any, rivals: list[_Rival], seconds: float) -> dict[bool, list[float]]:
    """Medians of the slowest rank's times, for near and far cores as they were found; collective."""
    for rival in rivals:
        rival.seconds()
    once = comm.allreduce(sum(rival.seconds() for rival in rivals), op=MAX)
    rounds = int(min(max(seconds / (once * (1 + _IN_A_ROW)), 5), 200))
    samples: dict[bool, list[np.ndarray]] = {}
    for _ in range(rounds):
        is_far = rivals[0].is_far
        row = np.empty(len(rivals))
        for place, rival in enumerate(rivals):
            rival.seconds()
            row[place] = np.median([rival.seconds() for _ in range(_IN_A_ROW)])
        slowest = comm.allreduce(row, op=MAX)
        if rivals[0].is_far == is_far:
            samples.setdefault(is_far, []).append(slowest)
    # The state of rank 0 is everyone's, so all have the same samples.
    return {is_far: np.median(rows, axis=0).tolist() for is_far, rows in samples.items() if len(rows) >= 3}


def _numbers(choice: _Choice, times: dict[bool, _Times]) -> dict[str, int]:
    """The numbers of the rule that loses least over all sizes.

    None of cores that were near, or far, for some of the sizes only.
    """
    numbers = {}
    sizes = set().union(*times.values())
    for is_far, of_state in times.items():
        if of_state.keys() != sizes:
            continue
        bounds = _bounds(choice, of_state)
        if choice is _BLOCKS:
            end = "_far" if is_far else ""
            numbers["once" + end], numbers["mpi" + end] = bounds
        elif choice is _SPREAD:
            (numbers["lanes"],) = bounds
        elif choice is _ROOTS:
            numbers["alone"] = min(bounds[0], numbers.get("alone", NEVER))
        else:
            heap = min(bounds[0] // 2, choice.most) if bounds[0] > choice.least else 0
            numbers["heap"] = min(heap, numbers.get("heap", heap))
    return numbers


def _bounds(choice: _Choice, times: _Times) -> tuple[int, ...]:
    """From how many bytes on each way but the first is taken."""

    def loss(bounds: tuple[int, ...]) -> float:
        taken = ((sum(bound <= nbytes for bound in bounds), of_size) for nbytes, of_size in times.items())
        return sum(log(of_size[place] * (_GAIN if choice.ways[place].name == "mpi" else 1)) for place, of_size in taken)

    return min(combinations_with_replacement([*sorted(times), NEVER], len(choice.ways) - 1), key=loss)


def _write(path: str, found: dict[str, dict[str, int]]) -> str | None:
    """Put what was found into a file, beside what it has of other MPIs and ways; what is wrong if that fails."""
    try:
        numbers: dict[str, dict[str, dict[str, int]]] = {}
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            numbers = parse_rules(file.read())
        of_mpi = numbers.setdefault(MPI.get_vendor()[0], {})
        for name, new in found.items():
            of_mpi[name] = {**of_mpi.get(name, {}), **new}
        path = os.path.realpath(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        unfinished = f"{path}.{os.getpid()}"
        try:
            with open(unfinished, "w", encoding="utf-8") as new_file:
                new_file.write(format_rules(numbers))
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished)
    except (OSError, ValueError, RecursionError) as error:
        return f"{path} cannot be written: {error}. Delete it if it is no file of rules, or give another as --output"
    return None
