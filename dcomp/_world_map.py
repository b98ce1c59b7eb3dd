"""What is known of the whole job since its start: its settings, and which ranks share a node."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from . import _threads
from ._errors import SettingError, UsageError
from ._layout import format_ranks
from ._settings import RULES, Settings, read_settings
from .engine import losses
from .engine.channel import Channel, world_ranks
from .engine.choose import Rules, rules_from
from .engine.waiting import spins_for

_ALIKE = ("check", "engine", "ranks_per_node")
_UNCOMPILED = "numba has not compiled dcomp's functions on this machine yet"

_settings: Settings | None = None
_nodes: tuple[int, ...] = ()
_spins = 2
_own_threads = 1
_rules = Rules()
_has_kernels = False  # all ranks of the job have the compiled functions
_segment: Any = None  # this node's shared memory
_why_not = ""  # there is none
_start_job: Callable[[], object] | None = None


def know_start(start_job: Callable[[], object]) -> None:
    """Have the function that starts the whole job, which a module above this one knows."""
    global _start_job
    _start_job = start_job


def survey(world: MPI.Intracomm) -> str | None:
    """Read the settings and find the nodes; collective over all ranks of the job.

    Returns
    -------
    What is wrong with the settings, in the same words on every rank; then the defaults hold. Else None.
    """
    global _settings, _nodes, _spins, _own_threads, _rules, _segment, _why_not, _has_kernels
    mine, fault = _agree_on_settings(world)
    if fault is None:
        _rules, fault = _agree_on_rules(world, mine.rules)
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    group = node.rank // (mine.ranks_per_node or node.size)
    first = np.array(node.allgather(world.rank)[group * (mine.ranks_per_node or node.size)])
    nodes = np.empty(world.size, first.dtype)
    world.Allgather(first, nodes)
    _settings, _nodes = mine, tuple(nodes.tolist())
    rooms = node.allgather(_threads.find_room())
    _spins = spins_for([room.cpus for room in rooms])
    _own_threads = mine.threads or _threads.share_out(rooms, node.rank)
    _threads.use(_own_threads, is_asked_for=mine.threads is not None)
    _why_not = "DCOMP_ENGINE=mpi" if mine.engine == "mpi" else fault or ""
    if not _why_not:
        neighbours = node.Split(group, node.rank)
        _why_not = _have_kernels(neighbours, are_several=len(set(_nodes)) > 1)
        _has_kernels = not _why_not
        if _has_kernels:
            _segment, _why_not = _share_memory(neighbours, mine)
        neighbours.Free()
    node.Free()
    _has_kernels = world.allreduce(_has_kernels, MPI.LAND)
    if mine.engine == "shared":
        told = world.allgather(_why_not)
        missing = [rank for rank, text in enumerate(told) if text]
        if missing:
            fault = f"DCOMP_ENGINE=shared: {told[missing[0]]} (on {format_ranks(missing)} of {world.size})."
    return fault


def _agree_on_settings(comm: MPI.Intracomm) -> tuple[Settings, str | None]:
    """The settings of these ranks, and None; or the defaults, and what is wrong with a rank's. Collective."""
    mine, own_fault = Settings(), None
    try:
        mine = read_settings()
    except SettingError as error:
        own_fault = str(error)
    told = comm.allgather((own_fault, mine))
    fault = _fault([text for text, _ in told]) or _difference([settings for _, settings in told])
    return (mine, None) if fault is None else (Settings(), fault)


def _agree_on_rules(world: MPI.Intracomm, given: str | None) -> tuple[Rules, str | None]:
    """The rules that rank 0 reads from a file, and None; or the shipped ones, and what is wrong with it. Collective."""
    mpi = MPI.get_vendor()[0]
    told: tuple[str, str | None] = "{}", None
    if world.rank == 0 and given != "shipped":
        path = given or RULES
        try:
            with open(path, encoding="utf-8") as file:
                told = file.read(), None
            rules_from(told[0], mpi)
        except Exception as error:  # the others wait for this rank
            # A place that no one has named need not be there, nor be a place at all, as for users without a home.
            if given is not None or not isinstance(error, OSError):
                told = (
                    "{}",
                    (
                        f"the rules in {path} cannot be used: {type(error).__name__}: {error}. Delete the file, have "
                        "another written by python -m dcomp tune, or set DCOMP_RULES=shipped"
                    ),
                )
    text, fault = world.bcast(told)
    return rules_from(text, mpi), fault


def _have_kernels(node: Any, *, are_several: bool) -> str:
    """Have the compiled functions on every rank of the node; why they cannot be used, if they cannot. Collective."""
    fault = _first_fault(node, _start_kernels(compiles=False))
    if fault == _UNCOMPILED:  # one rank compiles, and the others find it in the cache
        if MPI.COMM_WORLD.rank == 0:
            print("dcomp: compiling for this machine, once, which takes 15 to 60 seconds", file=sys.stderr, flush=True)
        fault = _first_fault(node, _start_kernels(compiles=True) if node.rank == 0 else "")
        fault = fault or _first_fault(node, _start_kernels(compiles=True))
    if are_several and not fault:
        fault = _first_fault(node, _start_joint())
    return fault


def _share_memory(node: Any, settings: Settings) -> tuple[Any, str]:
    """The node's segment, or None and the reason; collective over the ranks of the node."""
    from .engine.segment import make_segment

    return make_segment(node, settings.heap)


