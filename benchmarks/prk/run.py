"""Four of the Parallel Research Kernels with dcomp: each verifies its result, and prints its rate.

    mpirun -n 2 python benchmarks/prk/run.py --kernels stencil,p2p --size 4096 --iterations 10 --output prk.jsonl

Written from the specification (R. Van der Wijngaart, T. Mattson, The Parallel Research Kernels, HPEC 2014), with the
public names of dcomp, compiled by numba. Rates are counted as there: operations, or bytes, of the problem, by the time
of the iterations after the first. A result that is wrong makes the exit status 1. Of `--rounds` the median counts.
"""

import argparse
import importlib
import json
import statistics
import sys
from pathlib import Path

import dcomp as dc

sys.path.append(str(Path(__file__).parents[1]))
from machine import describe_run
from text import parse_names

KERNELS = ("stencil", "transpose", "nstream", "p2p")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=parse_names, default=list(KERNELS), help="default: all")
    parser.add_argument("--size", type=int, default=4096, help="rows of the matrices; vectors have its square")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", help="file to which the JSON lines are added")
    arguments = parser.parse_args()
    all_verified = True
    for name in arguments.kernels:
        if name not in KERNELS:
            parser.error(f"--kernels must be of {', '.join(KERNELS)}; got {name}")
        module = importlib.import_module(name)
        outcomes = [module.run(arguments.size, arguments.iterations, dc.COMM_WORLD) for _ in range(arguments.rounds)]
        is_verified = all(outcome.is_verified for outcome in outcomes)
        all_verified &= is_verified
        line = {
            "kernel": name,
            "size": arguments.size,
            "iterations": arguments.iterations,
            "ranks": dc.size,
            "rate": statistics.median(outcome.mops for outcome in outcomes),
            "best": max(outcome.mops for outcome in outcomes),
            "unit": module.UNIT,
            "seconds": statistics.median(outcome.seconds for outcome in outcomes),
            "verified": is_verified,
        }
        if dc.rank == 0:
            report(line, outcomes[-1].detail, arguments.output)
    return 0 if all_verified else 1


def report(line: dict, detail: str, output: str | None) -> None:
    """Print a line of the table, and add it to the results."""
    verdict = "verified" if line["verified"] else f"NOT VERIFIED: {detail}"
    print(
        f"{line['kernel']} {line['size']}, {line['ranks']} ranks: {line['rate']:10.1f} {line['unit']} "
        f"(best {line['best']:.1f}) in {line['seconds']:.3f} s, {verdict}",
        flush=True,
    )
    if output:
        with open(output, "a") as file:
            file.write(json.dumps({**describe_run(), **line}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
