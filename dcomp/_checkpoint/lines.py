"""From blocks that are cut along any axis to blocks of a file, and back: one all-to-all.

A file has an array in C order. If that is cut along an axis, a rank's block is not one part of the file but many. So
the ranks share out the *lines* of the file: what lies behind the axis, contiguous in the file and in every block. A
block has its lines in the order of the file, so what goes to a rank, or comes from it, is one part of the block.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from .._communicator import Communicator
from .._layout import block_counts, block_slice, displacements


def to_file(comm: Communicator, block: np.ndarray, lines: tuple[int, int, int], counts: Sequence[int]) -> np.ndarray:
    """This rank's lines of the file, from the ranks' blocks, which have `counts` of every n lines; collective.

    Parameters
    ----------
    block : array of bytes, shape (times * counts[rank] * bytes,)
    lines : (times, n, bytes)     The whole array: n lines of so many bytes, so many times.
    """
    times, n, nbytes = lines
    if times * n * nbytes == 0:
        return np.empty(0, np.uint8)
    in_block, in_file = _counts(comm, lines, counts)
    came = comm.alltoall(block.reshape(-1, nbytes), send_counts=in_block, recv_counts=in_file)
    part = block_slice(times * n, comm.size, comm.rank)
    out = np.empty((part.stop - part.start, nbytes), np.uint8)
    for place, view in _views(out, part.start, n, counts):
        view[...] = came[place].reshape(view.shape)
    return out.reshape(-1)


def to_block(comm: Communicator, part: np.ndarray, lines: tuple[int, int, int]) -> np.ndarray:
    """The inverse of `to_file`, for blocks that are cut as `block` does: this rank's block, as bytes; collective."""
    times, n, nbytes = lines
    if times * n * nbytes == 0:
        return np.empty(0, np.uint8)
    counts = block_counts(n, comm.size)
    in_block, in_file = _counts(comm, lines, counts)
    part = part.reshape(-1, nbytes)
    packed = np.empty_like(part)
    for place, view in _views(part, block_slice(times * n, comm.size, comm.rank).start, n, counts):
        packed[place].reshape(view.shape)[...] = view
    return comm.alltoall(packed, send_counts=in_file, recv_counts=in_block).reshape(-1)


def _counts(comm: Communicator, lines: tuple[int, int, int], counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of this rank's block, the lines in each rank's part of the file; of its part, the lines in each rank's block."""
    times, n, _ = lines
    starts, total = displacements(counts), times * n

    def before(rank: int, line: int) -> int:
        """Lines of a rank's block that are before a line of the file."""
        whole, rest = divmod(line, n)
        return whole * counts[rank] + min(max(rest - starts[rank], 0), counts[rank])

    def common(rank: int, part: slice) -> int:
        return before(rank, part.stop) - before(rank, part.start)

    parts = [block_slice(total, comm.size, rank) for rank in range(comm.size)]
    in_block = [common(comm.rank, part) for part in parts]
    return in_block, [common(rank, parts[comm.rank]) for rank in range(comm.size)]


def _views(lines: np.ndarray, first: int, n: int, counts: Sequence[int]) -> Iterator[tuple[slice, np.ndarray]]:
    """Views of consecutive lines of the file, `first` and on: those of rank 0 in the order of the file, of rank 1, ...

    With each comes its place when all views follow each other.
    """
    end = first + len(lines)
    # The n lines that `first` is in the middle of, all n that are there as a whole, and those that `end` is in.
    edges = sorted({first, min(-(-first // n) * n, end), max(end // n * n, first), end})
    place = 0
    for start, count in zip(displacements(counts), counts, strict=True):
        for low, high in itertools.pairwise(edges):
            if low % n == 0 and high % n == 0:
                view = lines[low - first : high - first].reshape((high - low) // n, n, -1)[:, start : start + count]
                length = view.shape[0] * count
            else:
                begin = low // n * n + start
                low, high = max(low, begin), min(high, begin + count)
                length = max(high - low, 0)
                view = lines[low - first : low - first + length]
            if length:
                yield slice(place, place + length), view
                place += length
