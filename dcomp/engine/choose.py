"""Which way the data of a large collective goes, by its bytes: rules that were measured.

The shipped ones come from the machine of docs/explanation/measuring.md. `python -m dcomp tune` measures the machine at
hand, and writes a file of rules that take their place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

NEVER = 1 << 62  # more bytes than any call has


@dataclass(frozen=True)
class Rule:
    """Bytes at which one collective changes its way; those of a node for ranks whose cores share a cache, and not.

    Attributes
    ----------
    once, once_far : int     Of a block from ordinary memory to ordinary memory, from which on it is copied once, by
                             way of the operating system's kernel; smaller ones go through a ring, in chunks of 64 KiB
                             that stay in caches. Blocks are counted in whole chunks.
    mpi, mpi_far : int       Of such a block, from which on MPI carries it.
    alone : int              Of a root's block from ordinary memory into the heap, from which on the root does not write
                             it to everyone by itself.
    heap : int               Of a combination, up to which it reaches an `out` in ordinary memory by way of the heap;
                             larger ones are written there by the other ranks, by way of the kernel.
    lanes : int              Of a collective of several nodes, from which on every rank takes a slice through its
                             lane; MPI carries smaller ones.
    """

    once: int = 2 << 20
    once_far: int = 512 << 10
    mpi: int = NEVER
    mpi_far: int = NEVER
    alone: int = NEVER
    heap: int = 1 << 20
    lanes: int = 128 << 10


_NAMES = {field.name for field in fields(Rule)}


def shipped(name: str, size: int) -> Rule:
    """The rule that comes with dcomp for a collective of this many ranks on a node.

    A root's core copies some 15 GB/s, so what it does by itself grows with the ranks. What several ranks copy from its
    memory by way of the kernel does not, but costs as much as three copies do; and where all copy the same pages, as in
    bcast, they are in each other's way, so that of more than three ranks the ring is faster at any size.
    """
    few = size < 4
    alone = (8 << 20 if few else 2 << 20) // size
    if name == "bcast":
        return Rule(alone=alone) if few else Rule(once=NEVER, once_far=NEVER, alone=alone if size == 4 else 0)
    if name == "scatter":
        return Rule(once=min(alone, 1 << 20), once_far=min(alone, 1 << 20), alone=alone)
    if few:
        return {
            "gather": Rule(once_far=1 << 20),
            "allgather": Rule(once=1 << 20, once_far=1 << 20),
            "alltoall": Rule(once=1 << 20, once_far=8 << 20),
        }.get(name, Rule())
    once = (16 << 10) * size if name == "allgather" else 64 << 10
    return Rule(once=once, once_far=once)


class Rules:
    """The rules of all collectives, under one MPI: the shipped ones, but for the numbers that are given for each."""

    def __init__(self, numbers: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self._numbers = dict(numbers or {})

    def of(self, name: str, size: int) -> Rule:
        """The rule for a collective of so many ranks."""
        return replace(shipped(name, size), **self._numbers.get(name, {}))


def parse_rules(text: str) -> dict[str, dict[str, dict[str, int]]]:
    """The numbers of a file of rules, by MPI, collective and name.

    Raises
    ------
    ValueError     If it is not what `format_rules` makes; it says why.
    """
    told = json.loads(text)
    for mpi, of_mpi in _items(told, "the file"):
        for collective, numbers in _items(of_mpi, mpi):
            for name, number in _items(numbers, f"{mpi}, {collective}"):
                if name not in _NAMES or type(number) is not int or not 0 <= number <= NEVER:
                    known = ", ".join(sorted(_NAMES))
                    raise ValueError(f"{mpi}, {collective}: {name} = {number!r} is no number of bytes of {known}")
    return told


def _items(value: Any, name: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds {value!r:.40}, which is no table")
    return list(value.items())


def format_rules(numbers: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """The text of a file of rules."""
    return json.dumps(numbers, indent=1, sort_keys=True) + "\n"


def rules_from(text: str, mpi: str) -> Rules:
    """The rules of a file for one MPI; the shipped ones where it has none. Errors as `parse_rules`."""
    return Rules(parse_rules(text).get(mpi))
