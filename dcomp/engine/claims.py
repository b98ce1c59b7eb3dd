"""How the ranks of several nodes compare their calls: by MPI, in one allreduce of all ranks' claims."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from .. import _checks


class Claims:
    """Finds the least of every entry of all ranks' claims; making one is collective over `sync`."""

    def __init__(self, sync: MPI.Intracomm) -> None:
        self._sync = sync
        self._prepare(np.empty(_checks.SIZE, np.int64), np.empty(_checks.SIZE, np.int64), MPI.INT64_T, MPI.MIN)

    def _prepare(self, mine: np.ndarray, agreed: np.ndarray, datatype: MPI.Datatype, operation: MPI.Op) -> None:
        self._mine, self._agreed = mine, agreed
        self._mine_view = memoryview(mine.view(np.uint8))[: _checks.BYTES]  # type: ignore[arg-type]
        self._arguments = [mine, datatype], [agreed, datatype], operation
        try:
            self._persistent: MPI.Prequest | None = self._sync.Allreduce_init(*self._arguments)
        except NotImplementedError:  # not every MPI has persistent collectives
            self._persistent = None

    def put(self, call: Any) -> None:
        """Have the next exchange take along what a blocking call gives, where that can be: see `joint`."""

    def share(self, route: Any) -> Any:
        """The route of a call whose data travels with the claims; None if it does not."""
        return None

    def begin(self, claim: bytes) -> Callable[[], Any]:
        """Tell a claim; what is returned is true when the verdict of all ranks is known."""
        self._mine_view[:] = claim
        if self._persistent is None:
            return self._sync.Iallreduce(*self._arguments).Test
        self._persistent.Start()
        return self._persistent.Test

    @property
    def verdict(self) -> bytes:
        """The verdict of the exchange that has ended."""
        return self._agreed[: _checks.SIZE].tobytes()

    def free(self) -> None:
        """Give back what MPI keeps; collective."""
        if self._persistent is not None:
            self._persistent.Free()
