"""Histograms and quantiles of distributed arrays, exact and the same on every rank. No element is moved but a few."""

from collections.abc import Callable, Sequence
from operator import index
from typing import Any, NamedTuple

import numpy as np

from ._arrays import empty
from ._buffers import as_array, plain
from ._checks import dtype_text, fingerprint
from ._communicator import Communicator
from ._keys import from_keys, sort_keys, to_keys
from ._ops import MIN
from ._whole import agree_on_total, nth_keys
from ._world import or_world

_BITS = 16  # of keys, counted in one pass
_ROUNDS = 4  # so often: 64 bits
_FEW = 2**14  # keys that every rank gets and sorts
_CHUNK = 2**15  # elements converted at a time, in the second cache


class _Method(NamedTuple):
    """How `quantile` interpolates: the place in the order of n elements, and whether it is always an element's."""

    place: Callable[[int, np.ndarray], np.ndarray]
    is_element: bool = False


def _place(alpha: float, beta: float) -> Callable[[int, np.ndarray], np.ndarray]:
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _step_or_middle(place: np.ndarray) -> np.ndarray:
    if place.dtype.kind in "iu":  # of the integers 0 and 1: NumPy takes the place itself
        return place
    return np.where(place == np.floor(place), place + 0.5, np.ceil(place))


def _nearest_odd(place: np.ndarray) -> np.ndarray:
    down = np.floor(place)
    return np.where((place == down) & (down % 2 == 1), down, down + 1)


#: By R. Hyndman and Y. Fan (1996), and NumPy's own.
_METHODS = {
    "inverted_cdf": _Method(lambda n, q: np.ceil(n * q - 1), True),
    "averaged_inverted_cdf": _Method(lambda n, q: _step_or_middle(n * q - 1)),
    "closest_observation": _Method(lambda n, q: _nearest_odd(n * q - 1 - 0.5), True),
    "interpolated_inverted_cdf": _Method(_place(0, 1)),
    "hazen": _Method(_place(0.5, 0.5)),
    "weibull": _Method(_place(0, 0)),
    "linear": _Method(lambda n, q: (n - 1) * q),
    "median_unbiased": _Method(_place(1 / 3.0, 1 / 3.0)),
    "normal_unbiased": _Method(_place(3 / 8.0, 3 / 8.0)),
    "lower": _Method(lambda n, q: np.floor((n - 1) * q), True),
    "higher": _Method(lambda n, q: np.ceil((n - 1) * q), True),
    "midpoint": _Method(lambda n, q: 0.5 * (np.floor((n - 1) * q) + np.ceil((n - 1) * q))),
    "nearest": _Method(lambda n, q: np.around((n - 1) * q), True),
}


def quantile(x: Any, q: Any, *, method: str = "linear", comm: Communicator | None = None) -> Any:
    """Quantiles of all elements of a distributed array; every rank gets them.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array of integers or floats of at most 64 bits     This rank's block, of any shape; blocks may differ in shape.
    q : number or array of numbers from 0 to 1     The same on every rank.
    method : str     How to interpolate between elements: the names of `numpy.quantile`, which see.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    scalar or array, shape of `q`; identical on every rank

    Raises
    ------
    TypeError      For an x of another dtype.
    ValueError     For a q outside of [0, 1], or an unknown method. On every rank, if there is no element at all.
    CollectiveMismatchError     On every rank, if dtype, q or method differ.

    Notes
    -----
    Exact: what `numpy.quantile` gives for the whole array, in the same dtype; NaN if there is a NaN.

    No data is moved. Of many elements ranks count those with the same leading 16 bits, and go on with those among which
    a quantile must be. The last 16384 go to every rank. Cost: four passes, and then, as a rule, much shorter ones; an
    allreduce of up to 512 KiB for each round, and an allgather of up to 128 KiB.

    Examples
    --------
    rank 0 [5 1 4], rank 1 [2 3]; quantile(x, 0.25)  ->  both 2.0
    """
    comm = or_world(comm)
    fault, array, fractions, facts = None, np.empty(0), np.empty(0), {}
    is_plain = type(q) in (int, float)  # as in NumPy, such a one leaves the dtype of x as it is
    try:
        array = _numbers(x, "quantile", "iuf")
        fractions = as_array(q, "quantile", "q")[0]
        if fractions.dtype.kind == "u":  # places before the first are negative
            fractions = fractions.astype(np.int64)
        if fractions.dtype.kind not in "iuf" or not ((fractions >= 0) & (fractions <= 1)).all():
            raise ValueError(f"quantile: q must be numbers from 0 to 1; got {q!r}")
        if not isinstance(method, str) or method not in _METHODS:
            raise ValueError(f"quantile: method must be one of {', '.join(_METHODS)}; got {method!r}")
        told = _told(fractions) if is_plain else f"{_told(fractions)} of {fractions.dtype}"
        facts = {"dtype": dtype_text(array.dtype), "q": told, "method": method}
    except (TypeError, ValueError) as error:
        fault = error
    total = _total(comm, array, "quantile", fault, **facts)
    place = np.asarray(_METHODS[method].place(total, fractions))
    if _METHODS[method].is_element or (method == "linear" and place.dtype.kind in "iu"):
        found, last = _at_places(comm, array, total, place.clip(0, total - 1))
        result = found[()]
    else:
        down, top = np.floor(place), total - 1
        neighbours = np.stack([np.where(place >= top, top, down), np.where(place >= 0, down + 1, 0)])
        (lower, upper), last = _at_places(comm, array, total, neighbours.clip(0, top))
        weight: Any = float(place - down) if is_plain else place - down
        result = _interpolate(lower, upper, weight)
    if np.isnan(last):
        return last if place.ndim == 0 else np.full_like(result, last)
    return result


