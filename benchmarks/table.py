"""Print tables of ratios from the benchmark's JSON lines, with the verdict on every target.

python benchmarks/table.py results.jsonl
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from results import (
    BASELINE,
    CHECKED_LARGE_FROM,
    COLLECTIVES,
    Group,
    Lines,
    Verdict,
    judge_excess,
    judge_ratio,
    ratio,
    read_results,
)
from text import size_text

Judge = Callable[[str, int, dict], Verdict | None]


def print_table(title: str, sizes: list[int], cells: dict[tuple[str, int], str]) -> None:
    """A row per collective, a column per size."""
    print(f"\n{title}")
    print(f"{'':>14}" + "".join(f"{size_text(size):>9} " for size in sizes))
    for name in COLLECTIVES:
        row = [cells.get((name, size), "") for size in sizes]
        if any(row):
            print(f"{name:>14}" + "".join(f"{cell:>10}" for cell in row))


def judged_table(
    title: str, group: Group, lines: Lines, contender: str, judge: Judge, sizes: list[int]
) -> list[Verdict]:
    """Print the figures that `judge` finds in the lines of one contender; returns the verdicts."""
    cells, verdicts = {}, []
    for (collective, size, name), line in lines.items():
        if name != contender:
            continue
        verdict = judge(group.check, size, line)
        if verdict is None:
            continue
        column = size if size else sizes[0]  # a barrier stands with the smallest messages
        if column in sizes:
            cells[collective, column] = f"{verdict.value:.2f}{verdict.mark or ' '}"
            verdicts.append(verdict)
    print_table(title, sizes, cells)
    return verdicts


def print_group(group: Group, lines: Lines, contender: str) -> list[Verdict]:
    """Tables of one group against mpi4py; returns the verdicts on its targets."""
    sizes = sorted({size for _, size, _ in lines if size}) or [0]
    print(f"\n=== {group}")
    verdicts = judged_table(f"{contender} / {BASELINE}", group, lines, contender, judge_ratio, sizes)
    if group.check == "collective":
        small = [size for size in sizes if size < CHECKED_LARGE_FROM]
        title = f"({contender} - {BASELINE}) / one small exchange"
        verdicts += judged_table(title, group, lines, contender, judge_excess, small)
    return [verdict for verdict in verdicts if verdict.limit is not None]


def print_plain(group: Group, lines: Lines, contender: str, against: str) -> None:
    """A table of one group against another contender, without targets."""
    sizes = sorted({size for _, size, _ in lines if size}) or [0]
    cells = {}
    for name in COLLECTIVES:
        for size in sizes:
            value = ratio(lines, name, size, contender, against)
            if value is not None:
                cells[name, size] = f"{value:.2f} "
    print_table(f"=== {group}\n{contender} / {against}", sizes, cells)


def main() -> int:
    """Print; returns 1 if `--strict` was given and a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--contender", default="dcomp")
    parser.add_argument("--against", default=BASELINE, help="mpi4py (with verdicts), copyto, mpi4py_v, ...")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target was missed")
    arguments = parser.parse_args()
    missed = 0
    for group, lines in sorted(read_results(arguments.results).items()):
        if arguments.against != BASELINE:
            print_plain(group, lines, arguments.contender, arguments.against)
            continue
        verdicts = print_group(group, lines, arguments.contender)
        marks = [verdict.mark for verdict in verdicts]
        missed += marks.count("!")
        within, unsure, above = (marks.count(mark) for mark in ("", "?", "!"))
        print(f"\n{within} within target, {unsure} above by less than the noise (?), {above} above (!)")
    return 1 if arguments.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
