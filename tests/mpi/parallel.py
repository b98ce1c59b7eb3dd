"""Assertions that hold on all ranks or fail on all ranks.

Ranks meet on a duplicate of COMM_WORLD of mpi4py's, apart from everything that is under test. A meeting is in
the middle of a test (`together`) or at its end (`end_of_test`); a rank that has already failed waits at the
end, where those in the middle learn of it, so that no one waits for a rank that has gone elsewhere.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from mpi4py import MPI

_MIDDLE, _MIDDLE_FAILED, _END, _END_FAILED = range(4)
failures = 0  # tests that have failed, the same number on every rank
_LONGEST = 6000  # characters of a rank's report that others print


@cache
def _comm() -> MPI.Intracomm:
    return MPI.COMM_WORLD.Dup()


def _meet(state: int, text: str) -> tuple[list[int], str | None]:
    """Every rank's state, and what the failed ranks tell."""
    mine, states = np.array([state], np.int8), np.empty(_comm().size, np.int8)
    _comm().Allgather(mine, states)
    failed = [rank for rank, one in enumerate(states) if one in (_MIDDLE_FAILED, _END_FAILED)]
    if not failed:
        return states.tolist(), None
    texts = _comm().allgather(text[-_LONGEST:])
    told: dict[str, list[int]] = {}
    for rank in failed:
        told.setdefault(texts[rank], []).append(rank)
    parts = [f"failed on rank{'s' * (len(ranks) > 1)} {ranks} of {_comm().size}:\n{one}" for one, ranks in told.items()]
    return states.tolist(), "\n".join(parts)


@contextmanager
def together() -> Iterator[None]:
    """A block after which all ranks go on, or all fail with the same error, which names those where it failed."""
    __tracebackhide__ = True
    text = None
    try:
        yield
    except (Exception, pytest.fail.Exception):
        text = traceback.format_exc()
    states, told = _meet(_MIDDLE if text is None else _MIDDLE_FAILED, text or "")
    if told is None and _END in states:
        told = f"ranks out of step: {[rank for rank, one in enumerate(states) if one == _END]} have ended the test"
    if told is not None:
        error = AssertionError(told)
        try:
            raise error
        finally:
            error.__context__ = None  # hypothesis tells failures apart by it, and it differs between ranks


@contextmanager
def all_raise(error: type | tuple[type, ...], match: str) -> Iterator[pytest.ExceptionInfo]:
    """A block that raises, on this rank, this error; all ranks go on or all fail, so another call may follow."""
    with together():
        with pytest.raises(error, match=match) as caught:
            yield caught


def end_of_test(error: str | None) -> str | None:
    """Meet at the end of a test; what failed on any rank, else None."""
    global failures
    while True:
        states, told = _meet(_END if error is None else _END_FAILED, error or "")
        if not {_MIDDLE, _MIDDLE_FAILED} & set(states):
            failures += told is not None
            return told


def is_same_everywhere(text: str) -> bool:
    """Whether all ranks pass the same text."""
    return len(set(_comm().allgather(text))) == 1