def median(x: Any, *, comm: Communicator | None = None) -> Any:
    """The median of all elements of a distributed array; every rank gets it.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array of bool, integers or floats of at most 64 bits
        This rank's block, of any shape; blocks may differ in shape.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    scalar; identical on every rank

    Raises
    ------
    TypeError      For an x of another dtype.
    ValueError     On every rank, if there is no element at all.
    CollectiveMismatchError     On every rank, if the dtype differs.

    Notes
    -----
    Exact: what `numpy.median` gives for the whole array; NaN if there is a NaN. Cost: as `quantile`.

    Examples
    --------
    rank 0 [5 1 4], rank 1 [2 3]  ->  both 3.0
    """
    comm = or_world(comm)
    fault, array = None, np.empty(0)
    try:
        array = _numbers(x, "median", "biuf")
    except (TypeError, ValueError) as error:
        fault = error
    total = _total(comm, array, "median", fault, dtype=dtype_text(array.dtype))
    middle, last = _at_places(comm, array, total, np.unique([(total - 1) // 2, total // 2]))
    return last if np.isnan(last) else np.median(middle)


def histogram(
    x: Any, bins: int | Sequence = 10, range: tuple | None = None, *, comm: Communicator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How many elements of a distributed array are in each bin; every rank gets it.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array of bool, integers or floats of at most 64 bits
        This rank's block, of any shape; blocks may differ in shape.
    bins : int or array     Their number, or their edges in order. The same on every rank.
    range : (number, number), optional     From where to where bins of the same width reach; omitted, from the least to
        the greatest element.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array of int64, shape (bins,)     The counts; identical on every rank.
    array, shape (bins + 1,)     The edges, those of `numpy.histogram_bin_edges` for the whole array.

    Raises
    ------
    TypeError      For an x of another dtype.
    ValueError     For bins or a range that cannot be. On every rank, if the range is omitted and there is a NaN or an
        infinity.
    CollectiveMismatchError     On every rank, if dtype, bins or range differ.

    Notes
    -----
    What `numpy.histogram` gives for the whole array: a bin has its left edge and not its right one, but for the last,
    which has both. Cost: a pass to count and, without a range, one before; an allreduce of 8 bytes for each bin.

    Examples
    --------
    rank 0 [5 1 4], rank 1 [2 3]; histogram(x, 2)  ->  both ([2 3], [1. 3. 5.])
    """
    comm = or_world(comm)
    fault, array, given, facts = None, np.empty(0), np.empty(0), {}
    try:
        array = _numbers(x, "histogram", "biuf").reshape(-1)
        array = array.view(np.uint8) if array.dtype.kind == "b" else array
        given = _bins(bins)
        facts = {"dtype": dtype_text(array.dtype), "bins": _told(given), "range": _ends(range)}
    except (TypeError, ValueError) as error:
        fault = error
    total = agree_on_total(comm, "histogram", array.size, fault, **facts)
    if given.ndim == 1:
        edges = given
        return comm.allreduce(np.histogram(array, edges)[0].astype(np.int64)), edges
    outer = array[:0]
    if range is None and total:
        every = comm.allgather(np.array([array.min(), array.max()] if array.size else [], array.dtype))
        outer = np.array([every.min(), every.max()])
        if not np.isfinite(outer).all():
            raise ValueError(
                f"histogram: range must be given where not all elements are finite; they reach from {outer[0]} to "
                f"{outer[1]} on {comm.size} ranks"
            )
    edges = np.histogram_bin_edges(outer, bins, range)
    return comm.allreduce(_count(array, edges)), edges


def _numbers(x: Any, function: str, kinds: str) -> np.ndarray:
    array, _ = as_array(x, function)
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
        numbers = "bool, integers or floats" if "b" in kinds else "integers or floats"
        raise TypeError(f"{function}: x must be {numbers} of at most 64 bits; got dtype {array.dtype}")
    return array


def _told(numbers: np.ndarray) -> str:
    """Numbers in a few words, by which ranks tell whether theirs are the same."""
    if numbers.size <= 8:
        return str(numbers.tolist())
    return f"{numbers.size} numbers, {numbers.flat[0]} ... {numbers.flat[-1]} ({fingerprint(str(numbers.tolist()))})"


def _bins(bins: Any) -> np.ndarray:
    """The number of bins, without an axis, or their edges."""
    given = as_array(bins, "histogram", "bins")[0]
    if given.ndim == 0:
        try:
            count = index(bins)
        except TypeError:
            raise TypeError(f"histogram: bins must be an integer, or edges; got {bins!r}") from None
        if not 1 <= count < 2**31:
            raise ValueError(f"histogram: bins must be at least 1 and below 2**31; got {bins!r}")
    elif given.ndim != 1 or given.size < 2 or given.dtype.kind not in "iuf" or not (given[:-1] <= given[1:]).all():
        raise ValueError(f"histogram: bins must be an integer, or at least two edges in order; got {bins!r}")
    return given


def _ends(range: Any) -> str | None:
    """The range in words, checked."""
    if range is None:
        return None
    try:
        first, last = (float(end) for end in range)
    except (TypeError, ValueError):
        raise ValueError(f"histogram: range must be two numbers; got {range!r}") from None
    if not (np.isfinite([first, last]).all() and first <= last):
        raise ValueError(f"histogram: range must be two finite numbers in order; got {range!r}")
    return str((first, last))


def _count(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The counts of one rank. All numbers are compared as float64, as NumPy compares them with edges."""
    from .kernels.select import count_in_bins

    counts, edges = np.zeros(len(edges) - 1, np.int64), edges.astype(np.float64)
    for start in np.arange(0, len(x), _CHUNK):
        count_in_bins(counts, plain(x[start : start + _CHUNK], edges.dtype), edges)
    return counts


def _total(comm: Communicator, x: np.ndarray, function: str, fault: Exception | None, **facts: object) -> int:
    """How many elements all ranks have, once they have agreed."""
    total = agree_on_total(comm, function, x.size, fault, **facts)
    if total == 0:
        raise ValueError(f"{function}: x must have at least one element; got none on all {comm.size} ranks")
    return total


def _at_places(comm: Communicator, x: np.ndarray, total: int, places: np.ndarray) -> tuple[np.ndarray, Any]:
    """The elements at these places of the order of all ranks' elements, and the last one, which is NaN if one is."""
    keys = to_keys(x.reshape(-1), itemsize=8)
    wanted = np.append(places.astype(np.int64), total - 1)
    found = from_keys(_select(comm, keys, total, wanted), x.dtype)
    return found[:-1].reshape(places.shape), found[-1]


def _select(comm: Communicator, keys: np.ndarray, total: int, places: np.ndarray) -> np.ndarray:
    """The keys at these places of the order of all ranks' keys, of which there are so many in all."""
    from .kernels.select import count_keys, take_keys

    for _ in range(_ROUNDS):
        if total <= _FEW:
            break
        least, greatest = _bounds(comm, keys)
        shift = max((greatest - least).bit_length() - _BITS, 0)
        counts = np.zeros(((greatest - least) >> shift) + 1, np.int64)
        count_keys(counts, keys, np.uint64(least), shift)
        every = comm.allreduce(counts)
        cells = np.searchsorted(np.cumsum(every), places, side="right")
        if shift == 0:
            return (cells.astype(np.uint64) + np.uint64(least)).astype(keys.dtype)
        wanted = np.zeros(counts.size, bool)
        wanted[cells] = True
        places = places - np.cumsum(np.where(wanted, 0, every))[cells]
        taken = empty(int(counts[wanted].sum()), keys.dtype)
        take_keys(taken, keys, np.uint64(least), shift, wanted)
        keys, total = taken, int(every[wanted].sum())
    is_few = total <= _FEW
    keys = comm.allgather(keys) if is_few else keys
    keys, _ = sort_keys(keys)
    if is_few:
        return keys[places]
    starts = np.zeros(len(places), np.int64)
    return nth_keys(comm, keys, starts, np.full_like(starts, len(keys)), places)[0]


def _bounds(comm: Communicator, keys: np.ndarray) -> tuple[int, int]:
    """The least and the greatest of all ranks' keys."""
    from .kernels.select import key_bounds

    top = 2**64 - 1
    least, greatest = key_bounds(keys) if len(keys) else (top, 0)
    found = comm.allreduce(np.array([least, top - int(greatest)], np.uint64), MIN)
    return int(found[0]), top - int(found[1])


def _interpolate(lower: np.ndarray, upper: np.ndarray, weight: Any) -> Any:
    """Between the two by weight, from the nearer one, in the order of operations of NumPy."""
    step = upper - lower
    near = np.asarray(lower + step * weight)
    return np.where(np.asarray(weight) >= 0.5, upper - step * (1 - weight), near).astype(near.dtype)[()]
