"""Strong and weak scaling of three programs, with the serial fraction that fits, and a picture.

    mpirun -n 8 python benchmarks/scaling.py --output scaling.jsonl --picture scaling.png

All ranks start together; in every round each program runs on the first of them, on the first two, four and so on, in
turn, while the others sleep, so that slow drifts of the machine meet all alike. *Strong*: the same problem for all;
the serial fraction f is that of ``T(p) / T(1) = f + (1 - f) / p`` (G. Amdahl, AFIPS 1967). *Weak*: as much for each
rank; f is that of ``T(p) / T(1) = 1 + f (p - 1)``, and the efficiency ``T(1) / T(p)`` (J. Gustafson, CACM 31, 1988).
Both by least squares, which may give less than 0 where more ranks have more cache.

The programs: `stencil`, of the Parallel Research Kernels, bound by memory; `sort`, random numbers sorted by
`dc.sort`, bound by memory and by what all send to all; `option`, the price of an option from random paths, bound by
arithmetic.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dcomp as dc

sys.path.append(str(Path(__file__).parent / "prk"))
import stencil
from machine import describe_job
from outcome import Stopwatch


def run_stencil(comm: dc.Communicator, n: int) -> float:
    """Seconds for ten steps on a square grid of n cells."""
    return stencil.run(math.isqrt(n), 10, comm).seconds


def run_sort(comm: dc.Communicator, n: int) -> float:
    """Seconds to sort n numbers."""
    x = dc.random.Generator(1, comm=comm).random(n)
    watch = Stopwatch(comm)
    dc.sort(x, comm=comm)
    return watch.stop()


def run_option(comm: dc.Communicator, n: int) -> float:
    """Seconds for the mean of what a call option pays at the end of n paths, the same bits at any number of ranks."""
    watch = Stopwatch(comm)
    ends = np.exp(0.2 * dc.random.Generator(1, comm=comm).normal(n) - 0.02)
    dc.sum(np.maximum(ends - 1.0, 0.0), reproducible=True, comm=comm)
    return watch.stop()


PROGRAMS: dict[str, Callable[[dc.Communicator, int], float]] = {
    "stencil": run_stencil,
    "sort": run_sort,
    "option": run_option,
}


def numbers_of_ranks(size: int) -> list[int]:
    """1, 2, 4 and so on, and all."""
    return sorted({*(1 << i for i in range(size.bit_length())), size})


def measure(world: dc.Communicator, n: int, rounds: int) -> Iterator[dict]:
    """The median seconds of every program, kind of scaling and number of ranks; collective."""
    numbers = numbers_of_ranks(world.size)
    groups = [world.split(0 if world.rank < p else None) for p in numbers]
    for name, program in PROGRAMS.items():
        for kind in ("strong", "weak"):
            times: dict[int, list[float]] = {p: [] for p in numbers}
            for turn in range(rounds + 1):
                for p, group in zip(numbers, groups, strict=True):
                    seconds = 0.0
                    if group is not None:
                        seconds = program(group, n * p if kind == "weak" else n)
                    times[p].append(wait_for_all(world, seconds))
                    if turn == 0:
                        times[p].clear()  # compiles, and touches memory
            for p in numbers:
                yield {"program": name, "kind": kind, "ranks": p, "elements": n * p if kind == "weak" else n,
                       "seconds": statistics.median(times[p])}  # fmt: skip
    for group in groups:
        if group is not None:
            group.free()


def wait_for_all(world: dc.Communicator, seconds: float) -> float:
    """The time of rank 0, when all are here; who has nothing to do leaves its core alone."""
    request = world.ibcast(np.array(seconds)) if world.rank == 0 else world.ibcast()
    done, result = request.test()
    while not done:
        time.sleep(1e-3)
        done, result = request.test()
    return float(result)


def seconds_of(lines: list[dict], name: str, kind: str) -> dict[int, float]:
    """By numbers of ranks, in order."""
    return {line["ranks"]: line["seconds"] for line in lines if (line["program"], line["kind"]) == (name, kind)}


def serial_fraction(kind: str, seconds: dict[int, float]) -> float:
    """The fraction that fits best; NaN of one rank alone."""
    ranks = np.array(sorted(seconds), float)
    relative = np.array([seconds[int(p)] for p in ranks]) / seconds[1]
    known, slope = (1 / ranks, 1 - 1 / ranks) if kind == "strong" else (np.ones_like(ranks), ranks - 1)
    return float(slope @ (relative - known) / (slope @ slope)) if ranks.size > 1 else math.nan


def draw(lines: list[dict], path: str) -> None:
    """Two panels: how many times as fast, and how efficient."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
    for panel, kind in zip(panels, ("strong", "weak"), strict=True):
        for name in PROGRAMS:
            seconds = seconds_of(lines, name, kind)
            ranks = np.array(sorted(seconds))
            speedup = np.array([seconds[1] / seconds[p] for p in ranks])
            label = f"{name}, serial fraction {serial_fraction(kind, seconds):.3f}"
            panel.plot(ranks, speedup, "o-", label=label)
        panel.plot(ranks, ranks if kind == "strong" else np.ones(ranks.size), color="#6b6b6b", lw=1, label="ideal")
        panel.set(xlabel="ranks", xticks=ranks, title=f"{kind} scaling")
        panel.set_ylabel("T(1) / T(p)")
        panel.set_ylim(0, None)
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1 << 22, help="in all, or, in weak scaling, of each rank")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", help="file to which the JSON lines are added")
    parser.add_argument("--picture", help="file for the picture; needs matplotlib")
    arguments = parser.parse_args()
    lines = list(measure(dc.COMM_WORLD, arguments.elements, arguments.rounds))
    if dc.rank != 0:
        return
    for name in PROGRAMS:
        for kind in ("strong", "weak"):
            seconds = seconds_of(lines, name, kind)
            speedups = ", ".join(f"{p}: {seconds[1] / t:.2f}" for p, t in seconds.items())
            fraction = serial_fraction(kind, seconds)
            print(f"{name:<8} {kind:<6} T(1) {seconds[1]:.3f} s, T(1)/T(p) {speedups}; serial fraction {fraction:.3f}")
    if arguments.output:
        with open(arguments.output, "a") as file:
            file.writelines(json.dumps({**describe_job(), **line}) + "\n" for line in lines)
    if arguments.picture:
        draw(lines, arguments.picture)


if __name__ == "__main__":
    main()
