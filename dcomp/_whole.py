"""What functions of whole distributed arrays have in common: they fail on every rank alike, and cut and join blocks."""

from collections.abc import Sequence

import numpy as np

from ._arrays import empty
from ._communicator import Communicator
from ._layout import block_slice


def agree(comm: Communicator, function: str, fault: Exception | None = None, /, **facts: object) -> None:
    """Go on if every rank's arguments are right, and their `facts` the same; else raise on every rank.

    `fault`: what this rank alone has found to be wrong. It is raised here, and the others are told of it.
    """
    if fault is not None or comm._channel.is_checked:
        agree_on_total(comm, function, 0, fault, **facts)


def agree_on_total(comm: Communicator, function: str, n: int, fault: Exception | None, /, **facts: object) -> int:
    """`agree`, and in the same exchange the sum of the ranks' n."""
    if fault is not None:
        comm._refuse(function, fault)
    told = "; ".join(f"{name.replace('_', ' ')}: {fact}" for name, fact in facts.items() if fact is not None)
    return int(comm._combine(np.array([n]), function, told)[0])


def exchange_blocks(comm: Communicator, x: np.ndarray, counts: np.ndarray, received: np.ndarray) -> np.ndarray:
    """All-to-all of consecutive rows of x, so many for each rank; what comes, in the order of the ranks."""
    out = empty((int(received.sum()), *x.shape[1:]), x.dtype)
    return comm.alltoall(x, send_counts=counts.tolist(), recv_counts=received.tolist(), out=out)


def balance(comm: Communicator, x: np.ndarray) -> np.ndarray:
    """The same rows in the same order, shared out over the ranks as `Communicator.block` does."""
    first = int(comm.exscan(len(x)))
    total = int(comm.allreduce(len(x)))
    counts = [overlap(block_slice(total, comm.size, rank), first, first + len(x)) for rank in range(comm.size)]
    return comm.alltoall(x, send_counts=counts)


def overlap(part: slice, start: int, end: int) -> int:
    """How much of ``start:end`` is in `part`."""
    return max(min(part.stop, end) - max(part.start, start), 0)


def nth_keys(
    comm: Communicator, keys: np.ndarray, starts: np.ndarray, ends: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The key at each place of the order of all ranks' keys, exactly, and how many keys are less.

    Parameters
    ----------
    keys : array of unsigned integers, shape (n,)
    starts, ends, places : arrays of int64, shape (k,)
        What is asked for at ``places[i]`` are the keys ``keys[starts[i]:ends[i]]`` of all ranks, which are in order on
        each. At a place behind all keys the greatest possible one is found.

    Notes
    -----
    From the leading bits on: with how many keys are less than each continuation of the bits that are known, all ranks
    find the next 8, or 4 if there are many places. An allreduce of 255 counts, or 15, for each place, every time.
    """
    from .kernels.sort import count_below

    found, below = np.zeros(len(places), keys.dtype), np.zeros(len(places), np.int64)
    bits = 8 if len(places) <= 16 else 4
    digits = np.arange(1, 2**bits).astype(keys.dtype)
    counts = np.empty((len(places), digits.size), np.int64)
    rows = np.arange(len(places))
    for shift in range(8 * keys.itemsize - bits, -1, -bits):
        trials = found[:, None] | (digits << keys.dtype.type(shift))
        count_below(counts, keys, starts, ends, trials)
        total = comm.allreduce(counts)
        digit = (total <= places[:, None]).sum(axis=1)
        below = np.where(digit > 0, total[rows, digit - 1], below)
        found |= digit.astype(keys.dtype) << keys.dtype.type(shift)
    return found, below


def cut_sorted(comm: Communicator, words: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Where to cut this rank's elements so that on all ranks together `places` elements are before the cuts.

    The elements are in the order of their words on each rank. All before a cut are less than or equal to all behind it;
    of equal ones those of the lower ranks are before it.
    """
    from .kernels.sort import count_below

    starts, ends = np.zeros(len(places), np.int64), np.full(len(places), len(words[0]), np.int64)
    for word in words:  # among the elements that are equal so far
        found, below = nth_keys(comm, word, starts, ends, places)
        places = places - below
        less, up_to = np.empty((2, len(places), 1), np.int64)
        count_below(less, word, starts, ends, found[:, None])
        top = found == ~word.dtype.type(0)
        count_below(up_to, word, starts, ends, (found + word.dtype.type(1))[:, None])
        starts, ends = starts + less[:, 0], np.where(top, ends, starts + up_to[:, 0])
    equal = ends - starts
    return starts + np.clip(places - comm.exscan(equal), 0, equal)
