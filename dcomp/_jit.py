"""`dc.jit`: numba's `njit` with a cache that the ranks of a node fill together."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np

from .kernels._node_cache import NodeCache, cache_together

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
    anew also when another file has changed of which it uses something, or a number or an array that it uses from there.
    What has no file, in an interactive session, is compiled on every rank. It starts neither MPI nor a communicator.

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
    dispatcher: Any = numba.njit(**options)(function)
    if hasattr(dispatcher, "py_func"):  # else NUMBA_DISABLE_JIT is set, and it stays Python's
        cache_together(dispatcher, dispatcher.py_func, _StampedCache)
    return dispatcher


class _StampedCache(NodeCache):
    """A cache whose entries are good as long as nothing that the function uses has changed."""

    _has_stamp = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._has_stamp:  # not before: what it uses may be defined later
            self._has_stamp = True
            self._cache_file._source_stamp = (self._cache_file._source_stamp, _digest(self._py_func))
        return super().load_overload(sig, target_context)


def _digest(function: Callable) -> str:
    """Of what a function uses: of the files that it comes from, and of the values that are frozen into the code.

    A file counts as a whole, for of what it defines not all can be followed, such as overloads.
    """
    told = hashlib.blake2b(digest_size=16)
    files: set[str] = set()
    seen: dict[int, Any] = {}  # kept, so that no other has the same id
    waiting: list[tuple[str, Any]] = [("", function)]
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        told.update(f"{name} {_told(value)}".encode())
        if isinstance(value, np.ndarray):
            told.update(value.tobytes())
        elif isinstance(value, tuple):
            waiting += [(f"{name}[{i}]", one) for i, one in enumerate(value)]
        for used in _functions_of(value):
            told.update(repr(_code_content(used.__code__)).encode())
            waiting += _used_by(used)
        files |= _file_of(value)
    for path in sorted(files):
        with suppress(OSError), open(path, "rb") as file:
            told.update(file.read())
    return told.hexdigest()


def _told(value: Any) -> str:
    """What a value is, in words that are the same in another process."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype | Enum | None):
        return f"{type(value).__name__} {value!r}"
    kind = getattr(value, "_numba_type_", value)  # that of a stencil has its weights
    if isinstance(kind, numba.types.Type) and not isinstance(kind, numba.types.Callable):
        return str(kind)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _functions_of(value: Any) -> list[FunctionType]:
    """The functions of Python's that it is made of: one, of a dispatcher's; those of a class that numba compiles."""
    value = getattr(value, "_dispatcher", value)  # of what `numba.vectorize` makes
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType):
        return [value]
    return list(getattr(getattr(value, "class_type", None), "methods", {}).values())


def _file_of(value: Any) -> set[str]:
    """The file that defines it, or its kind; not of packages that change with their version."""
    if isinstance(value, ModuleType):
        module: Any = value
    else:
        name = getattr(value, "__module__", None) or type(value).__module__
        module = sys.modules.get(name)
    name, path = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    return set() if path is None or name.partition(".")[0] in _FOREIGN else {path}


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
