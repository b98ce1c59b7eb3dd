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
    heap : int               Of a combination, up to which it reaches an `out` in ordinary memory by way of the heap;
                             larger ones are written there by the other ranks, by way of the kernel.
    lanes : int              Of a collective of several nodes, from which on every rank takes a slice through its
                             lane; MPI carries smaller ones.
    """

    once: int = 2 << 20
    once_far: int = 512 << 10
    mpi: int = NEVER
    mpi_far: int = NEVER
    heap: int = 1 << 20
    lanes: int = 128 << 10


_DEFAULT = Rule()
_SHIPPED = {
    "scatter": Rule(once=1 << 20, once_far=1 << 20),
    "gather": Rule(once_far=1 << 20),
    "allgather": Rule(once=1 << 20, once_far=1 << 20),
    "alltoall": Rule(once=1 << 20, once_far=8 << 20),
}
_NAMES = {field.name for field in fields(Rule)}


class Rules:
    """The rules of all collectives, under one MPI; those that come with dcomp where no others are given."""

    def __init__(self, rules: Mapping[str, Rule] | None = None) -> None:
        self._rules = dict(rules or {})

    def __getitem__(self, name: str) -> Rule:
        return self._rules.get(name) or _SHIPPED.get(name, _DEFAULT)

    def changed(self, name: str, **numbers: int) -> "Rules":
        """Other rules, in which these numbers hold for a collective."""
        return Rules({**self._rules, name: replace(self[name], **numbers)})


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
    rules = Rules()
    for collective, numbers in parse_rules(text).get(mpi, {}).items():
        rules = rules.changed(collective, **numbers)
    return rules
