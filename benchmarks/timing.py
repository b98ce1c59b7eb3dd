"""Timing contenders against each other: alternately, in batches, with a probe around every batch."""

import gc
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from batches import Batches
from disturbance import MAX_LOST, Watch
from mpi4py import MPI

if TYPE_CHECKING:  # numba comes with it, which the many processes of peers.py can do without
    from probe import Probe

Call = Callable[[], object]

BATCH_SECONDS = 2e-3  # long against a barrier's skew, short against the time between near and far
MIN_ROUNDS = 7
MAX_ROUNDS = 400


class Timer:
    """Times batches of calls on all ranks together.

    Calls start from the barrier of `comm`, and from `meet` after it where that is given: the ranks leave an MPI's
    barrier at different times, and the difference is another one in each MPI.
    """

    def __init__(self, comm: MPI.Comm, cores_are_ours: bool, meet: Call | None = None):
        self.comm = comm
        self.cores_are_ours = cores_are_ours
        self._gather = _both(comm.Barrier, meet) if meet else comm.Barrier
        self.overhead = 0.0  # of the clock and of an empty call
        self._mine = np.empty(2)
        self._worst = np.empty(2)
        self.overhead = min(self.run_batch(_nothing, 1000)[0] for _ in range(9))

    def run_batch(self, call: Call, calls: int, rewrite: Call | None = None) -> tuple[float, bool]:
        """Seconds per call, the greatest over the ranks, and whether the batch was disturbed; collective.

        `rewrite` is done before every call, outside the timing.

        Every call starts from a barrier, outside the timing: else the sender of a rooted collective runs
        ahead of the receivers, and what is timed is how an MPI copes with a queue of early messages.
        A tenth of the calls is made before the clock starts, and one at least: they find the caches as
        another contender left them. Where every rank has a core of its own, time for which a rank had to wait
        for it was taken by some other program, and the batch is disturbed.
        """
        clock = time.perf_counter
        barrier = _both(rewrite, self._gather) if rewrite else self._gather
        for _ in range(1 + calls // 10):
            barrier()
            call()
        elapsed = 0.0
        watch = Watch()
        for _ in range(calls):
            barrier()
            start = clock()
            call()
            elapsed += clock() - start
        self._mine[:] = elapsed, watch.lost()
        self.comm.Allreduce(self._mine, self._worst, op=MPI.MAX)
        seconds, lost = self._worst
        return float(seconds) / calls - self.overhead, self.cores_are_ours and lost > MAX_LOST

    def calls_per_batch(self, calls: Mapping[str, Call]) -> int:
        """How many calls make a batch. One number for all contenders and ranks, chosen for the slowest
        contender: in a longer batch the first calls, which find cold caches, would weigh less."""
        return min(self._calls_per_batch(call) for call in calls.values())

    def _calls_per_batch(self, call: Call) -> int:
        number = 1
        while True:
            seconds = min(self._batch_seconds(call, number) for _ in range(3))
            if seconds >= BATCH_SECONDS / 4:
                return max(1, round(number * BATCH_SECONDS / seconds))
            number *= 4

    def _batch_seconds(self, call: Call, number: int) -> float:
        begin = time.perf_counter()
        self.run_batch(call, number)
        return self.comm.allreduce(time.perf_counter() - begin, op=MPI.MAX)


def _nothing() -> None:
    pass


def _both(first: Call, second: Call) -> Call:
    def call():
        first()
        second()

    return call


def measure(timer: Timer, probe: "Probe", calls: Mapping[str, Call], min_time: float) -> dict[str, Batches]:
    """Time all contenders in turn, every round in another order, for `min_time` seconds or longer.

    A batch whose two probes disagree, or that was disturbed, is dropped, so rounds go on until `MIN_ROUNDS` of
    them are complete in one state, but not beyond four times `min_time`.
    """
    names = list(calls)
    shuffle = random.Random(0)  # the same order on all ranks; any fixed one gives a contender the same predecessor
    gc.collect()
    gc.disable()
    try:
        number = timer.calls_per_batch(calls)
        result = {name: Batches(number) for name in names}
        begin = time.perf_counter()
        for _ in range(MAX_ROUNDS):
            before = probe.nanoseconds()
            shuffle.shuffle(names)
            for name in names:
                seconds, disturbed = timer.run_batch(calls[name], number)
                after = probe.nanoseconds()
                state = probe.state(before)
                steady = state == probe.state(after) and not disturbed
                result[name].seconds.append(seconds)
                result[name].states.append(state if steady else None)
                result[name].probes.append(after)
                before = after
            # rank 0's clock decides: all ranks must leave in the same round
            if timer.comm.bcast(_is_enough(result, time.perf_counter() - begin, min_time)):
                break
    finally:
        gc.enable()
    return result


def _is_enough(result: Mapping[str, Batches], elapsed: float, min_time: float) -> bool:
    rounds = zip(*(batches.states for batches in result.values()))
    complete = sum(len(set(states)) == 1 and states[0] is not None for states in rounds)
    return elapsed >= min_time and (complete >= MIN_ROUNDS or elapsed >= 4 * min_time)
