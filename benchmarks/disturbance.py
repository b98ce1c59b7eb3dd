"""How much of a time a rank was without its core, because another program had it."""

import time
from pathlib import Path

MAX_LOST = 0.03  # of a batch's time may a rank have been without its core

_SCHEDULER = Path("/proc/thread-self/schedstat")


def _waited() -> float | None:
    """Seconds for which this thread could have run but had no core; None where the system does not say."""
    try:
        return int(_SCHEDULER.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


class Watch:
    """Watches one rank from its making on."""

    def __init__(self) -> None:
        self._waited = _waited()
        self._ran = time.process_time()
        self._begin = time.perf_counter()

    def lost(self) -> float:
        """The part of the time, from 0 to 1, that was lost to others.

        The scheduler knows it. Where it does not say, all time in which the process did not run counts, also that in
        which it slept of its own accord, as a rank does that waits long in a plan of dcomp.
        """
        passed = time.perf_counter() - self._begin
        waited = _waited()
        if self._waited is None or waited is None:
            return 1.0 - (time.process_time() - self._ran) / passed
        return (waited - self._waited) / passed
