"""From what every rank says of its call to the message that tells the user what is wrong."""

from collections.abc import Sequence
from typing import NamedTuple

from ._errors import CollectiveMismatchError, ShapeMismatchError
from ._layout import format_ranks


class Testimony(NamedTuple):
    """What one rank tells the others when a call has gone wrong."""

    function: str
    facts: tuple[tuple[str, str], ...]
    site: str
    fault: str | None  # "TypeError: ..." of this rank's own arguments


#: What must hold, by the verdict, and the argument that tells.
_LENGTHS = {
    "out": ("out must have the length of the result along the axis, on every rank that passes one", "shape of out"),
    "length": ("x must have the same length along split_axis on every rank, to be joined along concat_axis", "shape"),
}


def explain(told: Sequence[Testimony], problem: str) -> CollectiveMismatchError:
    """The exception for a call on which the ranks, in order, gave these testimonies.

    `problem` is the verdict of `_checks.judge`.
    """
    function = told[0].function
    faulty = [rank for rank, one in enumerate(told) if one.fault]
    if faulty:
        return CollectiveMismatchError(_fault_message(told, faulty))
    if len({one.function for one in told}) > 1:
        first = "the ranks must call the same collective in the same order"
        got = _spread([one.function for one in told])
        return CollectiveMismatchError(f"{_names(told)}: {first}; got {got}.{_story(told)}")
    if problem in _LENGTHS:
        rule, argument = _LENGTHS[problem]
        values = [dict(one.facts).get(argument, "none") for one in told]
        return ShapeMismatchError(f"{function}: {rule}; got {argument} {_spread(values)}.{_story(told)}")
    name = _first_difference(told)
    if name is None:
        return CollectiveMismatchError(f"{function}: the calls do not fit together.{_story(told)}")
    values = [dict(one.facts).get(name, "nothing") for one in told]
    kind = ShapeMismatchError if "shape" in name else CollectiveMismatchError
    rule = "fit together" if "shape" in name else "be the same on every rank"
    return kind(f"{function}: {name} must {rule}; got {_spread(values)}.{_story(told)}")


def _fault_message(told: Sequence[Testimony], faulty: list[int]) -> str:
    parts = [
        f"{told[rank].function}: wrong arguments on {format_ranks([rank])} of {len(told)}, at {told[rank].site}: "
        f"{told[rank].fault}"
        for rank in faulty[:3]
    ]
    if len(faulty) > 3:
        parts.append(f"and on {format_ranks(faulty[3:])}.")
    return "\n".join(parts) + "\nNo data was moved. Mend that call; the communicator can be used again."


def _first_difference(told: Sequence[Testimony]) -> str | None:
    """The first argument of which two ranks that mention it say different things."""
    names = list(dict.fromkeys(name for one in told for name, _ in one.facts))
    for name in names:
        values = {value for one in told for key, value in one.facts if key == name}
        if len(values) > 1:
            return name
    # The root speaks of x, the others of out.
    for name in ("dtype", "shape"):
        values = {value for one in told for key, value in one.facts if key in (name, f"{name} of out")}
        if len(values) > 1:
            return f"{name} of out" if any(key == f"{name} of out" for one in told for key, _ in one.facts) else name
    return None


def _names(told: Sequence[Testimony]) -> str:
    return "/".join(dict.fromkeys(one.function for one in told))


def _spread(values: Sequence[str]) -> str:
    """``["a", "b", "a"]`` as ``"a on ranks 0, 2 and b on rank 1 of 3"``."""
    ranks: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(value, []).append(rank)
    parts = [f"{value} on {format_ranks(where)}" for value, where in ranks.items()]
    if len(parts) > 4:
        parts = [*parts[:4], f"{len(parts) - 4} more"]
    return " and ".join(parts) + f" of {len(values)}"


def _story(told: Sequence[Testimony]) -> str:
    """Each different call with its ranks and its line."""
    ranks: dict[str, list[int]] = {}
    for rank, one in enumerate(told):
        arguments = ", ".join(f"{name}={value}" for name, value in one.facts)
        ranks.setdefault(f"{one.function}({arguments}) at {one.site}", []).append(rank)
    lines = [f"\n  {format_ranks(where)}: {text}" for text, where in list(ranks.items())[:8]]
    if len(ranks) > 8:
        lines.append(f"\n  ... and {len(ranks) - 8} more")
    return "".join(lines) + "\nNo data was moved; the communicator can be used again."
