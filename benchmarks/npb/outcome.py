"""What a run of a benchmark has to say, and how it is timed."""

import time
from dataclasses import dataclass

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


def agrees(value: float, reference: float, tolerance: float) -> bool:
    """Whether a value is the reference's but for a relative error."""
    return bool(abs(value - reference) <= tolerance * abs(reference))  # a NaN is not
