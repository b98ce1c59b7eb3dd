"""How the Parallel Research Kernels are timed, and what they have in common with the NAS Parallel Benchmarks."""

import sys
from collections.abc import Callable
from pathlib import Path

import dcomp as dc

sys.path.append(str(Path(__file__).parents[1] / "npb"))
from outcome import Outcome, Stopwatch, agrees

__all__ = ["Outcome", "agrees", "timed"]


def timed(comm: dc.Communicator, step: Callable[[], object], iterations: int) -> float:
    """Seconds that so many steps take, after one that does not count; the greatest over the ranks."""
    step()
    watch = Stopwatch(comm)
    for _ in range(iterations):
        step()
    return watch.stop()
