"""The NAS Parallel Benchmarks with dcomp: each solves its problem, compares its result, and prints Mop/s.

    mpirun -n 2 python benchmarks/npb/run.py --benchmarks ep,cg --classes W,A --output npb.jsonl

Written from the specification (D. Bailey et al., RNR-94-007, and NAS-95-020 with its classes), with the public
names of dcomp, compiled by numba. A result that is not the specification's makes the exit status 1. Of `--rounds`
the median counts.
"""

import argparse
import importlib
import sys
from pathlib import Path

import dcomp as dc

sys.path.insert(0, str(Path(__file__).parent.parent))
from outcome import report
from text import parse_names

BENCHMARKS = ("ep", "cg", "mg", "ft", "is")
CLASSES = ("S", "W", "A", "B")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", type=parse_names, default=list(BENCHMARKS), help="default: all")
    parser.add_argument("--classes", type=parse_names, default=["S"], help=f"of {', '.join(CLASSES)}")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", help="file to which the JSON lines are added")
    arguments = parser.parse_args()
    for option, known in (("benchmarks", BENCHMARKS), ("classes", CLASSES)):
        if wrong := [one for one in getattr(arguments, option) if one not in known]:
            parser.error(f"--{option} must be of {', '.join(known)}; got {', '.join(wrong)}")
    all_verified = True
    for name in arguments.benchmarks:
        module = importlib.import_module({"is": "is_"}.get(name, name))
        for letter in arguments.classes:
            outcomes = [module.run(letter, dc.COMM_WORLD) for _ in range(arguments.rounds)]
            facts = {"benchmark": name, "class": letter}
            title = f"{name.upper()} class {letter}"
            all_verified &= report(title, facts, "mops", "Mop/s", outcomes, arguments.output)
    return 0 if all_verified else 1


if __name__ == "__main__":
    sys.exit(main())
