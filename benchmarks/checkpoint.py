"""Save and restore beside what the same disk gives `numpy.save` and `dd`, with fsync, in turn.

    mpirun -n 2 python benchmarks/checkpoint.py --size 1G --rounds 7 --folder /scratch --output checkpoint.jsonl

In every round each contender has its turn, on the same array, of which every rank has a block: `dcomp` saves it with
all checksums; with `numpy`, every rank saves its block in a file of its own, and brings it to the disk; `dd` writes the
whole from rank 0. Then what was written is read back, after the system was told to forget it, and compared. Last comes
how long ``save(wait=False)`` keeps the program, beside a copy of the block. The time is that of the last rank.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_run
from outcome import Stopwatch
from text import parse_size, size_text

import dcomp as dc


class Dcomp:
    """The whole in one file, with checksums, in its place when it is written."""

    def __init__(self, folder: Path) -> None:
        self._checkpoint = dc.Checkpoint(folder / "dcomp", keep=1)
        self._step = 0

    def save(self, x: np.ndarray, wait: bool = True) -> None:
        self._step += 1
        self._checkpoint.save(self._step, wait=wait, x=x)

    def load(self) -> np.ndarray:
        return self._checkpoint.restore()[1]["x"]

    def settle(self) -> None:
        """Wait for what is written behind the program."""
        self._checkpoint.wait()


class Numpy:
    """A file for each rank."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"rank{dc.rank}.npy"

    def save(self, x: np.ndarray) -> None:
        self._path.unlink(missing_ok=True)
        with open(self._path, "wb") as file:
            np.save(file, x)
            os.fsync(file.fileno())

    def load(self) -> np.ndarray:
        return np.load(self._path)


class Dd:
    """Zeros, written and read by one process, in blocks of 16 MiB; there is nothing to compare."""

    def __init__(self, folder: Path, nbytes: int) -> None:
        self._path, self._count = folder / "dd", nbytes >> 24

    def save(self, x: np.ndarray) -> None:
        self._run("if=/dev/zero", f"of={self._path}", f"count={self._count}", "conv=fsync")

    def load(self) -> None:
        self._run(f"if={self._path}", "of=/dev/null")

    def _run(self, *words: str) -> None:
        if dc.rank == 0:
            subprocess.run(["dd", "bs=16M", "status=none", *words], check=True)


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds from a meeting of all ranks until the last one is done, and the result."""
    watch = Stopwatch(dc.COMM_WORLD)
    result = call()
    return watch.stop(), result


def forget(folder: Path) -> None:
    """Have all that was written read from the disk the next time."""
    dc.barrier()
    if dc.rank == 0:
        for path in folder.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    dc.barrier()


def turned(contenders: dict[str, Any], number: int) -> list[tuple[str, Any]]:
    """In another order in every round: what was read last is most likely still at hand, somewhere below the system."""
    first = number % len(contenders)
    items = list(contenders.items())
    return items[first:] + items[:first]


def measure(folder: Path, nbytes: int, rounds: int) -> dict[str, list[float]]:
    """Seconds by what was done, for each round."""
    block = dc.block(nbytes // 8)
    x = np.random.default_rng(dc.rank).random(block.stop - block.start)
    contenders = {"dcomp": Dcomp(folder), "numpy": Numpy(folder), "dd": Dd(folder, nbytes)}
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):  # the first one does not count
        x[:] += 1
        for name, contender in turned(contenders, number):
            os.sync()
            took, _ = timed(partial(contender.save, x))
            seconds.setdefault(f"save, {name}", []).append(took)
        forget(folder)
        for name, contender in turned(contenders, number):
            took, read = timed(contender.load)
            seconds.setdefault(f"restore, {name}", []).append(took)
            if read is not None and not np.array_equal(read, x):
                raise SystemExit(f"checkpoint.py: {name} has read something else than was written in round {number}")
            del read
        took, copied = timed(x.copy)
        seconds.setdefault("copy", []).append(took)
        del copied
        took, _ = timed(partial(contenders["dcomp"].save, x, wait=False))
        seconds.setdefault("save, wait=False", []).append(took)
        contenders["dcomp"].settle()
    return {name: times[1:] for name, times in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=2**30, help="bytes of all ranks together; default: 1G")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("checkpoint-benchmark"), help="on the disk; made, removed")
    parser.add_argument("--output", help="file to which the JSON lines are added")
    arguments = parser.parse_args()
    if dc.rank == 0:
        arguments.folder.mkdir()
    dc.barrier()
    try:
        seconds = measure(arguments.folder, arguments.size, arguments.rounds)
    finally:
        dc.barrier()
        if dc.rank == 0:
            shutil.rmtree(arguments.folder)
    if dc.rank != 0:
        return 0
    for name, times in seconds.items():
        best = {
            "save, dcomp": ("save, numpy", "save, dd"),
            "restore, dcomp": ("restore, numpy", "restore, dd"),
            "save, wait=False": ("copy",),
        }.get(name, ())
        # Of ratios within one round, in which the disk was the same for all; > 1: dcomp is faster.
        ratios = {one: statistics.median(b / a for a, b in zip(times, seconds[one], strict=True)) for one in best}
        middle = statistics.median(times)
        told = ", ".join(f"{ratio:.2f} of the speed of {one}" for one, ratio in ratios.items())
        rate = arguments.size / middle / 1e9
        print(f"{name:<18} {size_text(arguments.size)}: {middle:7.3f} s, {rate:6.2f} GB/s  {told}", flush=True)
        if arguments.output:
            line = {"what": name, "bytes": arguments.size, "ranks": dc.size, "seconds": times, "median": middle}
            with open(arguments.output, "a") as file:
                file.write(json.dumps({**describe_run(), **line, "speed_of": ratios}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
