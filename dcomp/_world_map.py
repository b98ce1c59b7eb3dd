"""What is known of the whole job since its start: its settings, and which ranks share a node."""

import numpy as np
from mpi4py import MPI

from ._errors import SettingError
from ._layout import format_ranks
from ._settings import Settings, read_settings
from .engine.waiting import spins_for

_settings: Settings | None = None
_nodes: tuple[int, ...] = ()
_spins = 2


def survey(world: MPI.Intracomm) -> None:
    """Read the settings and find the nodes; collective over all ranks of the job.

    Raises
    ------
    SettingError     On every rank, if a setting is bad on one, or differs between ranks where it must not.
    """
    global _settings, _nodes, _spins
    fault: SettingError | None = None
    mine = Settings()
    try:
        mine = read_settings()
    except SettingError as error:
        fault = error
    told = world.allgather((str(fault) if fault else None, mine))
    bad = {rank: text for rank, (text, _) in enumerate(told) if text}
    if bad:
        raise fault or SettingError(f"{next(iter(bad.values()))} (on {format_ranks(bad)} of {world.size})")
    for name in ("check", "engine", "ranks_per_node"):
        values = [getattr(settings, name) for _, settings in told]
        if len(set(values)) > 1:
            ranks = [rank for rank, value in enumerate(values) if value != values[0]]
            raise SettingError(
                f"DCOMP_{name.upper()} must be the same on every rank; got {values[0]} on rank 0 and "
                f"{values[ranks[0]]} on {format_ranks(ranks)} of {world.size}."
            )
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    group = node.rank // (mine.ranks_per_node or node.size)
    first = np.array(node.allgather(world.rank)[group * (mine.ranks_per_node or node.size)])
    nodes = np.empty(world.size, first.dtype)
    world.Allgather(first, nodes)
    _settings, _nodes = mine, tuple(nodes.tolist())
    _spins = spins_for(node.size)
    node.Free()


def settings() -> Settings:
    """The settings, which are the same for the whole job where they must be."""
    return Settings() if _settings is None else _settings


def node_of(world_rank: int) -> int:
    """The first rank of the job that shares memory with `world_rank`."""
    return _nodes[world_rank]


def spins() -> int:
    """How often a wait looks before it gives the core away."""
    return _spins
