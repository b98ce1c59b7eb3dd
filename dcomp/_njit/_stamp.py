"""Which sources compiled code was made by: numba itself looks at the file of the user's function alone.

What is here lies in the cache entry of every function that was compiled with the help of these modules. numba reads an
entry that cannot be read anew as one that is gone, and compiles again.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

_DCOMP = Path(__file__).parent.parent
_FILES = [path for pattern in ("*.py", "_njit/*.py", "engine/*.py", "kernels/*.py") for path in _DCOMP.glob(pattern)]
SOURCES = hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(_FILES)), digest_size=8).hexdigest()


class _Stale(OSError):
    """A cache entry is of other sources."""


class Stamped:
    """What compiled code keeps; other sources cannot read it."""

    __slots__ = ("content",)

    def __init__(self, content: Any = None) -> None:
        self.content = content

    def __reduce__(self) -> tuple:
        # Pickled by itself: what other sources have put there may be gone in these, or of another form.
        return _read, (SOURCES, pickle.dumps((type(self), self.content)))


def _read(sources: str, *contents: Any) -> Stamped:
    if sources != SOURCES:
        raise _Stale(f"compiled by {sources}, not {SOURCES}")
    (pickled,) = contents
    kind, content = pickle.loads(pickled)
    return kind(content)


def revive_type(sources: str, *contents: Any) -> Any:
    """A type of `_objects`; if it is of other sources, one that is equal to none, as if numba had found another."""
    from numba import types

    from . import _objects

    if sources != SOURCES:
        return types.Opaque(f"dcomp, {sources}: {contents}")
    name, arguments = contents
    return getattr(_objects, name)(*arguments)


_stamp = Stamped()


def stamp(context: Any) -> None:
    """Have the function that is being compiled keep the stamp."""
    consts = context.environment.consts
    if not any(one is _stamp for one in consts):
        consts.append(_stamp)
