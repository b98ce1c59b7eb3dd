"""Sorting of arrays that are distributed along their first axis.

Each rank sorts its block. Then the ranks find, exactly, where the blocks of the result begin in each of the sorted
blocks; they exchange the parts, and each merges what it has got.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ._buffers import as_array
from ._checks import dtype_text, normalise_axis
from ._communicator import Communicator
from ._draws import flag
from ._keys import check_ordered, from_keys, is_plain, others, sort_keys, to_keys, words_of
from ._layout import block_slice
from ._whole import agree_on_total, balance, cut_sorted, exchange_blocks
from ._world import or_world

_FEW = 2**13  # elements of all ranks: to sort them all takes less time than to find out who gets which


def sort(
    x: Any,
    *,
    axis: int = 0,
    key: str | Sequence[str] | None = None,
    stable: bool = False,
    comm: Communicator | None = None,
) -> np.ndarray:
    """Sort an array that is distributed along its first axis.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, shape (n, ...)     This rank's block; `n` may differ, and be 0.
    axis : int     Along which it is sorted. Along another axis than the first no rank needs the others.
    key : str or sequence of str, optional
        Of records, in one dimension: the fields that are compared, the first one first. Those that are not named decide
        between records that are equal in these, as in `numpy.sort`; but if it is to be `stable`, nothing does.
    stable : bool     Whether elements that are equal stay in their order, which shows in -0.0 and 0.0, in NaNs, and in
        records.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array, dtype of `x`; this rank's block of the result, cut as `block` does (along another axis: the shape of `x`)

    Raises
    ------
    TypeError      If the dtype has no order: Python objects, strings, raw bytes.
    ValueError     For a bad axis or key.
    CollectiveMismatchError     On every rank, if dtype, shape beyond the first axis, or an argument differ.

    Notes
    -----
    As in NumPy, NaN and NaT are last, complex numbers are ordered by their real parts first, and each column of an
    array of more dimensions is sorted by itself. Fields of records that are arrays are compared element by element
    (by NumPy, and so along another axis than the first, byte by byte). The result is the same, bit for bit, at any
    number of ranks; if it is not `stable`, -0.0 comes before 0.0.

    Up to 8192 elements in all go to every rank, which sorts them itself. Of more, in one dimension, each is moved to
    another rank at most once, and blocks are equally long whatever the data: of equal elements some go to one rank and
    some to the next. Cost: a radix sort of n elements, a pass for every 8 bits in which they differ, or `numpy.sort`
    where that is quicker on this processor; an allreduce of 2 KiB per rank for every 8 bits; an alltoall; and
    log2(ranks) passes to merge. Memory: three times the block. More dimensions: with at least as many columns as ranks,
    an alltoall to have whole columns on the ranks and one back; with fewer, column by column.

    References
    ----------
    D. Knuth, The Art of Computer Programming 3, 5.2.5. Exact splitting: P. Varman et al., Merging multiple lists on
    hierarchical-memory multiprocessors, J. Parallel Distrib. Comput. 12 (1991).

    Examples
    --------
    rank 0 [5 1 4], rank 1 [2 3]  ->  rank 0 [1 2 3], rank 1 [4 5]
    """
    comm = or_world(comm)
    x, axis, names, total = _checked(comm, "sort", x, axis, key, stable=stable)
    if axis > 0:
        return np.sort(x, axis=axis, kind="stable" if stable else None)
    if x.ndim > 1:
        return _sort_columns(
            comm,
            x,
            lambda ranks, column: _sort_line(ranks, total, column, None, True),
            lambda columns: np.sort(columns, axis=0, kind="stable"),
        )
    return _sort_line(comm, total, x, names, stable)


def argsort(x: Any, *, axis: int = 0, comm: Communicator | None = None) -> np.ndarray:
    """The indices that sort an array that is distributed along its first axis.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, shape (n, ...)     This rank's block; `n` may differ, and be 0.
    axis : int     Along which it is sorted. Along another axis than the first no rank needs the others.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array of int64
        This rank's block of the indices, cut as `block` does (along another axis: the shape of `x`). Along the first
        axis they count through the blocks of all ranks. Indices of equal elements are in order.

    Raises
    ------
    TypeError      If the dtype has no order: Python objects, strings, raw bytes.
    ValueError     For a bad axis.
    CollectiveMismatchError     On every rank, if dtype, shape beyond the first axis, or axis differ.

    Notes
    -----
    As `sort`, with twice the data in each step. The result is the same at any number of ranks.

    Examples
    --------
    rank 0 [5 1 4], rank 1 [2 3]  ->  rank 0 [1 3 4], rank 1 [2 0]
    """
    comm = or_world(comm)
    x, axis, _, total = _checked(comm, "argsort", x, axis, None, stable=True)
    if axis > 0:
        return np.argsort(x, axis=axis, kind="stable")
    if x.ndim > 1:
        return _sort_columns(
            comm,
            x,
            lambda ranks, column: _argsort_line(ranks, total, column),
            lambda columns: np.argsort(columns, axis=0, kind="stable"),
        )
    return _argsort_line(comm, total, x)


def unique(x: Any, *, return_counts: bool = False, comm: Communicator | None = None) -> Any:
    """The different elements of a distributed array, in order.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array     This rank's block, of any shape; blocks may differ in shape.
    return_counts : bool     Whether to count how often each element occurs.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array, shape (m,), dtype of `x`; this rank's block of the result, cut as `block` does
    array of int64, shape (m,)     If `return_counts`.

    Raises
    ------
    TypeError     If the dtype has no order: Python objects, strings, raw bytes.
    CollectiveMismatchError     On every rank, if dtype or `return_counts` differ.

    Notes
    -----
    As `numpy.unique`: all NaNs are one. Cost: `sort`, and an alltoall of the result, since every rank has found another
    number of elements.

    Examples
    --------
    rank 0 [5 1 5], rank 1 [1 3]  ->  rank 0 [1 3], rank 1 [5]
    """
    comm = or_world(comm)
    x, _, _, total = _checked(comm, "unique", x, None, None, return_counts=return_counts)
    x = x.reshape(-1)
    whole = _gather_few(comm, total, x)
    if whole is None:
        found, counts = (balance(comm, one) for one in _unique_line(comm, total, x))
    else:
        found, counts = _unique_line(None, total, whole)
        found, counts = found[comm.block(len(found))], counts[comm.block(len(counts))]
    return (found, counts) if return_counts else found


def _checked(
    comm: Communicator, function: str, x: Any, axis: Any, key: Any, **option: Any
) -> tuple[np.ndarray, int, list[str] | None, int]:
    """The array, the axis, the fields by which it is sorted, and the rows of all ranks, once they have agreed.

    In `unique` the array may have any shape, and it is its elements that are counted.
    """
    ((option_name, chosen),) = option.items()
    is_flat = function == "unique"
    array, names, n, fault = np.empty(0), None, 0, None
    facts: dict[str, object] = {}
    try:
        chosen = flag(function, option_name, chosen)
        array, _ = as_array(x, function)
        check_ordered(array.dtype, function)
        names = _names(function, array, key, chosen)
        facts = {"dtype": dtype_text(array.dtype), option_name: chosen}
        if not is_flat:
            if array.ndim == 0:
                raise ValueError(f"{function}: x must have at least one dimension; got a scalar")
            axis = normalise_axis(axis, array.ndim, function)
            facts |= {"shape_beyond_the_first_axis": array.shape[1:], "axis": axis, "key": names}
        n = array.size if is_flat else len(array)
    except (TypeError, ValueError) as error:
        fault = error
    total = agree_on_total(comm, function, n, fault, **facts)
    return array, axis, names, total


def _names(function: str, x: np.ndarray, key: Any, stable: bool) -> list[str] | None:
    if key is None:
        return None
    fields = x.dtype.names
    named = list(key) if isinstance(key, list | tuple) else [key]
    if fields is None or x.ndim != 1 or not named or not all(name in fields for name in named):
        raise ValueError(
            f"{function}: key must be fields of the records of a one-dimensional array; got {key!r} for an x of dtype "
            f"{x.dtype} and shape {x.shape}"
        )
    return named if stable else [*named, *(name for name in fields if name not in named)]


def _sort_line(
    comm: Communicator | None, total: int, x: np.ndarray, names: Sequence[str] | None, stable: bool
) -> np.ndarray:
    """`sort` in one dimension, of `total` elements; without a communicator, of this rank's array only."""
    whole = None if comm is None else _gather_few(comm, total, x)
    if comm is not None and whole is not None:
        return _sort_line(None, total, whole, names, stable)[comm.block(total)]
    if not is_plain(x.dtype) or (stable and x.dtype.kind == "f"):
        return _sort_rows(comm, total, words_of(x, names), lambda order: x[order])
    keys, _ = sort_keys(to_keys(x))  # from which the elements can be made again, so they are all that is moved
    if comm is not None:
        (keys,), bounds = _exchange(comm, total, [keys], [keys])
        keys, _ = _merge(keys, bounds)
    return from_keys(keys, x.dtype)


