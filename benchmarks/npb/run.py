"""The NAS Parallel Benchmarks with dcomp: each solves its problem, compares its result, and prints Mop/s.

    mpirun -n 2 python benchmarks/npb/run.py --benchmarks ep,cg --classes W,A --output npb.jsonl

Written from the specification (D. Bailey et al., NAS-95-020, and the parameters of its classes), with the public
names of dcomp, compiled by numba. A result that is not the specification's makes the exit status 1. Of `--rounds`
the median counts.
"""

import argparse
import importlib
import json
import statistics
import sys
from pathlib import Path

import dcomp as dc

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_run
from text import parse_names

BENCHMARKS = ("ep", "cg", "mg", "ft", "is")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", type=parse_names, default=list(BENCHMARKS), help="default: all")
    parser.add_argument("--classes", type=parse_names, default=["S"], help="of S, W, A, B")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", help="file to which the JSON lines are added")
    arguments = parser.parse_args()
    all_verified = True
    for name in arguments.benchmarks:
        module = importlib.import_module({"is": "is_"}.get(name, name))
        for letter in arguments.classes:
            outcomes = [module.run(letter, dc.COMM_WORLD) for _ in range(arguments.rounds)]
            is_verified = all(outcome.is_verified for outcome in outcomes)
            all_verified &= is_verified
            line = {
                "benchmark": name,
                "class": letter,
                "ranks": dc.size,
                "mops": statistics.median(outcome.mops for outcome in outcomes),
                "best": max(outcome.mops for outcome in outcomes),
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
        f"{line['benchmark'].upper()} class {line['class']}, {line['ranks']} ranks: {line['mops']:10.1f} Mop/s "
        f"(best {line['best']:.1f}) in {line['seconds']:.3f} s, {verdict}",
        flush=True,
    )
    if output:
        with open(output, "a") as file:
            file.write(json.dumps({**describe_run(), **line}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
