"""What one core makes of arrays: dcomp beside NumPy, measured alternately in one process.

    taskset -c 0 python benchmarks/kernels.py --output kernels.jsonl      # --cases sum,dot  --rounds 31

A case is a row of `CASES`: a name, what dcomp does and what the reference does with the same arguments, how these are
made of a number of elements, and which numbers. Reading a line of the results: median of the ratios of both, round by
round, with the order statistics around it. Set the threads of BLAS to one where one core is to be compared.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from batches import median_with_bounds
from machine import describe_run
from text import parse_names

import dcomp as dc
from dcomp.kernels import exact

ROUND_SECONDS = 5e-3  # of one contender in one round, at least
DOUBLE = exact.format_of(np.float64)
IN_CACHE, FROM_MEMORY = 1 << 14, 1 << 25  # elements of 8 bytes: 128 KiB, 256 MiB


@dataclass(frozen=True)
class Case:
    """What is compared: two functions of the arguments that `make` makes."""

    name: str
    run: Callable[..., object]
    reference: Callable[..., object]
    make: Callable[[int], tuple]
    sizes: tuple[int, ...] = (IN_CACHE, FROM_MEMORY)
    most: tuple[float, ...] = ()  # ratios that are the goal, one for each size


def normals(count: int) -> Callable[[int], tuple]:
    """Arguments: so many arrays of normal random numbers."""
    return lambda n: tuple(np.random.default_rng(i).normal(size=n) for i in range(count))


def exact_sum(x: np.ndarray) -> object:
    """The reproducible sum."""
    return dc.sum(x, reproducible=True, comm=dc.COMM_SELF)


def exact_dot(x: np.ndarray, y: np.ndarray) -> object:
    """The reproducible dot product."""
    return dc.dot(x, y, reproducible=True, comm=dc.COMM_SELF)


def sum_kernel(x: np.ndarray) -> object:
    """The same without the public function around it."""
    state = exact.zeros_for(1)[0]
    exact.add_sum(state, x)
    return exact.rounded(state, *DOUBLE)


def dot_kernel(x: np.ndarray, y: np.ndarray) -> object:
    """The same without the public function around it."""
    state = exact.zeros_for(1)[0]
    exact.add_dot(state, x, y)
    return exact.rounded(state, *DOUBLE)


CASES = (
    Case("sum, exact: kernel", sum_kernel, np.sum, normals(1), most=(4.0, 1.5)),
    Case("dot, exact: kernel", dot_kernel, np.dot, normals(2), most=(3.0, 3.0)),
    Case("sum, exact", exact_sum, np.sum, normals(1), most=(4.0, 1.5)),
    Case("dot, exact", exact_dot, np.dot, normals(2), most=(3.0, 3.0)),
)


def measure(case: Case, n: int, rounds: int) -> dict:
    """Times in microseconds, and the ratio."""
    arguments = case.make(n)
    calls = 1
    while batch(case.reference, arguments, calls) * calls < ROUND_SECONDS:
        calls *= 2
    for function in (case.run, case.reference):
        batch(function, arguments, calls)
    pairs = np.array(
        [[batch(function, arguments, calls) for function in (case.run, case.reference)] for _ in range(rounds)]
    )
    ratio, low, high = median_with_bounds(pairs[:, 0] / pairs[:, 1])
    times = np.median(pairs, axis=0) * 1e6
    return {"time": times[0], "reference": times[1], "ratio": ratio, "low": low, "high": high}


def batch(function: Callable[..., object], arguments: tuple, calls: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        function(*arguments)
    return (time.perf_counter() - start) / calls


def run_cases(cases: list[Case], rounds: int) -> Iterator[dict]:
    """A line for each case and size."""
    run = describe_run()
    for case in cases:
        for i, n in enumerate(case.sizes):
            most = case.most[i] if case.most else None
            yield {**run, "case": case.name, "elements": n, "most": most, **measure(case, n, rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=parse_names, default=[], help="beginnings of names; all, if there are none")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", help="file to which the JSON lines are added")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.cases or case.name.startswith(tuple(arguments.cases))]
    print(f"{'case':<20} {'elements':>10} {'us':>12} {'reference':>12} {'ratio':>7} {'':>15} {'goal':>6}")
    for line in run_cases(cases, arguments.rounds):
        bounds = f"({line['low']:.2f} - {line['high']:.2f})"
        goal = "" if line["most"] is None else f"{line['most']:6.2f}"
        print(
            f"{line['case']:<20} {line['elements']:>10} {line['time']:>12.1f} {line['reference']:>12.1f} "
            f"{line['ratio']:>7.2f} {bounds:>15} {goal:>6}",
            flush=True,
        )
        if arguments.output:
            with open(arguments.output, "a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
