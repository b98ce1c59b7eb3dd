"""Four of the Parallel Research Kernels with dcomp: each verifies its result, and prints its rate.

    mpirun -n 2 python benchmarks/prk/run.py --kernels stencil,p2p --size 4096 --iterations 10 --output prk.jsonl

Written from the specification (R. Van der Wijngaart, T. Mattson, The Parallel Research Kernels, HPEC 2014), with the
public names of dcomp, compiled by numba. Rates are counted as there: operations, or bytes, of the problem, by the time
of the iterations after the first. A result that is wrong makes the exit status 1. Of `--rounds` the median counts.
"""

import argparse
import importlib
import sys
from pathlib import Path

import dcomp as dc

sys.path.append(str(Path(__file__).parents[1]))
from outcome import report
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
        facts = {"kernel": name, "size": arguments.size, "iterations": arguments.iterations, "unit": module.UNIT}
        title = f"{name} {arguments.size}"
        all_verified &= report(title, facts, "rate", module.UNIT, outcomes, arguments.output)
    return 0 if all_verified else 1


if __name__ == "__main__":
    sys.exit(main())
