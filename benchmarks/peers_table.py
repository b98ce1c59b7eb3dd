"""Print what peers.py measured: per collective and size the best tuned MPI, and dcomp's ratios to it.

python benchmarks/peers_table.py peers.jsonl
"""

import argparse
import sys
from pathlib import Path

from peers_results import Cases, Group, contenders_of, judge_line, read_peers, target
from results import COLLECTIVES
from text import parse_names, size_text

DCOMP = ("dcomp", "dcomp_out", "dcomp_plan", "dcomp_chain")
OTHERS = ("numba_mpi", "copyto", "c")
LABEL, CELL = 26, 14


def print_row(label: str, cells: list[str]) -> None:
    """One line of a table; nothing if all cells are empty."""
    if any(cells):
        print(f"{label:>{LABEL}}" + "".join(f" {cell:>{CELL}}" for cell in cells))


def microseconds(value: float) -> str:
    """A time with three digits."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def print_collective(name: str, cases: Cases, marks: dict[str, list[str]]) -> None:
    """The table of one collective; the marks of dcomp's ratios are added to `marks`."""
    sizes = sorted(size for collective, size in cases if collective == name)
    columns = [cases[name, size] for size in sizes]
    print()
    print_row(name, [size_text(size) if size else "-" for size in sizes])
    best = [column.get(next(iter(column.values()))["best"]) for column in columns]
    print_row("best tuned MPI, us", [microseconds(line["median_us"]) if line else "" for line in best])
    print_row("its MPI", [line["on"] if line else "" for line in best])
    print_row("its settings", [line["settings"] if line else "" for line in best])
    print_row("target", [f"{target(name, size):.2f} " for size in sizes])
    for contender in contenders_of(cases, DCOMP):
        cells = []
        for column in columns:
            verdict = judge_line(column[contender]) if contender in column else None
            cells.append(f"{verdict.value:.2f}{verdict.mark or ' '}" if verdict else "")
            if verdict:
                marks.setdefault(contender, []).append(verdict.mark)
        print_row(contender, cells)
    for contender in contenders_of(cases, DCOMP[:1]):
        ratios = [column.get(contender, {}).get("ratio_untuned") for column in columns]
        print_row(f"{contender} / untuned", [f"{ratio:.2f} " if ratio else "" for ratio in ratios])
    untuned = [c for c in contenders_of(cases, ["mpi4py"]) if c.endswith(":default")]
    for contender in untuned + contenders_of(cases, OTHERS):
        ratios = [column.get(contender, {}).get("ratio") for column in columns]
        print_row(contender, [f"{ratio:.2f} " if ratio else "" for ratio in ratios])


def print_settings(name: str, cases: Cases) -> None:
    """The times of all MPIs with all settings for one collective."""
    sizes = sorted(size for collective, size in cases if collective == name)
    print()
    print_row(f"{name}, us", [size_text(size) if size else "-" for size in sizes])
    for contender in contenders_of(cases, ["mpi4py"]):
        lines = [cases[name, size].get(contender) for size in sizes]
        print_row(contender, [microseconds(line["median_us"]) if line else "" for line in lines])


def print_group(group: Group, cases: Cases, wanted: list[str], *, with_settings: bool) -> int:
    """The tables of one group; how many of dcomp's ratios are above their targets."""
    print(f"\n=== {group}\nratios to the best tuned MPI; above its target !, by less than the noise ?")
    marks: dict[str, list[str]] = {}
    names = [name for name in wanted if any(collective == name for collective, _ in cases)]
    for name in names:
        print_collective(name, cases, marks)
        if with_settings:
            print_settings(name, cases)
    print()
    for contender, found in marks.items():
        within, unsure, above = (found.count(mark) for mark in ("", "?", "!"))
        print(f"{contender}: {within} within target, {unsure} above by less than the noise (?), {above} above (!)")
    return sum(found.count("!") for found in marks.values())


def main() -> int:
    """Print; returns 1 if `--strict` was given and a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--collectives", type=parse_names, default=list(COLLECTIVES))
    parser.add_argument("--settings", action="store_true", help="also the time of every MPI with every settings")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target was missed")
    arguments = parser.parse_args()
    groups = read_peers(arguments.results)
    missed = sum(
        print_group(group, cases, arguments.collectives, with_settings=arguments.settings)
        for group, cases in groups.items()
    )
    lines = [line for cases in groups.values() for case in cases.values() for line in case.values()]
    for label, why in {label: why for line in lines for label, why in line["absent"].items()}.items():
        print(f"absent: {label}: {why}")
    return 1 if arguments.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
