"""Reading the benchmark's JSON lines, and the targets they are judged by. Needs neither MPI nor dcomp."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

BASELINE = "mpi4py"
KIB, MIB = 2**10, 2**20

#: Order of rows and panels.
COLLECTIVES = (
    "barrier",
    "bcast",
    "scatter",
    "gather",
    "allgather",
    "alltoall",
    "reduce",
    "allreduce",
    "reduce_scatter",
    "scan",
    "exscan",
)

SMALL_RATIO = 1.3  # a call of 8 bytes may take so much of mpi4py's time
LARGE_RATIO = 1.05  # and one of at least...
LARGE_FROM = 64 * KIB  # ...so many bytes so much
CHECKED_LARGE_FROM = MIB  # with DCOMP_CHECK=collective, one of so many
CHECK_EXCHANGES = 1.0  # below, checking may cost so many small exchanges on top


class Group(NamedTuple):
    """What lines must have in common to stand in one table."""

    mpi: str
    ranks: int
    check: str
    touch: bool
    state: str

    def __str__(self) -> str:
        use = ", data used" if self.touch else ""
        return f"{self.mpi}, {self.ranks} ranks, DCOMP_CHECK={self.check}{use}, {self.state}"


#: (collective, size, contender) -> line
Lines = dict[tuple[str, int, str], dict]


def read_results(paths: Iterable[Path]) -> dict[Group, Lines]:
    """The lines of some files by group. Where a measurement was repeated, the last one counts."""
    groups: dict[Group, Lines] = {}
    for path in paths:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            group = Group(*(line[name] for name in Group._fields))
            groups.setdefault(group, {})[line["collective"], line["size"], line["contender"]] = line
    return groups


def ratio(lines: Lines, collective: str, size: int, contender: str, against: str) -> float | None:
    """Time of `contender` over that of `against`; the median of paired ratios where those were taken."""
    line = lines.get((collective, size, contender))
    other = lines.get((collective, size, against))
    if line is None or other is None:
        return None
    if against == BASELINE:
        return line.get("ratio")
    return line["median_us"] / other["median_us"]


def ratio_limit(check: str, size: int) -> float | None:
    """The ratio to mpi4py's time that a target allows at this size; None where no ratio is set."""
    if check == "off":
        return LARGE_RATIO if size >= LARGE_FROM else SMALL_RATIO
    if check == "collective" and size >= CHECKED_LARGE_FROM:
        return LARGE_RATIO
    return None


def excess_limit(check: str, size: int, line: dict) -> float | None:
    """How many small exchanges beyond mpi4py's time a target allows: the check's own, and what an unchecked
    call may take longer. None where the target is a ratio."""
    if check != "collective" or size >= CHECKED_LARGE_FROM or "excess" not in line:
        return None
    unchecked = ratio_limit("off", size) - 1.0
    return CHECK_EXCHANGES + unchecked * line["baseline_us"] / line["unit_us"]


class Verdict(NamedTuple):
    """A figure and what it means."""

    value: float
    limit: float | None
    mark: str  # "" within the limit or none set, "?" above it by less than the noise, "!" above it


def judge(value: float, low: float, limit: float | None) -> Verdict:
    """Hold a median, whose lower 95 % bound is `low`, against a limit."""
    if limit is None or value <= limit:
        return Verdict(value, limit, "")
    return Verdict(value, limit, "?" if low <= limit else "!")


def judge_ratio(check: str, size: int, line: dict) -> Verdict | None:
    """The verdict on a line's ratio to mpi4py."""
    if "ratio" not in line:
        return None
    return judge(line["ratio"], line["ratio_low"], ratio_limit(check, size))


def judge_excess(check: str, size: int, line: dict) -> Verdict | None:
    """The verdict on a line's time beyond mpi4py's, in small exchanges."""
    if "excess" not in line:
        return None
    return judge(line["excess"], line["excess_low"], excess_limit(check, size, line))
