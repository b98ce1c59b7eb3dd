"""The arrays of one collective at one size, and what the result must be.

`size` is counted as the OSU microbenchmarks count it: the bytes of the message. That is the whole array
in bcast, reduce, allreduce, reduce_scatter, scan and exscan, and the block that one rank sends to or gets
from one other in scatter, gather, allgather and alltoall, whose largest buffer is `ranks * size` bytes.
The values are small whole numbers in float64, so sums are exact in any order and can be compared with `==`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DTYPE = np.dtype(np.float64)
ROOT = 0


@dataclass
class Case:
    """One rank's arguments. All arrays were written before they are timed: no page faults in the timing."""

    rank: int
    ranks: int
    x: np.ndarray | None  # None where this rank sends nothing
    out: np.ndarray | None  # None where this rank gets nothing
    counts: tuple[int, ...] | None  # of the blocks of every rank
    expected: np.ndarray | None  # what `out` must hold; also what copyto copies
    blank: float = -1.0  # what `out` holds before a call is verified

    @property
    def is_root(self) -> bool:
        """Whether this rank is the root of a rooted collective."""
        return self.rank == ROOT

    def verify(self, call: Callable[[], object]) -> bool:
        """Make the call once; whether this rank's result is right."""
        if self.out is not None and self.out is not self.x:
            self.out.fill(self.blank)
        returned = call()
        result = self.out if returned is None else returned
        return self.expected is None or np.array_equal(result, self.expected)


PERIOD = 101  # of the values: a prime, so that no block of a collective looks like the next one


def values(rank: int, n: int, start: int = 0) -> np.ndarray:
    """Elements `start` to `start + n` of the array that `rank` passes: (7 i + 3 rank) mod PERIOD."""
    return total(range(rank, rank + 1), n, start)


def total(ranks: range, n: int, start: int = 0) -> np.ndarray:
    """The sum over `ranks` of their `values`. One period of it is repeated: twenty times as fast for large n."""
    i = np.arange(start, start + PERIOD, dtype=DTYPE)
    period = sum((np.mod(7.0 * i + 3.0 * rank, PERIOD) for rank in ranks), start=np.zeros(PERIOD, DTYPE))
    repeats = -(-n // PERIOD)
    return np.broadcast_to(period, (repeats, PERIOD)).reshape(-1)[:n].copy()


def elements(size: int) -> int:
    """How many elements make up a message of `size` bytes."""
    return max(1, size // DTYPE.itemsize)


def result_like(expected: np.ndarray) -> np.ndarray:
    """An array for the result, with its pages present."""
    return np.full_like(expected, -1.0)


def barrier(rank: int, ranks: int, size: int) -> Case:
    """No arrays."""
    return Case(rank, ranks, None, None, None, None)


def bcast(rank: int, ranks: int, size: int) -> Case:
    """The root's array goes to everyone; the root's result is its own array, in place."""
    expected = values(ROOT, elements(size))
    if rank == ROOT:
        x = expected.copy()
        return Case(rank, ranks, x, x, None, expected)
    return Case(rank, ranks, None, result_like(expected), None, expected)


def scatter(rank: int, ranks: int, size: int) -> Case:
    """Block r of the root's array goes to rank r."""
    n = elements(size)
    x = values(ROOT, ranks * n) if rank == ROOT else None
    expected = values(ROOT, n, start=rank * n)
    return Case(rank, ranks, x, result_like(expected), (n,) * ranks, expected)


def gather(rank: int, ranks: int, size: int) -> Case:
    """All blocks, joined on the root."""
    n = elements(size)
    if rank != ROOT:
        return Case(rank, ranks, values(rank, n), None, (n,) * ranks, None)
    expected = np.concatenate([values(source, n) for source in range(ranks)])
    return Case(rank, ranks, values(rank, n), result_like(expected), (n,) * ranks, expected)


def allgather(rank: int, ranks: int, size: int) -> Case:
    """All blocks, joined everywhere."""
    n = elements(size)
    expected = np.concatenate([values(source, n) for source in range(ranks)])
    return Case(rank, ranks, values(rank, n), result_like(expected), (n,) * ranks, expected)


def alltoall(rank: int, ranks: int, size: int) -> Case:
    """Block r of every rank's array goes to rank r."""
    n = elements(size)
    expected = np.concatenate([values(source, n, start=rank * n) for source in range(ranks)])
    return Case(rank, ranks, values(rank, ranks * n), result_like(expected), (n,) * ranks, expected)


def reduce(rank: int, ranks: int, size: int) -> Case:
    """The sum, on the root."""
    n = elements(size)
    if rank != ROOT:
        return Case(rank, ranks, values(rank, n), None, None, None)
    expected = total(range(ranks), n)
    return Case(rank, ranks, values(rank, n), result_like(expected), None, expected)


def allreduce(rank: int, ranks: int, size: int) -> Case:
    """The sum, everywhere."""
    n = elements(size)
    expected = total(range(ranks), n)
    return Case(rank, ranks, values(rank, n), result_like(expected), None, expected)


def reduce_scatter(rank: int, ranks: int, size: int) -> Case:
    """Block r of the sum on rank r. Every rank gets at least one element, also at 8 bytes."""
    n = max(elements(size), ranks)
    counts = tuple(n // ranks + (r < n % ranks) for r in range(ranks))
    expected = total(range(ranks), counts[rank], start=sum(counts[:rank]))
    return Case(rank, ranks, values(rank, n), result_like(expected), counts, expected)


def scan(rank: int, ranks: int, size: int) -> Case:
    """The sum over this rank and those before it."""
    n = elements(size)
    expected = total(range(rank + 1), n)
    return Case(rank, ranks, values(rank, n), result_like(expected), None, expected)


def exscan(rank: int, ranks: int, size: int) -> Case:
    """The sum over the ranks before this one. MPI leaves rank 0's result alone, so the zeros that
    dcomp promises are there beforehand."""
    n = elements(size)
    expected = total(range(rank), n)
    blank = 0.0 if rank == 0 else -1.0
    return Case(rank, ranks, values(rank, n), np.full_like(expected, blank), None, expected, blank)