def _argsort_line(comm: Communicator | None, total: int, x: np.ndarray) -> np.ndarray:
    """`argsort` in one dimension, of `total` elements; without a communicator, of this rank's array only."""
    whole = None if comm is None else _gather_few(comm, total, x)
    if comm is None or whole is not None:
        order = _sort_rows(None, total, words_of(x if whole is None else whole), lambda order: order)
        return order if comm is None else order[comm.block(total)]
    first = int(comm.exscan(len(x)))
    return _sort_rows(comm, total, words_of(x), lambda order: np.add(order, first, out=order))


def _unique_line(comm: Communicator | None, total: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What this rank has found of the different elements of more than few, and their counts."""
    values = _sort_line(comm, total, x, None, False)
    is_first = np.ones(len(values), bool)
    is_first[1:] = _differ(values[:-1], values[1:])
    if comm is None:
        return values[is_first], np.diff(np.flatnonzero(is_first), append=len(values))
    lasts = comm.allgather(values[-1:])
    is_first[:1] = comm.rank == 0 or _differ(lasts[comm.rank - 1 : comm.rank], values[:1])
    starts = np.flatnonzero(is_first) + comm.block(total).start
    following = comm.allgather(starts[0] if len(starts) else total)[comm.rank + 1 :]
    return values[is_first], np.diff(starts, append=min(following, default=total))


def _gather_few(comm: Communicator, total: int, x: np.ndarray) -> np.ndarray | None:
    """The whole array where it is so short that each rank sorts it itself; else None."""
    if comm.size == 1:
        return x  # also a long one: nothing is to be cut or merged
    return comm.allgather(x) if total <= _FEW else None


def _sort_rows(
    comm: Communicator | None, total: int, words: list[np.ndarray], take: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """What `take` makes of this rank's indices, in the order of the words, stably; this rank's block of that."""
    order, first = _argsort_words(words)
    if comm is None:
        return take(order)
    words = [first, *(word[order] for word in words[1:])]
    (*words, rows), bounds = _exchange(comm, total, words, [*words, take(order)])
    if len(words) > 1:
        order, _ = _argsort_words(words)
    elif rows.dtype == np.int64:
        return _merge(words[0], bounds, rows)[1]
    else:
        _, order = _merge(words[0], bounds, np.arange(len(rows)))
    return rows[order]


def _argsort_words(words: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The indices in the order of the words, and the first word in that order; a single word is overwritten.

    From the last word to the first: sorting is stable.
    """
    order, keys = np.arange(len(words[0])), words[0]
    for word in reversed(words):
        keys = word if len(words) == 1 else word[order]
        keys, order = sort_keys(keys, order)
    return order, keys


def _merge(keys: np.ndarray, bounds: np.ndarray, values: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
    """Runs of keys that are in order as one, and values along with them; what is passed is overwritten."""
    from .kernels.sort import merge_runs

    other, other_values = others(keys, values)
    return (other, other_values) if merge_runs(keys, other, bounds, values, other_values) else (keys, values)


def _exchange(
    comm: Communicator, total: int, words: Sequence[np.ndarray], arrays: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Each rank's block of arrays that are in the order of their words on every rank: one run from each rank, and where
    the runs begin.
    """
    n = len(words[0])
    starts = [block_slice(total, comm.size, rank).start for rank in range(1, comm.size)]
    cuts = cut_sorted(comm, words, np.array(starts, np.int64))
    counts = np.diff(cuts, prepend=0, append=n)
    received = comm.alltoall(counts)
    blocks = [exchange_blocks(comm, array, counts, received) for array in arrays]
    return blocks, np.concatenate([[0], np.cumsum(received)])


def _sort_columns(
    comm: Communicator,
    x: np.ndarray,
    sort_line: Callable[[Communicator | None, np.ndarray], np.ndarray],
    sort_whole: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Sort each column by itself: whole columns on each rank if there are enough of them, else one after the other."""
    columns = x.reshape(len(x), prod(x.shape[1:]))
    if 0 < columns.shape[1] < comm.size:
        done = _by_columns(columns, lambda column: sort_line(comm, column))
    else:
        whole = comm.alltoall(columns, split_axis=1, concat_axis=0)
        is_numpys = x.dtype.names is None or whole.size == 0  # whose order of fields that are arrays is another
        done = sort_whole(whole) if is_numpys else _by_columns(whole, lambda column: sort_line(None, column))
        done = comm.alltoall(done, split_axis=0, concat_axis=1)
    return done.reshape(len(done), *x.shape[1:])


def _by_columns(columns: np.ndarray, sort_line: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    lines = [sort_line(column) for column in columns.T]
    done = np.empty((len(lines[0]), len(lines)), lines[0].dtype)  # `numpy.stack` makes it native, and records dense
    for i, line in enumerate(lines):
        done[:, i] = line
    return done


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where elements differ; NaNs do not."""
    differ = a != b
    return differ & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind in "fcmM" else differ
