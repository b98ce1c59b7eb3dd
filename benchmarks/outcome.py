"""What a run of a published benchmark (`npb`, `prk`) has to say, how it is timed, and how it is reported."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from machine import describe_job

import dcomp as dc


@dataclass(frozen=True)
class Outcome:
    """What a run has to say.

    Attributes
    ----------
    seconds     Of the part that the specification has timed; the greatest over the ranks.
    operations     As the specification counts them, over all ranks.
    is_verified     Whether the results are those that the specification gives.
    detail     The values that were compared, for the reader of a failure.
    """

    seconds: float
    operations: float
    is_verified: bool
    detail: str

    @property
    def mops(self) -> float:
        """Millions of operations per second, of all ranks together."""
        return self.operations / self.seconds / 1e6


class Stopwatch:
    """Time from a meeting of all ranks until the last of them is done.

    ::

        watch = Stopwatch(comm)  # all start together
        ...
        seconds = watch.stop()
    """

    def __init__(self, comm: dc.Communicator):
        self._comm = comm
        comm.barrier()
        self._start = time.perf_counter()

    def stop(self) -> float:
        """Seconds until now, the greatest over the ranks; collective."""
        return float(self._comm.allreduce(time.perf_counter() - self._start, dc.MAX))


def timed(comm: dc.Communicator, step: Callable[[], object], iterations: int) -> float:
    """Seconds that so many steps take, after one that does not count; the greatest over the ranks."""
    step()
    watch = Stopwatch(comm)
    for _ in range(iterations):
        step()
    return watch.stop()


def agrees(value: float, reference: float, tolerance: float) -> bool:
    """Whether a value is the reference's but for a relative error."""
    return bool(abs(value - reference) <= tolerance * abs(reference))  # a NaN is not


def report(title: str, facts: dict, rate: str, unit: str, outcomes: Sequence[Outcome], output: str | None) -> bool:
    """Print a line of what some rounds gave, and add it to the results, on rank 0; whether all are verified.

    `rate` is what the results call the median of the rates, which are in `unit`.
    """
    is_verified = all(outcome.is_verified for outcome in outcomes)
    if dc.rank != 0:
        return is_verified
    middle = statistics.median(outcome.mops for outcome in outcomes)
    best = max(outcome.mops for outcome in outcomes)
    seconds = statistics.median(outcome.seconds for outcome in outcomes)
    verdict = "verified" if is_verified else f"NOT VERIFIED: {outcomes[-1].detail}"
    print(
        f"{title}, {dc.size} ranks: {middle:10.1f} {unit} (best {best:.1f}) in {seconds:.3f} s, {verdict}", flush=True
    )
    if output:
        measured = {rate: middle, "best": best, "seconds": seconds, "verified": is_verified}
        with open(output, "a") as file:
            file.write(json.dumps({**describe_job(), **facts, "ranks": dc.size, **measured}) + "\n")
    return is_verified
