"""What an allreduce of many nodes should take by several algorithms: so that choices at scale are argued.

    python benchmarks/model.py                      # 16 to 16,384 ranks of a machine described by the options
    python benchmarks/model.py --fit nodes.jsonl    # predicted beside measured, from what nodes.py wrote

A rank sends one message at a time at `rank_rate`, and all ranks of a node together no more than `node_rate`; a
message between nodes takes `latency` besides. A rank copies or combines `copy_rate` bytes per second while the others
of its node do, too, and meets them in `meeting` seconds. The hosts' switches are no bottleneck.

References
----------
Hockney 1994 (latency and rate); Thakur, Rabenseifner and Gropp, IJHPCA 19 (2005): the algorithms; Traeff and Hunold,
CLUSTER 2020: lanes.
"""

import argparse
import json
from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import NamedTuple

from text import parse_sizes, size_text

_CHECK = 128  # bytes that the ranks compare before every call
_RANKS = (16, 64, 256, 1024, 4096, 16384)


class Machine(NamedTuple):
    """Seconds, and bytes per second."""

    width: int = 16  # ranks per node
    latency: float = 1.5e-6
    rank_rate: float = 10e9
    node_rate: float = 25e9
    meeting: float = 1.0e-6
    copy_rate: float = 5e9

    def between(self, nbytes: float, lanes: int) -> float:
        """`lanes` ranks of every node send `nbytes` each to other nodes."""
        return self.latency + nbytes / min(self.rank_rate, self.node_rate / lanes)

    def within(self, nbytes: float) -> float:
        """Ranks of a node send each other `nbytes` in MPI's way, and combine them: copied in, out, combined."""
        return self.meeting + 3 * nbytes / self.copy_rate


# Between nodes alone: `lanes` ranks of each node do it at once, with `nbytes` each.


def doubling_between(machine: Machine, nodes: float, nbytes: float, lanes: int) -> float:
    """Recursive doubling: everything to and fro at every step."""
    return log2(nodes) * machine.between(nbytes, lanes)


def halving_between(machine: Machine, nodes: float, nbytes: float, lanes: int) -> float:
    """Rabenseifner: halves, quarters ... to combine, and back again."""
    steps = range(1, round(log2(nodes)) + 1)
    return 2 * sum(machine.between(nbytes / 2**step, lanes) for step in steps)


def ring_between(machine: Machine, nodes: float, nbytes: float, lanes: int) -> float:
    """Round and round in pieces."""
    return 2 * (nodes - 1) * machine.between(nbytes / nodes, lanes)


_BETWEEN = (doubling_between, halving_between, ring_between)


# All ranks; a rank's neighbours are on its node.


def doubling(machine: Machine, ranks: int, nbytes: float) -> float:
    """Recursive doubling of all ranks."""
    inner = log2(machine.width) * machine.within(nbytes)
    return inner + doubling_between(machine, ranks / machine.width, nbytes, machine.width)


def halving(machine: Machine, ranks: int, nbytes: float) -> float:
    """Rabenseifner by all ranks, the nearest first: the slices that leave the node are small."""
    inner = 2 * sum(machine.within(nbytes / 2**step) for step in range(1, round(log2(machine.width)) + 1))
    return inner + halving_between(machine, ranks / machine.width, nbytes / machine.width, machine.width)


def ring(machine: Machine, ranks: int, nbytes: float) -> float:
    """A ring of all ranks: one of each node sends to another node."""
    piece = nbytes / ranks
    return 2 * (ranks - 1) * max(machine.between(piece, 1), machine.within(piece))


def leaders(machine: Machine, ranks: int, nbytes: float) -> float:
    """Combined at one rank per node, exchanged by these, and spread: trees within the node."""
    inner = 2 * log2(machine.width) * machine.within(nbytes)
    return inner + min(way(machine, ranks / machine.width, nbytes, 1) for way in _BETWEEN)


def lanes(machine: Machine, ranks: int, nbytes: float) -> float:
    """dcomp: the check; then reduce_scatter in shared memory, all lanes at once by the best way, allgather there."""
    width = machine.width
    check = doubling(machine, ranks, _CHECK)
    inner = 4 * machine.meeting + (1 + 2 * (width - 1) / width) * nbytes / machine.copy_rate
    return check + inner + min(way(machine, ranks / width, nbytes / width, width) for way in _BETWEEN)


ALGORITHMS: dict[str, Callable[[Machine, int, float], float]] = {
    "doubling": doubling, "halving": halving, "ring": ring, "leaders": leaders, "dcomp's lanes": lanes
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, help="lines of nodes.py; prints predicted beside measured")
    parser.add_argument("--sizes", type=parse_sizes, default=[128 << 10, 1 << 20, 64 << 20])
    for name, kind in Machine.__annotations__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=Machine._field_defaults[name])
    arguments = parser.parse_args()
    if arguments.fit:
        _print_fit([json.loads(line) for line in arguments.fit.read_text().splitlines()])
        return
    machine = Machine(*(getattr(arguments, name) for name in Machine._fields))
    for size in arguments.sizes:
        print(f"\nallreduce of {size_text(size)}, microseconds; {machine.width} ranks per node\n")
        print("| ranks |", *(f"{name} |" for name in ALGORITHMS))
        print("|---|" + "---|" * len(ALGORITHMS))
        for ranks in _RANKS:
            if ranks > machine.width:
                times = [way(machine, ranks, size) * 1e6 for way in ALGORITHMS.values()]
                print(f"| {ranks} |", *(f"{one:.1f} |" if one < 100 else f"{one:.0f} |" for one in times))


def _print_fit(lines: list[dict]) -> None:
    print("| network | MPI | nodes x ranks | size | dcomp predicted | measured | MPI predicted, its best | measured |")
    print("|---|---|---|---|---|---|---|---|")
    machine = Machine()
    for line in lines:
        if "figures" in line:
            machine = Machine(line["width"], **line["figures"])
        elif line["collective"] == "allreduce":
            ranks, size = line["ranks"], line["size"]
            best = min(way(machine, ranks, size) for name, way in ALGORITHMS.items() if way is not lanes)
            times = (lanes(machine, ranks, size), line["dcomp_s"], best, line["mpi_s"])
            told = " | ".join(f"{1e3 * one:.2f} ms" for one in times)
            nodes = f"{ranks // machine.width} x {machine.width}"
            print(f"| {line['label']} | {line['mpi']} | {nodes} | {size_text(size)} | {told} |")


if __name__ == "__main__":
    main()
