"""numba's cache, which the processes of a node fill together: one compiles, and the others load what it has made."""

import fcntl
import os
import pickle
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

_PAUSE = 0.01  # seconds between two looks at the lock
_lock: Any = None  # the open file, while this process has it
_depth = 0
_writable: set[str] = set()  # folders of caches


def _remember(locator: Any) -> Any:
    """One of numba's classes that find the folder of a function's cache. It is tried once whether that can be written
    to; numba would make a file there for every function on every rank, which is much to ask of a shared file system.
    """

    class Locator(locator):
        def ensure_cache_path(self) -> None:
            path = self.get_cache_path()
            if path not in _writable:
                super().ensure_cache_path()
                _writable.add(path)

    return Locator


class Contents(CompileResultCacheImpl):
    """What is in an entry, and where it lies."""

    _locator_classes = [_remember(locator) for locator in CompileResultCacheImpl._locator_classes]


class _Entries(IndexDataCacheFile):
    """Files of which each says what it is of. With numba's, only the index does, and it is written first: when the disk
    is full, a process is killed or two write at a time, it has the data of other sources, types or processors.
    """

    def save(self, key: Any, data: Any) -> None:
        packed = self._dump(data)
        super().save(key, (self._about(key), zlib.crc32(packed), packed))

    def load(self, key: Any) -> Any:
        entry = super().load(key)
        if entry is None:
            return None
        about, checksum, packed = entry
        is_good = about == self._about(key) and checksum == zlib.crc32(packed)
        return pickle.loads(packed) if is_good else None

    def _about(self, key: Any) -> tuple:
        return self._version, self._source_stamp, key


class NodeCache(FunctionCache):
    """The cache of one function; who does not find what it looks for compiles it, and others wait."""

    _impl_class: Any = Contents

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = _Entries(self._cache_path, self._impl.filename_base, self._cache_file._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not _is_cached(sig):
            return None
        found = self.find(sig, target_context)
        if found is None:
            _wait_for_lock()
            found = self.find(sig, target_context)
            if found is not None:
                _unlock()
        return found

    def find(self, sig: Any, target_context: Any) -> Any:
        """What the cache has for these types, without waiting; or None."""
        try:
            return self._load(sig, target_context)
        except Exception:  # a file is broken, as after a full disk: it is written anew
            with suppress(OSError):  # nor can it be written
                self.flush()
            return None

    def _load(self, sig: Any, target_context: Any) -> Any:
        return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        if not _is_cached(sig):
            return
        _writable.discard(self._cache_path)  # the folder may be gone
        with suppress(OSError):  # a full disk: what is compiled serves this process
            super().save_overload(sig, data)
        _unlock()


def _is_cached(sig: Any) -> bool:
    """Whether the types of the arguments mean the same in another process."""
    return all(getattr(kind, "is_cached", True) for kind in getattr(sig, "args", sig))


def cache_together(compiler: Any, function: Callable, kind: type[NodeCache]) -> bool:
    """Have cached what numba's `compiler` of `function`, a dispatcher or a C function's, makes of it.

    False if there is no place for a cache that can be written.
    """
    try:
        compiler._cache = kind(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):  # NUMBA_CACHE_LOCATOR_CLASSES names what is none
            raise
        return False
    compile_it = compiler.compile

    def compiled(*signature: Any) -> Any:
        with global_compiler_lock:  # numba takes it, too; here, lest the depth be that of another thread
            depth = _depth
            try:
                return compile_it(*signature)
            finally:
                while _depth > depth:  # it could not be compiled
                    _unlock()

    compiler.compile = compiled
    return True


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
                except OSError:  # a file system without locks: as above
                    break
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
