"""`dc.jit`: numba's `njit` with a cache that the ranks of a node fill together."""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache

_PAUSE = 0.01  # seconds between two looks at the lock
_lock: Any = None  # the open file, while this process has it
_depth = 0
_FOREIGN = {"numpy", "numba", "dcomp", "math", "cmath", "builtins", "operator", "random"}  # who change with a version


def jit(function: Callable | None = None, **options: Any) -> Any:
    """Compile a function as `numba.njit` does; of a node's ranks one compiles, and the others load what it has made.

    Parameters
    ----------
    function : callable     Omitted: with options, as in ``@dc.jit(parallel=True)``.
    options                 Those of `numba.njit`, but `cache`, which is on.

    Returns
    -------
    numba's dispatcher

    Notes
    -----
    What is compiled lies in numba's cache and serves the next program, too. Unlike with ``cache=True`` it is compiled
    anew also when a function, or a number or an array, that it uses from another file has changed. What has no
    file, in an interactive session, is compiled on every rank. It starts neither MPI nor a communicator.

    Examples
    --------
    >>> import dcomp as dc
    >>> @dc.jit
    ... def mean(comm, x):
    ...     return comm.allreduce(x.sum()) / comm.allreduce(x.size)
    """
    if function is None:
        return lambda function: jit(function, **options)
    if not callable(function):
        raise TypeError(f"jit: function must be callable; got {function!r}. Options are given by name.")
    if "cache" in options:
        raise TypeError("jit: cache must not be given; it is on. numba.njit compiles without one.")
    dispatcher = numba.njit(**options)(function)
    try:
        dispatcher._cache = _NodeCache(dispatcher.py_func)
    except RuntimeError:  # numba: no place for a cache
        return dispatcher
    compile_it = dispatcher.compile

    def compiled(signature: Any) -> Any:
        depth = _depth
        try:
            return compile_it(signature)
        finally:
            while _depth > depth:  # it could not be compiled
                _unlock()

    dispatcher.compile = compiled
    return dispatcher


class _NodeCache(FunctionCache):
    """numba's cache; who does not find what it looks for compiles it, and others wait."""

    _has_stamp = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._has_stamp:  # not before: what it uses may be defined later
            self._has_stamp = True
            self._cache_file._source_stamp = (self._cache_file._source_stamp, _digest(self._py_func))
        found = super().load_overload(sig, target_context)
        if found is None:
            _wait_for_lock()
            found = super().load_overload(sig, target_context)
            if found is not None:
                _unlock()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        super().save_overload(sig, data)
        _unlock()


def _wait_for_lock() -> None:
    """Take the node's lock: one for all functions, so that two that use each other cannot wait for each other."""
    global _lock, _depth
    if _depth == 0:
        path = os.path.join(tempfile.gettempdir(), f"dcomp-jit-{os.getuid()}.lock")
        try:
            _lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:  # then every rank compiles, as without it
            _lock = None
        try:
            while _lock is not None:  # and not in one call: signals are let in
                try:
                    fcntl.flock(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_PAUSE)
        except BaseException:  # a signal's
            _depth += 1
            _unlock()
            raise
    _depth += 1


def _unlock() -> None:
    global _lock, _depth
    _depth -= 1
    if _depth == 0 and _lock is not None:
        os.close(_lock)
        _lock = None


def _digest(function: Callable) -> str:
    """Of the functions that a function uses, and of the values that are frozen into it."""
    told = hashlib.blake2b(digest_size=16)
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        one: Any = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        told.update(repr(_code_content(one.__code__)).encode())
        for name, value in _used_by(one):
            value = getattr(value, "py_func", value)
            if isinstance(value, FunctionType):
                waiting.append(value)
            elif isinstance(value, np.ndarray):
                told.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
            elif isinstance(value, int | float | complex | str | bytes | tuple | np.generic | None):
                told.update(f"{name} {value!r}".encode())
    return told.hexdigest()


def _code_content(code: CodeType) -> tuple:
    """What a function does, wherever it stands."""
    consts = (_code_content(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.co_code, code.co_names, tuple(map(repr, consts))


def _used_by(function: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of globals, of what modules have, of the closure, and of defaults."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType):
                if value.__name__.partition(".")[0] not in _FOREIGN:
                    yield from ((other, vars(value)[other]) for other in code.co_names if other in vars(value))
            else:
                yield name, value
    for cell in function.__closure__ or ():
        yield "closure", cell.cell_contents
    for default in function.__defaults__ or ():
        yield "default", default
