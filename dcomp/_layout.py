"""Who holds which rows: pure arithmetic, no MPI.

A length `n` is shared out over `size` ranks the way `numpy.array_split` does it: the first `n % size`
ranks hold one element more.
"""

from collections.abc import Iterable, Sequence


def block_counts(n: int, size: int) -> tuple[int, ...]:
    """Lengths of the blocks of `range(n)` over `size` ranks."""
    quotient, remainder = divmod(n, size)
    return (quotient + 1,) * remainder + (quotient,) * (size - remainder)


def block_slice(n: int, size: int, rank: int) -> slice:
    """The part of `range(n)` that `rank` of `size` holds."""
    quotient, remainder = divmod(n, size)
    start = rank * quotient + min(rank, remainder)
    return slice(start, start + quotient + (rank < remainder))


def block_bounds(length: int, size: int, rank: int) -> tuple[int, int]:
    """The least and the greatest `n` of which `rank` of `size` holds exactly `length` elements."""
    least = (length - 1) * size + rank + 1 if length else 0
    return least, length * size + rank


def displacements(counts: Iterable[int]) -> list[int]:
    """Where each block starts when blocks of these lengths follow each other."""
    starts, start = [], 0
    for count in counts:
        starts.append(start)
        start += count
    return starts


def format_ranks(ranks: Iterable[int]) -> str:
    """`[0, 2, 3, 4]` as ``"ranks 0, 2-4"``, `[1]` as ``"rank 1"``."""
    ordered = sorted(ranks)
    runs: list[list[int]] = []
    for rank in ordered:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    # Two neighbours read better apart than as a range.
    parts = [
        ", ".join(map(str, range(first, last + 1))) if last - first < 2 else f"{first}-{last}" for first, last in runs
    ]
    return ("rank " if len(ordered) == 1 else "ranks ") + ", ".join(parts)


def dims_create(size: int, dims: Sequence[int]) -> tuple[int, ...]:
    """Fill the zeros of `dims` so that their product is `size`, as square as can be (MPI-4.1, 8.5.2)."""
    fixed = 1
    for extent in dims:
        fixed *= extent or 1
    free = sum(extent == 0 for extent in dims)
    if min(dims, default=0) < 0 or size % fixed or (not free and fixed != size):
        raise ValueError(f"cart: dims must multiply to {size} ranks, zeros being free; got {tuple(dims)}.")
    filled = iter(_squarest(size // fixed, free))
    return tuple(extent or next(filled) for extent in dims)


def _squarest(n: int, count: int) -> list[int]:
    """`count` factors of `n`, largest first, whose largest is as small as possible."""
    if count <= 1:
        return [n] * count
    for largest in range(round(n ** (1 / count)), n + 1):
        if largest >= 1 and n % largest == 0:
            rest = _squarest(n // largest, count - 1)
            if rest[0] <= largest:
                return [largest, *rest]
    return [n] + [1] * (count - 1)
