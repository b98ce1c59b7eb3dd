"""What is said about a job: who waits for whom, where every rank is, how ranks failed. Texts only; no MPI.

Ranks are those of COMM_WORLD throughout, whatever communicator a wait is on.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._layout import format_ranks

_RECEIVES = (
    "recv",
    "irecv",
    "sendrecv",
    "probe",
    "recv_object",
)  # which may wait for anyone
_TEXTS = 8  # different tracebacks that are printed in full; thousands of ranks may each fail in their own way


@dataclass(frozen=True)
class WaitState:
    """One thread of a rank that waits in a call of dcomp."""

    serial: int  # tells the waits of a rank apart
    function: str
    channel: int
    name: str  # of the communicator
    call: int  # collective calls begun on it by this rank, this one included
    peers: tuple[int, ...] | None  # the ranks waited for; None: all members
    members: tuple[int, ...] | None  # of the communicator; None: all ranks
    site: str
    inside: bool = False  # MPI: all ranks have come, and the data is under way


@dataclass(frozen=True)
class RankState:
    """What a rank says of itself, or what is known of one that says nothing."""

    node: str = ""
    site: str = ""  # of its main thread
    waits: tuple[WaitState, ...] = ()
    calls: Mapping[int, int] = field(default_factory=dict)  # collective calls begun, by channel, if known
    silence: str = ""  # why it says nothing
    ended: bool = False
    death: str = ""  # how it died


def read_wait(told: Mapping[str, Any]) -> WaitState:
    """A wait as it travels in JSON."""
    peers, members = told["peers"], told["members"]
    return WaitState(
        **{
            **told,
            "peers": None if peers is None else tuple(peers),
            "members": None if members is None else tuple(members),
        }
    )


def read_calls(told: Mapping[str, int]) -> dict[int, int]:
    """Numbers of calls as they travel in JSON, whose keys are text."""
    return {int(channel): calls for channel, calls in told.items()}


def tag(ranks: Iterable[int], size: int, nodes: Mapping[int, str]) -> str:
    """``[rank 3 of 4 on node1]``, which every message about ranks begins with."""
    ranks = sorted(ranks)
    names = sorted({nodes[rank] for rank in ranks if nodes.get(rank)})
    where = f" on {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
    return f"[{format_ranks(ranks)} of {size}{where}]"


def are_missing(wait: WaitState, states: Mapping[int, RankState]) -> list[int]:
    """The ranks that `wait` is for and that have not come.

    For a point-to-point call those that it names. For a collective call those that have begun fewer calls on
    the communicator; if none has, those that are not in a call on it now, for instance because the call's data
    is under way and they have left it.
    """
    if wait.peers is not None:
        return list(wait.peers)
    members = range(len(states)) if wait.members is None else wait.members
    alive = [rank for rank in members if not states[rank].death]
    behind = [rank for rank in alive if states[rank].silence or _is_behind(states[rank], wait)]
    return behind or [rank for rank in alive if all(other.channel != wait.channel for other in states[rank].waits)]


def _is_behind(state: RankState, wait: WaitState) -> bool:
    return wait.channel in state.calls and state.calls[wait.channel] < wait.call


def is_hopeless(wait: WaitState, rank: int, states: Mapping[int, RankState], long: bool) -> bool:
    """Whether no rank will ever end this wait of `rank`, because those it is for have ended their program.

    One that has ended before it made the collective call is proof. Else all others must have ended and the wait
    be `long` already, since what they sent may still be under way.
    """
    members = range(len(states)) if wait.members is None else wait.members
    if wait.peers is None and any(states[other].ended and _is_behind(states[other], wait) for other in members):
        return True
    others = [other for other in (members if wait.peers is None else wait.peers) if other != rank]
    return long and not wait.inside and bool(others) and all(states[other].ended for other in others)


def wait_report(wait: WaitState, states: Mapping[int, RankState]) -> str:
    """Who is missing in `wait`, and where every rank is; the same text for all ranks that wait there."""
    missing = are_missing(wait, states)
    size = len(states)
    if wait.peers is None and wait.function in _RECEIVES:
        what = f"no rank has sent what is waited for on {wait.name}"
    elif missing:
        what = f"{format_ranks(missing)} of {size} {'is' if len(missing) == 1 else 'are'} missing on {wait.name}"
    else:
        what = f"all ranks have come, and the data is under way on {wait.name}"
    return f"{wait.function}: {what}. Where the ranks are:\n{positions(states, wait)}"


def positions(states: Mapping[int, RankState], wait: WaitState | None = None) -> str:
    """Where every rank is, one line for those who are at the same place."""
    return "\n".join(
        f"  {format_ranks(ranks)}: {text}"
        for text, ranks in _group(states, lambda rank: _position(states[rank], wait)).items()
    )


def _position(state: RankState, wait: WaitState | None) -> str:
    if state.silence or state.death:
        where = state.silence or state.death
    elif state.ended:
        where = "the program has ended"
    else:
        calls = [f"waiting in {other.function} on {other.name} at {other.site}" for other in state.waits]
        if all(other.site != state.site for other in state.waits):
            calls.insert(0, f"at {state.site}")
        where = "; ".join(dict.fromkeys(calls))  # a wait within a call that is inside MPI is known as both
    if wait is not None and wait.peers is None and _is_behind(state, wait):
        where += f"; has made {state.calls[wait.channel]} of {wait.call} collective calls on {wait.name}"
    return where


def fold(failures: Mapping[int, str], size: int, nodes: Mapping[int, str]) -> str:
    """Tracebacks, one for all ranks that have the same."""
    groups = _group(failures, lambda rank: failures[rank])
    texts = [f"{tag(ranks, size, nodes)} {text.rstrip()}\n" for text, ranks in list(groups.items())[:_TEXTS]]
    if len(groups) > _TEXTS:
        rest = [rank for ranks in list(groups.values())[_TEXTS:] for rank in ranks]
        texts.append(f"{tag(rest, size, nodes)} failed too, each in another way\n")
    return "".join(texts)


def _group(ranks: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = {}
    for rank in sorted(ranks):
        groups.setdefault(key(rank), []).append(rank)
    return groups
