"""The communicators that are there from the start; the first use of one starts MPI, if the program has not."""

import threading
import traceback

from mpi4py import MPI

from . import _ends, _watch, _world_map
from ._communicator import Communicator
from ._errors import RankFailedError, SettingError
from .engine import losses
from .engine.channel import channels, lose_ranks

_lock = threading.Lock()
_world: Communicator | None = None
_self: Communicator | None = None
_fault: str | None = None  # of the settings


def world() -> Communicator:
    """All ranks of the job. The first call is collective: every rank of the job makes it.

    Raises
    ------
    SettingError     On every rank, if a setting is bad on one, or differs between ranks where it must not.
    """
    global _world
    if _world is None:
        with _lock:
            if _world is None:
                _world = _start_or_end()
    return _world


def or_world(comm: Communicator | None) -> Communicator:
    """The communicator that a call names; None: all ranks of the job.

    Raises
    ------
    TypeError     If it is another object, such as a communicator of mpi4py's, whose methods check nothing.
    """
    if comm is None:
        return world() if _world is None else _world
    if isinstance(comm, Communicator):
        return comm
    wrap = "; dc.Communicator(comm) makes one of it" if isinstance(comm, MPI.Intracomm) else ""
    raise TypeError(f"comm must be a communicator of dcomp's, or None, which means COMM_WORLD; got {comm!r}{wrap}.")


def _start_or_end() -> Communicator:
    """Set up the job; where a death does not end it, end it if one has died meanwhile, for the others wait."""
    try:
        return _start()
    except (MPI.Exception, RankFailedError) as error:
        if losses.is_tolerant:
            traceback.print_exception(error)
            MPI.COMM_WORLD.Abort(1)
        raise


def _start() -> Communicator:
    """Set up the job, also if a setting is bad: whatever raises that needs the hooks which print it once."""
    global _fault
    if _fault is None:
        _fault = _world_map.survey(MPI.COMM_WORLD)
        made = Communicator(MPI.COMM_WORLD)
        lose = lose_ranks if losses.is_tolerant else None
        _ends.install(made._channel, _watch.start(made._channel, channels, lose))
        if _fault is None:
            return made
    raise SettingError(_fault)


def alone() -> Communicator:
    """This rank only."""
    global _self
    world()
    with _lock:
        if _self is None:
            _self = Communicator(MPI.COMM_SELF)
    return _self


_world_map.know_start(world)
