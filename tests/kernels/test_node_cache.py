"""The lock of a node, by which one process compiles and the others wait."""

import errno
import fcntl
import threading
import time

import pytest
from numba.core.compiler_lock import global_compiler_lock

from dcomp.kernels import _node_cache


class Compiler:
    """As numba's: it has its lock while it compiles; the cache has nothing, and is told at the end what to keep."""

    def __init__(self, work):
        self.work = work
        _node_cache.cache_together(self, lambda: None, _node_cache.NodeCache)

    @global_compiler_lock
    def compile(self):
        _node_cache._wait_for_lock()
        self.work()
        _node_cache._unlock()


def test_it_is_released_where_another_thread_compiled_meanwhile():
    begun = threading.Event()

    def compile_slowly():
        begun.set()
        time.sleep(0.2)  # so that the other has come to wait

    def fail():
        raise ValueError("cannot be compiled")

    other = threading.Thread(target=Compiler(compile_slowly).compile)
    other.start()
    begun.wait()
    with pytest.raises(ValueError, match="cannot be compiled"):
        Compiler(fail).compile()
    other.join()
    assert (_node_cache._depth, _node_cache._lock) == (0, None)


def test_every_process_compiles_where_files_have_no_locks(monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    made = []
    monkeypatch.setattr(fcntl, "flock", flock)
    Compiler(lambda: made.append(1)).compile()
    assert made == [1]
    assert (_node_cache._depth, _node_cache._lock) == (0, None)
