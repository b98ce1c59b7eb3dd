"""Where the ranks run, and how far apart their cores are at this moment.

Virtual machines move: the same two virtual cores share a cache for a while ("near") and then do not
("far"), and a collective's time changes several-fold with it. A flag barrier between two ranks, one
cache line each in a shared window, tells the two apart in a fraction of a millisecond, so every timed
batch has a probe before and after it.
"""

import os
import statistics
import time
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from mpi4py import MPI
from numba import njit, types
from numba.extending import intrinsic

#: Nanoseconds of one flag barrier. Near and far lie at 30-70 and 180-250 on the machines seen so far;
#: what lies between is a change under way, and what lies above is a core taken away by other work.
NEAR_BELOW = 100.0
FAR_FROM = 140.0
FAR_BELOW = 1000.0

SEGMENTS = 9  # the median of these is the probe's answer, so one interrupt does not spoil it
BARRIERS = 300  # flag barriers in a segment
LINE = 16  # int64 between two flags: two cache lines, because processors prefetch lines in pairs
PATIENCE = 10_000_000_000  # loads before a wait gives up: some seconds, so a dead peer cannot hang the run


@intrinsic
def _load_acquire(typingctx, array, index):
    """`array[index]`, read anew each time: a plain load may be hoisted out of the waiting loop."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), ordering="acquire", align=8, typ=ir.IntType(64))

    return types.int64(array, types.intp), codegen


@intrinsic
def _store_release(typingctx, array, index, value):
    """`array[index] = value`, visible to the other process in program order."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store_atomic(args[2], builder.gep(data, [args[1]]), ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@njit
def _flag_barriers(flags, mine, other, epoch, repeat, patience):
    """Meet the other rank `repeat` times; returns the last epoch, or -1 if the other never came."""
    for _ in range(repeat):
        epoch += 1
        _store_release(flags, mine, epoch)
        waited = 0
        while _load_acquire(flags, other) < epoch:
            waited += 1
            if waited > patience:
                return -1
    return epoch


@dataclass(frozen=True)
class Placement:
    """How the ranks sit on the cores of this machine."""

    cores: int  # that the ranks of this node may use together
    pinned: bool  # each rank has a core of its own and stays there
    problem: str | None  # why there are no near and far states, or None


def pin(comm: MPI.Comm) -> Placement:
    """Give every rank a core of its own where that is possible; collective."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    try:
        several_nodes = comm.allreduce(node.size, MPI.MIN) < comm.size
        if not hasattr(os, "sched_setaffinity"):
            return Placement(os.cpu_count() or 1, False, "this system cannot pin processes")
        allowed = node.allgather(os.sched_getaffinity(0))
        cores = sorted(set().union(*allowed))
        if node.size > len(cores):
            return Placement(len(cores), False, f"oversubscribed: {node.size} ranks on {len(cores)} cores")
        if any(len(one) > 1 for one in allowed):  # the launcher did not do it
            os.sched_setaffinity(0, {cores[node.rank]})
        problem = "several nodes" if several_nodes else "one rank" if comm.size == 1 else None
        return Placement(len(cores), True, problem)
    finally:
        node.Free()


class Probe:
    """Flag barriers between ranks 0 and 1; the other ranks wait in a barrier of MPI meanwhile."""

    def __init__(self, comm: MPI.Comm, placement: Placement):
        self.comm = comm
        self.problem = placement.problem
        self._epoch = 0
        if self.problem:
            return
        self._window = MPI.Win.Allocate_shared(2 * LINE * 8 if comm.rank == 0 else 0, 8, comm=comm)
        self._flags = np.frombuffer(self._window.Shared_query(0)[0], dtype=np.int64, count=2 * LINE)
        if comm.rank == 0:
            self._flags[:] = 0
        _flag_barriers(self._flags, 0, LINE, 0, 0, PATIENCE)  # compiles, before anyone waits

    def nanoseconds(self) -> float:
        """The time of one flag barrier, the same number on every rank; collective."""
        if self.problem:
            return float("nan")
        self.comm.Barrier()
        if self.comm.rank < 2:
            answer = self._measure()
        else:
            answer = 0.0
        return self.comm.bcast(answer)

    def _measure(self) -> float:
        mine, other = LINE * self.comm.rank, LINE * (1 - self.comm.rank)
        times = []
        for _ in range(SEGMENTS):
            start = time.perf_counter()
            self._epoch = _flag_barriers(self._flags, mine, other, self._epoch, BARRIERS, PATIENCE)
            times.append((time.perf_counter() - start) / BARRIERS * 1e9)
            if self._epoch < 0:
                raise RuntimeError(f"probe: rank {1 - self.comm.rank} did not come to the flag barrier")
        return statistics.median(times)

    def state(self, nanoseconds: float) -> str | None:
        """The name of the state that a probe found; None if it is no steady state."""
        if self.problem:
            return self.problem.split(":")[0]
        if nanoseconds < NEAR_BELOW:
            return "near"
        if FAR_FROM <= nanoseconds < FAR_BELOW:
            return "far"
        return None

    def free(self) -> None:
        """Release the window; collective."""
        if not self.problem:
            self._flags = None
            self._window.Free()
