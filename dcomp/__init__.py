"""SPMD collectives on NumPy arrays, on top of any MPI, that cannot be called wrong silently.

>>> import dcomp as dc
>>> total = dc.allreduce(dc.rank)        # every rank: 0 + 1 + ... + (dc.size - 1)

``import dcomp`` starts neither MPI nor numba; the first use of a name that needs them does.
"""

# How it is laid out. Left may import right only (import-linter checks it):
#
#   __main__ -> _doctor _tune _sbatch -> _checkpoint
#     -> random linalg fft _sums _sorting _statistics -> _conjugate -> _csr _dense _axes -> _whole _keys
#     -> _functions _arrays _recovery -> _world -> _communicator _ends -> _njit _shared_arrays
#     -> _direct _quick _quick_messages _world_map
#     -> _collectives _nonblocking _persistent _point_to_point _objects _halo _entries _stream _stopping
#     -> _layers _exchanges
#     -> engine (known_requests, inline, hierarchy, known, plans, neighbours, rounds, receives, mail, requests,
#        progress, shared, agreement, mpi, messages, pieces, operations, waiting, recovery, channel, losses, meeting,
#        segment)
#     -> _calls _explain _watch _draws -> _link -> _checks _buffers _guard -> _ops _census
#     -> _settings _report _launch _threads -> _shm -> _table _layout _ghosts _mpirun _restarts kernels -> _errors
#
#   _checkpoint      the state of a program on the disk, whole or not at all
#   random           random numbers of one global stream; _stream: who takes what of it; _draws: what is asked for
#   _sorting         sort, argsort, unique of arrays that are distributed along their first axis
#   _statistics      histogram, quantile, median of distributed arrays; _whole: what both need of the ranks
#   _keys            numbers as unsigned integers in the same order
#   _sums            sums, dot products and norms of whole distributed arrays
#   fft              Fourier transforms; _axes: arrays cut along another axis
#   linalg           sparse matrices (_csr), conjugate gradients (_conjugate), dense matrices (_dense); _entries:
#                    entries of vectors, brought to the ranks that need them
#   _functions       the public functions; an omitted comm means COMM_WORLD
#   _recovery        to lose ranks and go on
#   _arrays          arrays in the memory that the ranks of a node share
#   _world           COMM_WORLD and COMM_SELF; their first use starts everything
#   _world_map       the settings of the job, and which ranks share a node
#   _communicator    who takes part: split, node, cart
#   _shared_arrays   arrays that every rank of a node reads and writes
#   _njit            the collectives in code that numba compiles
#   _collectives ... signatures and docstrings, one short def per call
#   _stopping        whether the job is to stop: signals, and the end of its time
#   _halo            ghost layers: _ghosts tells whose they are, _layers moves them in and out of a buffer
#   _exchanges       between neighbours, made again and again: what _halo and _entries have in common
#   _direct          the collectives without checks, straight to MPI
#   _quick           the collectives of ranks that share a node, made before: one compiled call
#   _quick_messages  messages between such ranks
#   engine           how a call is carried out; the only place that calls MPI's communication
#   _calls           one rank's call, its arguments checked by themselves
#   _checks          what a rank says of its call, and the verdict on what all said; pure
#   _explain         from a bad verdict to a message
#   _ops, _table     one row per reduction; one row per collective
#   _watch, _link    what a rank tells of itself, and its connection to the guard
#   _guard, _census  the process beside the ranks: who waits for whom, who has died; _report words it
#   _ends            how a job ends
#   _threads         the CPUs of a node shared out among its ranks
#   _launch          starting MPI, and telling a wrong start; _mpirun, _doctor, _sbatch and __main__: the command line;
#                    _restarts: jobs that are started again
#   _shm             what dead jobs have left in /dev/shm, and too little room there
#   kernels          compiled loops; they know nothing of MPI

import sys
import types
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._errors import (
    CheckpointError,
    CollectiveMismatchError,
    DcompError,
    DeadlockError,
    LaunchError,
    RankFailedError,
    SettingError,
    ShapeMismatchError,
    UsageError,
)
from ._ops import BAND, BOR, BXOR, LAND, LOR, LXOR, MAX, MAXLOC, MIN, MINLOC, PROD, SUM, Op

