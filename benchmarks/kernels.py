"""What one core makes of arrays: dcomp beside NumPy, measured alternately in one process.

    taskset -c 0 python benchmarks/kernels.py --output kernels.jsonl      # --cases sum,dot  --rounds 31

A case is a row of `CASES` in `kernels_cases.py`: a name, what dcomp does and what the reference does with the same
arguments, how these are made of a number of elements, and which numbers. Reading a line of the results: median of the
ratios of both, round by round, with the order statistics around it. Set the threads of BLAS to one where one core is to
be compared.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator

import numpy as np
from batches import median_with_bounds
from kernels_cases import CASES, Case
from machine import describe_run
from text import parse_names

ROUND_SECONDS = 5e-3  # of one contender in one round, at least


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