def _first_fault(node: Any, fault: str) -> str:
    """What the first rank of the node says that has a fault; collective."""
    ready = node.Ibarrier()
    while not ready.Test():  # who waits leaves its core to those that are busy
        time.sleep(1e-3)
    return next((text for text in node.allgather(fault) if text), "")


def _start_kernels(*, compiles: bool) -> str:
    """Start numba, and have the compiled functions ready; why they cannot be used, if they cannot."""
    try:
        import numba  # only here, for it takes a while to start

        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return "NUMBA_DISABLE_JIT is set"
        from .engine.meeting import knows_arrays
        from .kernels import ready

        if compiles:
            ready.compile_all()
        elif not ready.load_all():
            return _UNCOMPILED
    except Exception as error:  # the others wait for this rank, and MPI serves without
        return f"numba cannot compile here: {type(error).__name__}: {error}"
    return "" if knows_arrays() else "this Python's or NumPy's arrays are laid out in an unknown way"


def _start_joint() -> str:
    """Have what carries small arrays between nodes; why it cannot be used, if it cannot."""
    try:
        from .engine import joint  # noqa: F401
    except Exception as error:
        return f"numba cannot compile here: {type(error).__name__}: {error}"
    return ""


def threads() -> int:
    """How many threads this rank is to run."""
    return _own_threads


def segment() -> Any:
    """The memory that the ranks of this node share; None if there is none."""
    return _segment


def sharing() -> str:
    """How much memory each rank shares with its node, or why it shares none."""
    if _segment is None:
        return f"no shared memory: {_why_not}"
    return f"{_segment.heap >> 20} MiB of shared memory per rank at most"


def make_channel(comm: MPI.Intracomm, name: str) -> Channel:
    """The private side of a communicator: with a place in shared memory if its ranks are on one node, with a place on
    every node and lanes between them if they are on several. Collective.

    Raises
    ------
    SettingError        On every rank, if the job has not started and the settings are bad.
    RankFailedError     If a rank of it has died.
    """
    ranks = world_ranks(comm)
    if _settings is None and _start_job is not None and len(ranks) == MPI.COMM_WORLD.size and min(ranks) >= 0:
        _start_job()
    with losses.in_the_making(comm, name, ranks):
        return _make_channel(comm, name, ranks)


def _make_channel(comm: MPI.Intracomm, name: str, ranks: tuple[int, ...]) -> Channel:
    # Other ranks of the job may know nothing of dcomp, so these go by themselves; as do those of several jobs, of which
    # one was spawned (below 0). What decides is the same on all ranks.
    if _settings is None or min(ranks) < 0:
        own, fault = _agree_on_settings(comm)
        if fault is not None:
            raise SettingError(fault)
        return Channel(comm, name, own, _spins)
    if settings().engine == "mpi":
        return Channel(comm, name, settings(), _spins)
    nodes = [_nodes[rank] for rank in ranks]
    if len(set(nodes)) == 1:
        channel = Channel(comm, name, settings(), _spins, meeting=_meeting(comm), rules=_rules)
        if channel.meeting is not None:
            from .engine.mail import make_mail

            channel.mail = make_mail(channel, channel.meeting)
        return channel
    if settings().check == "off":  # a call may go straight to MPI on one rank and not on another, so no other way
        return Channel(comm, name, settings(), _spins)
    levels = _levels(name, nodes, comm.rank)
    if not _has_kernels or settings().check != "collective":
        return Channel(comm, name, settings(), _spins, levels=levels, rules=_rules)
    from .engine.joint import JointClaims

    return Channel(comm, name, settings(), _spins, levels=levels, rules=_rules, make_claims=JointClaims)


def _meeting(comm: MPI.Intracomm) -> Any:
    """The place in shared memory where the ranks of a node meet; None if there is none. Collective."""
    if _segment is None:
        return None
    from .engine.meeting import make_meeting

    return make_meeting(comm, _segment, _spins < 100)


def _levels(name: str, nodes: list[int], rank: int) -> Any:
    from .engine.hierarchy import find_levels

    def make_node(node: MPI.Intracomm) -> Channel | None:
        place = _meeting(node)
        return None if place is None else Channel(node, f"{name} on this node", settings(), _spins, place, rules=_rules)

    return find_levels(nodes, rank, make_node)


def _fault(texts: Sequence[str | None]) -> str | None:
    """What the first rank that could not read its settings says, and which ranks say so."""
    first = next((text for text in texts if text is not None), None)
    ranks = [rank for rank, text in enumerate(texts) if text == first]
    return first if len(ranks) == len(texts) else f"{first} (on {format_ranks(ranks)} of {len(texts)})"


def _difference(every: Sequence[Settings]) -> str | None:
    """How the settings of the ranks differ where they must not."""
    for name in _ALIKE:
        values = [getattr(settings, name) for settings in every]
        ranks = [rank for rank, value in enumerate(values) if value != values[0]]
        if ranks:
            return (
                f"DCOMP_{name.upper()} must be the same on every rank; got {values[0]} on rank 0 and "
                f"{values[ranks[0]]} on {format_ranks(ranks)} of {len(values)}."
            )
    return None


def settings() -> Settings:
    """The settings, which are the same for the whole job where they must be."""
    return Settings() if _settings is None else _settings


def node_of(world_rank: int) -> int:
    """The first rank of the job that shares memory with `world_rank`.

    Raises
    ------
    UsageError     If the job has not started, for then the nodes are not known.
    """
    if _settings is None:
        raise UsageError("the ranks' nodes are not known yet: use dc.COMM_WORLD on every rank of the job first.")
    return _nodes[world_rank]
