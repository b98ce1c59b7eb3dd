"""What the ranks tell each other about a checkpoint: JSON, through a communicator that no one else uses.

The calls do not block, so that they can be made in a thread behind the computation, and for however long the disks of
other ranks take: to wait for those is no deadlock.
"""

import errno
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .._communicator import Communicator
from .._errors import CheckpointError
from .._layout import format_ranks

_NAPS = 5e-5, 2e-3  # seconds between looks: at first, and at most

_WHAT_TO_DO = {
    errno.ENOSPC: "Make room, or use another path.",
    errno.EDQUOT: "Make room, or use another path.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f).",
    errno.EACCES: "Use a path that this job may read and write.",
    errno.EPERM: "Use a path that this job may read and write.",
    errno.EROFS: "Use a path that this job may read and write.",
    errno.ENAMETOOLONG: "Use a shorter path, or shorter names in the state.",
    errno.ENOENT: "The path must be on a file system that all ranks share.",
    errno.EIO: "The disk, or the way to it, does not work; use another path.",
}


def gather(comm: Communicator, mine: Any, tell: Callable[[int], None]) -> list[Any]:
    """What every rank tells, on rank 0; nothing on the others."""
    came = _patiently(comm.igather(_packed(mine)), tell)
    return [] if came is None else _unpacked(came)


def share(comm: Communicator, mine: Any, tell: Callable[[int], None]) -> list[Any]:
    """What every rank tells, on every rank."""
    return _unpacked(_patiently(comm.iallgather(_packed(mine)), tell))


def spread(comm: Communicator, mine: Any, tell: Callable[[int], None]) -> Any:
    """What rank 0 tells, on every rank."""
    return _unpacked(_patiently(comm.ibcast(_packed(mine) if comm.rank == 0 else None), tell))[0]


def _patiently(request: Any, tell: Callable[[int], None]) -> Any:
    nap, longest = _NAPS
    while True:
        is_done, result = request.test()
        if is_done:
            return result
        time.sleep(nap)
        nap = min(2 * nap, longest)
        tell(0)


def _packed(told: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(told).encode() + b"\n", np.uint8)


def _unpacked(data: np.ndarray) -> list[Any]:
    return [json.loads(line) for line in data.tobytes().splitlines()]


def fault_of(error: Exception | None) -> list | None:
    """An error as a rank tells it."""
    if error is None:
        return None
    text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return [getattr(error, "errno", None), text.rstrip(".")]


def raise_if_any(function: str, faults: list[list | None], size: int, otherwise: str) -> None:
    """Raise the same error on all ranks, if some have told one; `otherwise`: what to do if that does not say.

    `faults` are those of the first ranks; the others have none.
    """
    ranks = [rank for rank, fault in enumerate(faults) if fault is not None]
    if ranks:
        number, text = faults[ranks[0]]  # type: ignore[misc]
        what = _WHAT_TO_DO.get(number, otherwise)
        error = CheckpointError(f"{function}: {text} (on {format_ranks(ranks)} of {size}). {what}".rstrip())
        error.errno = number
        raise error
