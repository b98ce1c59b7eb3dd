"""The one place where kernels meet numba."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from ._kernel_cache import KernelCache
from ._node_cache import cache_together

# Compiled code contains what it calls, also from other files: a cache entry is good for these very sources only.
# numba by itself looks at the file of the outermost function alone.
_SOURCES = hashlib.blake2b(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))), digest_size=8
).hexdigest()


def _cached(function: Callable, **options: Any) -> Any:
    config: Any = numba.config
    disabled = config.DISABLE_JIT  # for users' functions: these do what Python cannot
    config.DISABLE_JIT = 0
    try:
        dispatcher: Any = numba.njit(error_model="numpy", **options)(function)
    finally:
        config.DISABLE_JIT = disabled
    _cache(dispatcher, function)
    return dispatcher


def _cache(compiler: Any, function: Callable) -> None:
    if cache_together(compiler, function, KernelCache):  # else every process compiles for itself
        compiler._cache._cache_file._source_stamp = _SOURCES


def jit(function: Callable) -> Any:
    """Compile a kernel: cached on disk, the GIL released while it runs, NumPy's division by zero."""
    return _cached(function, nogil=True)


def jit_briefly(function: Callable) -> Any:
    """The same for what takes less time than to give the GIL away and get it back; it keeps the GIL."""
    return _cached(function)


def jit_inlined(function: Callable) -> Any:
    """The same for the body of a loop: always inlined, however long, so that the loop can be vectorised."""
    return _cached(function, forceinline=True)


def c_function(signature: Any, *, cached: bool = True) -> Callable:
    """Compile a C function, cached on disk like the kernels; its address is `.address`."""

    def compiled(function: Callable) -> CFunc:
        result: Any = CFunc(function, sigutils.normalize_signature(signature), {}, {"error_model": "numpy"})
        if cached:
            _cache(result, function)
        result.compile()
        return result

    return compiled


def load_compiled(function: Any, signature: tuple) -> bool:
    """Have a kernel for arguments of these types as an earlier process compiled it; whether the cache has it.

    `function.compile` does the same, but compiles what the cache has not.
    """
    if not isinstance(function._cache, KernelCache):  # no place for one
        return False
    with global_compiler_lock:
        result = function._cache.find(signature, function.targetctx)
        if result is None:
            return False
        function.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        function.add_overload(result)
        return True
