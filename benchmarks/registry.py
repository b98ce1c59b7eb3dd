"""One row per collective: its arrays, and how every contender carries it out.

A further contender (a tuned MPI through mpi4py, numba-mpi, a C reference) is a module of functions like
`contender_mpi4py`, a column here, and an entry in `CONTENDERS` that says which communicator it is given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cases
import contender_dcomp as with_dcomp
import contender_mpi4py as with_mpi4py
import numpy as np
from cases import Case
from mpi4py import MPI

import dcomp as dc

Call = Callable[[], object]
Prepare = Callable[[object, Case], Call | None]  # None: this contender has no such call

#: The contender that all others are compared with.
BASELINE = "mpi4py"

#: The contender that is the unit of what checking may cost.
UNIT = "exchange"

#: Contenders measured unless others are asked for.
DEFAULT_CONTENDERS = ("dcomp", "mpi4py", "copyto", "exchange")


@dataclass(frozen=True)
class Row:
    """A collective in the benchmark."""

    name: str
    arrays: Callable[[int, int, int], Case]  # (rank, ranks, size in bytes)
    calls: Mapping[str, Prepare]  # contender -> its call
    blockwise: bool = False  # the largest array is `ranks` messages long

    @property
    def sized(self) -> bool:
        """Whether the size of a message means anything."""
        return self.name != "barrier"


def copyto(comm: None, case: Case) -> Call:
    """One copy of the result: what any collective costs at least. Ranks without a result do nothing."""
    out, expected = case.out, case.expected

    def call():
        np.copyto(out, expected)

    def nothing():
        pass

    return nothing if out is None else call


def exchange(comm: MPI.Comm, case: Case) -> Call:
    """One small exchange, the unit in which a checked call may exceed mpi4py's: 16 integers."""
    sent = np.arange(16, dtype=np.int64)
    received = np.empty_like(sent)

    def call():
        comm.Allreduce(sent, received, op=MPI.MIN)

    return call


REGISTRY = (
    Row(
        "barrier",
        cases.barrier,
        {"dcomp": with_dcomp.barrier, "mpi4py": with_mpi4py.barrier, "exchange": exchange},
    ),
    Row(
        "bcast",
        cases.bcast,
        {
            "dcomp": with_dcomp.bcast,
            "dcomp_inferred": with_dcomp.bcast_inferred,
            "mpi4py": with_mpi4py.bcast,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
    Row(
        "scatter",
        cases.scatter,
        {
            "dcomp": with_dcomp.scatter,
            "dcomp_inferred": with_dcomp.scatter_inferred,
            "mpi4py": with_mpi4py.scatter,
            "mpi4py_v": with_mpi4py.scatter_v,
            "copyto": copyto,
            "exchange": exchange,
        },
        blockwise=True,
    ),
    Row(
        "gather",
        cases.gather,
        {
            "dcomp": with_dcomp.gather,
            "dcomp_inferred": with_dcomp.gather_inferred,
            "mpi4py": with_mpi4py.gather,
            "mpi4py_v": with_mpi4py.gather_v,
            "copyto": copyto,
            "exchange": exchange,
        },
        blockwise=True,
    ),
    Row(
        "allgather",
        cases.allgather,
        {
            "dcomp": with_dcomp.allgather,
            "dcomp_inferred": with_dcomp.allgather_inferred,
            "mpi4py": with_mpi4py.allgather,
            "mpi4py_v": with_mpi4py.allgather_v,
            "copyto": copyto,
            "exchange": exchange,
        },
        blockwise=True,
    ),
    Row(
        "alltoall",
        cases.alltoall,
        {
            "dcomp": with_dcomp.alltoall,
            "dcomp_inferred": with_dcomp.alltoall_inferred,
            "mpi4py": with_mpi4py.alltoall,
            "mpi4py_v": with_mpi4py.alltoall_v,
            "copyto": copyto,
            "exchange": exchange,
        },
        blockwise=True,
    ),
    Row(
        "reduce",
        cases.reduce,
        {
            "dcomp": with_dcomp.reduce,
            "dcomp_inferred": with_dcomp.reduce_inferred,
            "mpi4py": with_mpi4py.reduce,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
    Row(
        "allreduce",
        cases.allreduce,
        {
            "dcomp": with_dcomp.allreduce,
            "dcomp_inferred": with_dcomp.allreduce_inferred,
            "mpi4py": with_mpi4py.allreduce,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
    Row(
        "reduce_scatter",
        cases.reduce_scatter,
        {
            "dcomp": with_dcomp.reduce_scatter,
            "dcomp_inferred": with_dcomp.reduce_scatter_inferred,
            "mpi4py": with_mpi4py.reduce_scatter,
            "mpi4py_block": with_mpi4py.reduce_scatter_block,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
    Row(
        "scan",
        cases.scan,
        {
            "dcomp": with_dcomp.scan,
            "dcomp_inferred": with_dcomp.scan_inferred,
            "mpi4py": with_mpi4py.scan,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
    Row(
        "exscan",
        cases.exscan,
        {
            "dcomp": with_dcomp.exscan,
            "dcomp_inferred": with_dcomp.exscan_inferred,
            "mpi4py": with_mpi4py.exscan,
            "copyto": copyto,
            "exchange": exchange,
        },
    ),
)
ROWS = {row.name: row for row in REGISTRY}


def open_contenders() -> dict[str, object]:
    """The communicator of every contender; collective. mpi4py's is a duplicate, so that no message of one
    contender is ever matched with another's."""
    plain = MPI.COMM_WORLD.Dup()
    world = dc.COMM_WORLD
    return {
        "dcomp": world,
        "dcomp_inferred": world,
        "mpi4py": plain,
        "mpi4py_v": plain,
        "mpi4py_block": plain,
        "copyto": None,
        "exchange": plain,
    }
