"""The one place where kernels meet numba."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# Compiled code contains what it calls, also from other files: a cache entry is good for these very sources only.
# numba by itself looks at the file of the outermost function alone.
_SOURCES = hashlib.blake2b(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))), digest_size=8
).hexdigest()


def _cached(function: Callable, **options: Any) -> Any:
    dispatcher = numba.njit(cache=True, error_model="numpy", **options)(function)
    dispatcher._cache._cache_file._source_stamp = _SOURCES
    return dispatcher


def jit(function: Callable) -> Any:
    """Compile a kernel: cached on disk, the GIL released while it runs, NumPy's division by zero."""
    return _cached(function, nogil=True)


def jit_briefly(function: Callable) -> Any:
    """The same for what takes less time than to give the GIL away and get it back; it keeps the GIL."""
    return _cached(function)
