"""IS, integer sort: the ranks of many small integer keys, ten times, after two of the keys have changed.

Source: kernel IS of RNR-94-007, classes of NAS-95-020 (see `lcg`): the keys stay where they are generated, and what is
timed is to find their ranks, not to move them there.

Fast because equal keys are counted in a table of all keys there can be, which is small enough for a cache, and the
tables of all ranks are added up by one `allreduce`. The sums of what is before each place are the ranks of all keys, on
every rank. The tables lie in memory that `dc.empty` gives, which the others read as it is. That suits as many ranks as
have several keys for each place of the table.
"""

from typing import NamedTuple

import lcg
import numpy as np
from outcome import Outcome, Stopwatch

import dcomp as dc

SEED = 314159265
ITERATIONS = 10


class Sample(NamedTuple):
    """A key whose rank is known: in iteration i it is ``rank + sign * (i - offset)``."""

    index: int
    rank: int
    sign: int
    offset: int = 0


CLASSES = {  # log2 of the number of keys, log2 of what they are less than, samples
    "S": (16, 11, [Sample(48427, 0, 1), Sample(17148, 18, 1), Sample(23627, 346, 1), Sample(62548, 64917, -1),
                   Sample(4431, 65463, -1)]),
    "W": (20, 16, [Sample(357773, 1249, 1, 2), Sample(934767, 11698, 1, 2), Sample(875723, 1039987, -1),
                   Sample(898999, 1043896, -1), Sample(404505, 1048018, -1)]),
    "A": (23, 19, [Sample(2112377, 104, 1, 1), Sample(662041, 17523, 1, 1), Sample(5336171, 123928, 1, 1),
                   Sample(3642833, 8288932, -1, 1), Sample(4250760, 8388264, -1, 1)]),
    "B": (25, 21, [Sample(41869, 33422937, -1), Sample(812306, 10244, 1), Sample(5102857, 59149, 1),
                   Sample(18232239, 33135281, -1), Sample(26860214, 99, 1)]),
}  # fmt: skip


def run(letter: str, comm: dc.Communicator) -> Outcome:
    """Solve the problem of a class, and compare."""
    log2_keys, log2_range, samples = CLASSES[letter]
    block = comm.block(1 << log2_keys)
    keys = make_keys(block, 1 << log2_range)
    counts = dc.empty(1 << log2_range, np.int32)
    samples = [sample for sample in samples if block.start <= sample.index < block.stop]

    def iterate(iteration: int) -> np.ndarray:
        change(keys, block, iteration, 1 << log2_range)
        return find_ranks(counts, keys, comm)

    iterate(1)  # compiles
    right = 0
    watch = Stopwatch(comm)
    for iteration in range(1, ITERATIONS + 1):
        ranks = iterate(iteration)
        for index, rank, sign, offset in samples:
            right += int(ranks[keys[index - block.start]] == rank + sign * (iteration - offset))
    seconds = watch.stop()
    right = int(comm.allreduce(right))
    is_sorted = sorts(ranks, counts, keys, comm)
    operations = ITERATIONS * (1 << log2_keys)
    return Outcome(
        seconds,
        operations,
        right == 5 * ITERATIONS and is_sorted,
        f"{right} of {5 * ITERATIONS} ranks are right, and {'all' if is_sorted else 'not all'} keys are in order",
    )


def make_keys(block: slice, limit: int) -> np.ndarray:
    """This rank's part of the sequence: a quarter of the limit times the sum of four random numbers each, cut off."""
    uniform = np.empty(4 * (block.stop - block.start))
    lcg.fill(uniform, lcg.advanced(SEED, 4 * block.start))
    return (uniform.reshape(-1, 4).sum(axis=1) * (limit // 4)).astype(np.int32)  # sums are exact in any order


def change(keys: np.ndarray, block: slice, iteration: int, limit: int) -> None:
    """The two changes of an iteration, by whose keys they are."""
    for index, key in ((iteration, iteration), (iteration + ITERATIONS, limit - iteration)):
        if block.start <= index < block.stop:
            keys[index - block.start] = key


def find_ranks(counts: np.ndarray, keys: np.ndarray, comm: dc.Communicator) -> np.ndarray:
    """The rank of every key there can be: how many keys of all ranks are less; and this rank's counts of them."""
    count(counts, keys)
    ranks = comm.allreduce(counts)
    sum_before(ranks)
    return ranks


@dc.jit
def count(counts, keys):
    """How often each key is there. Cost: each key is read once, and a place of the table read and written."""
    counts[:] = 0
    for i in range(keys.size):
        counts[np.uint64(keys[i])] += np.int32(1)  # unsigned: not looked at for being negative


@dc.jit
def sum_before(counts):
    """The sum of all elements before each, in its place."""
    total = np.int32(0)
    for i in range(counts.size):
        counts[i], total = total, total + counts[i]


# The full verification: keys are moved to their ranks, and must be in order there


def sorts(ranks: np.ndarray, counts: np.ndarray, keys: np.ndarray, comm: dc.Communicator) -> bool:
    """Whether the keys are in order, and none is missing, when each is where its rank tells; collective."""
    before = comm.exscan(counts)  # equal keys of lower ranks come first
    here, places = np.empty_like(keys), np.empty_like(keys)
    sum_before(counts)
    order(here, places, keys, counts, ranks + before)
    n = int(comm.allreduce(keys.size))
    ends = comm.allgather(comm.block(n).stop)
    send_counts = np.diff(np.searchsorted(places, ends), prepend=0).tolist()
    places = comm.alltoall(places, send_counts=send_counts) - comm.block(n).start
    whole = np.full(places.size, -1, np.int32)
    whole[places] = comm.alltoall(here, send_counts=send_counts)
    last = comm.exscan(whole[-1] if whole.size else np.int32(-1), dc.MAX)
    is_sorted = (np.diff(whole) >= 0).all() and (whole.size == 0 or whole[0] >= (last if comm.rank else 0))
    return bool(comm.allreduce(is_sorted, dc.LAND))


@dc.jit
def order(here, places, keys, starts, ranks):
    """This rank's keys in order, and the place of each among those of all ranks; `starts` and `ranks` are used up."""
    for key in keys:
        here[starts[key]] = key
        places[starts[key]] = ranks[key]
        starts[key] += 1
        ranks[key] += 1