if TYPE_CHECKING:
    from . import fft, linalg, random
    from ._arrays import empty, empty_like, zeros
    from ._axes import redistribute
    from ._checkpoint.checkpoint import Checkpoint
    from ._checkpoint.values import Cut, Replicated
    from ._communicator import CartComm, Communicator
    from ._functions import (
        ANY_SOURCE,
        ANY_TAG,
        Envelope,
        Plan,
        Request,
        allgather,
        allgather_init,
        allgather_object,
        allreduce,
        allreduce_init,
        alltoall,
        alltoall_init,
        barrier,
        barrier_init,
        bcast,
        bcast_init,
        bcast_object,
        block,
        exchange,
        exscan,
        exscan_init,
        gather,
        gather_init,
        gather_object,
        iallgather,
        iallreduce,
        ialltoall,
        ibarrier,
        ibcast,
        iexscan,
        igather,
        irecv,
        ireduce,
        ireduce_scatter,
        iscan,
        iscatter,
        isend,
        probe,
        recv,
        recv_object,
        reduce,
        reduce_init,
        reduce_scatter,
        reduce_scatter_init,
        scan,
        scan_init,
        scatter,
        scatter_init,
        scatter_object,
        send,
        send_object,
        sendrecv,
        stop_requested,
        time_left,
        wait_all,
    )
    from ._jit import jit
    from ._recovery import recover
    from ._sorting import argsort, sort, unique
    from ._statistics import histogram, median, quantile
    from ._sums import dot, norm, sum

    COMM_WORLD: Communicator
    COMM_SELF: Communicator
    rank: int
    size: int

__version__ = "0.1.0"

#: The exit status of a program that has stopped early and is to be started again: EX_TEMPFAIL of sysexits.h.
STOPPED = 75

#: The names that need MPI, and the modules that have them.
_LAZY = {
    **dict.fromkeys(("Communicator", "CartComm"), "._communicator"),
    **dict.fromkeys(("empty", "zeros", "empty_like"), "._arrays"),
    **dict.fromkeys(("sort", "argsort", "unique"), "._sorting"),
    **dict.fromkeys(("histogram", "quantile", "median"), "._statistics"),
    **dict.fromkeys(("sum", "dot", "norm"), "._sums"),
    "redistribute": "._axes",
    "Checkpoint": "._checkpoint.checkpoint",
    **dict.fromkeys(("Cut", "Replicated"), "._checkpoint.values"),
    "recover": "._recovery",
    **dict.fromkeys(
        (
            "block",
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
            "ibarrier",
            "ibcast",
            "iscatter",
            "igather",
            "iallgather",
            "ialltoall",
            "ireduce",
            "iallreduce",
            "ireduce_scatter",
            "iscan",
            "iexscan",
            "barrier_init",
            "bcast_init",
            "scatter_init",
            "gather_init",
            "allgather_init",
            "alltoall_init",
            "reduce_init",
            "allreduce_init",
            "reduce_scatter_init",
            "scan_init",
            "exscan_init",
            "send",
            "isend",
            "recv",
            "irecv",
            "sendrecv",
            "probe",
            "exchange",
            "send_object",
            "recv_object",
            "bcast_object",
            "scatter_object",
            "gather_object",
            "allgather_object",
            "wait_all",
            "stop_requested",
            "time_left",
            "ANY_SOURCE",
            "ANY_TAG",
            "Envelope",
            "Plan",
            "Request",
        ),
        "._functions",
    ),
}

__all__ = [
    "COMM_SELF",
    "COMM_WORLD",
    *("rank", "size", "STOPPED"),
    *("CheckpointError", "CollectiveMismatchError", "DcompError", "DeadlockError", "LaunchError", "RankFailedError"),
    *("SettingError", "ShapeMismatchError", "UsageError"),
    *("BAND", "BOR", "BXOR", "LAND", "LOR", "LXOR", "MAX", "MAXLOC", "MIN", "MINLOC", "PROD", "SUM", "Op"),
    *("fft", "jit", "linalg", "random"),
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    """Names that need MPI: the first use of one starts it."""
    if name in ("rank", "size"):
        return getattr(_world_module().world(), name)
    if name == "COMM_WORLD":
        value = _world_module().world()
    elif name == "COMM_SELF":
        value = _world_module().alone()
    elif name == "jit":  # which needs numba, but not MPI
        value = import_module("._jit", __name__).jit
    elif name == "random":  # the same
        value = import_module(".random", __name__)
    elif name in ("linalg", "fft"):  # which need both
        value = import_module(f".{name}", __name__)
    elif name in _LAZY:
        _world_module()
        value = getattr(import_module(_LAZY[name], __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


class _Package(types.ModuleType):
    """`dcomp`, which numba takes for no module: their numbers are constants to it."""

    @property
    def _numba_type_(self) -> Any:
        """What numba asks objects that it does not know for."""
        return import_module("._njit", __name__).type_of("package")

    def __reduce__(self) -> tuple:
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)


def _world_module() -> Any:
    """The module of COMM_WORLD; MPI is loaded, and the way of the launch checked, before it is."""
    from ._launch import load_mpi

    load_mpi()
    return import_module("._world", __name__)
