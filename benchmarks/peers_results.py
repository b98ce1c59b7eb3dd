"""Reading the lines of peers.py, and the targets they are judged by. Needs neither MPI nor dcomp."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from results import KIB, MIB, Verdict, judge

#: What dcomp's time may be over that of the best tuned MPI, from these bytes of a message on.
BANDS = (0, 8 * KIB, 512 * KIB, 32 * MIB)
_REDUCING = (1.2, 0.8, 0.8, 0.75)
_SCANNING = (1.5, 0.8, 0.5, 0.5)
_MOVING = (1.5, 1.0, 0.9, 1.0)
TARGETS = {
    "barrier": (1.2,),
    "bcast": _MOVING,
    "scatter": _MOVING,
    "gather": _MOVING,
    "allgather": _MOVING,
    "alltoall": _MOVING,
    "reduce": _MOVING,
    "allreduce": _REDUCING,
    "reduce_scatter": _REDUCING,
    "scan": _SCANNING,
    "exscan": _SCANNING,
}


class Group(NamedTuple):
    """What lines must have in common to stand in one table."""

    ranks: int
    state: str
    mode: str
    check: str

    def __str__(self) -> str:
        return f"{self.ranks} ranks, {self.state}, inputs {self.mode}, DCOMP_CHECK={self.check}"


#: (collective, size) -> contender -> line
Cases = dict[tuple[str, int], dict[str, dict]]


def read_peers(paths: Iterable[Path]) -> dict[Group, Cases]:
    """The lines of some files by group. A case that was measured again replaces the one before as a whole, as the
    ratios of its lines are to one contender."""
    groups: dict[Group, Cases] = {}
    for path in paths:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            cases = groups.setdefault(Group(*(line[name] for name in Group._fields)), {})
            case = cases.setdefault((line["collective"], line["size"]), {})
            if any(other["started"] != line["started"] for other in case.values()):
                case.clear()
            case[line["contender"]] = line
    return dict(sorted(groups.items()))


def target(collective: str, size: int) -> float:
    """The greatest ratio to the best tuned MPI that is allowed."""
    limits = TARGETS[collective]
    return limits[sum(size >= start for start in BANDS[: len(limits)]) - 1]


def judge_line(line: dict) -> Verdict | None:
    """The verdict on a line's ratio to the best tuned MPI; None if there is none."""
    if line.get("ratio") is None:
        return None
    return judge(line["ratio"], line["ratio_low"], target(line["collective"], line["size"]))


def contenders_of(cases: Cases, kinds: Iterable[str]) -> list[str]:
    """The contenders of these kinds, in the order of the kinds."""
    lines = [line for case in cases.values() for line in case.values()]
    return [name for kind in kinds for name in sorted({line["contender"] for line in lines if line["kind"] == kind})]
