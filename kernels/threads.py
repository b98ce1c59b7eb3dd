"""Kernels in several threads, for large arrays: from Python, with the same results to the last bit.

An array is cut, and each part is given to the same compiled kernel, which runs without the GIL; so nothing else is
compiled, and numba's own threads are not started. There are as many threads as numba may have, which is what dcomp
shares out among the ranks of a node, and none for arrays so small that the threads would take longer to begin than the
kernel takes. What one core reads from memory in a second is near to what all can: threads gain less than their number.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from . import sparse, stencil, transpose, vectors

_LEAST = 4 << 20  # bytes that a thread has to do with; a part takes some 30 microseconds to begin
_LINE = 64  # elements; so that threads write to different lines of memory

_config: Any = numba.config
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    """In a child that `os.fork` has made, which has no threads but one."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


def count_threads(nbytes: int) -> int:
    """Threads that pay for so many bytes."""
    return max(1, min(_config.NUMBA_NUM_THREADS, nbytes // _LEAST))


def run(function: Callable, parts: Iterable[tuple]) -> list:
    """The results of ``function(*part)``; the last part in this thread, each other one in one of its own."""
    *others, mine = parts
    if not others:
        return [function(*mine)]
    waiting = [_threads(len(others)).submit(function, *part) for part in others]
    try:
        last = function(*mine)
    finally:
        done = [one.exception() for one in waiting]  # none of them works on the arrays any more
    for error in done:
        if error is not None:
            raise error
    return [*(one.result() for one in waiting), last]


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < count:
            _pool, _pool_size = ThreadPoolExecutor(count, "dcomp kernels"), count
        return _pool


def _cuts(first: int, last: int, nbytes: int, unit: int = 1) -> list[tuple[int, int]]:
    """Parts of a range, cut at multiples of a unit from its beginning."""
    count = count_threads(nbytes)
    places = [first + (last - first) * i // count // unit * unit for i in range(count)]
    return [(a, b) for a, b in pairwise([*places, last]) if a < b] or [(first, last)]


def apply(out: np.ndarray, x: Any, kind: Any, box: Any = None) -> None:
    """`stencil.apply`; boxes are cut along the first axis."""
    whole = stencil.interior(out, kind.width) if box is None else box
    nbytes = 2 * out.itemsize * int(np.prod([max(0, last - first) for first, last in whole]))
    run(stencil.apply, [(out, x, kind, (cut, *whole[1:])) for cut in _cuts(*whole[0], nbytes)])


def transpose_into(out: np.ndarray, x: np.ndarray) -> None:
    """`transpose.transpose_into`; x is cut along its rows."""
    cuts = _cuts(0, x.shape[-2], 2 * x.nbytes, _LINE)
    if len(cuts) == 1:
        transpose.transpose_into(out, x)
    else:
        run(transpose.transpose_into, [(out[..., a:b], x[..., a:b, :]) for a, b in cuts])


def axpy_into(y: np.ndarray, a: Any, x: np.ndarray) -> None:
    """`vectors.axpy_into`."""
    run(vectors.axpy_into, [(y[i:j], a, x[i:j]) for i, j in _cuts(0, y.size, 2 * y.nbytes, _LINE)])


def csr_matvec_into(y: np.ndarray, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, x: np.ndarray) -> None:
    """`sparse.csr_matvec_into`; rows are cut so that all parts have about as many entries."""
    count = count_threads(indices.nbytes + data.nbytes)
    first, last = int(indptr[0]), int(indptr[-1])
    entries = np.array([first + (last - first) * i // count for i in range(1, count)], indptr.dtype)
    places = [0, *np.searchsorted(indptr[:-1], entries).tolist(), y.size]
    parts = [(y[a:b], indptr[a : b + 1], indices, data, x) for a, b in pairwise(places)]
    run(sparse.csr_matvec_into, parts)
