"""A rank of one of the jobs of loops.py: makes many calls in a row, from Python, from C, or from compiled code."""

import ctypes
import gc
import os
import time
from collections.abc import Callable

import numpy as np
from disturbance import MAX_LOST, Watch
from peers_rank import Rank, main

Loop = Callable[[int], object]


class LoopRank(Rank):
    """Keeps, for each contender, a function that makes so many calls."""

    def __init__(self, spec: dict):
        self.source: str | None = spec["loops"]
        super().__init__(spec)
        self.loops: dict[str, Loop] = {}

    def _find_absent(self) -> dict[str, str]:
        absent = {}
        if "c" in self.contenders and self.source is None:
            absent["c"] = "no mpicc beside its Python"
        if "numba_mpi" in self.contenders:
            try:
                import numba_mpi  # noqa: F401
            except (ImportError, RuntimeError, OSError) as error:  # it looks for its MPI when it is imported
                absent["numba_mpi"] = f"{type(error).__name__}: {error}"
        return absent

    def prepare(self, collective: str, size: int) -> dict:
        """Make the loops; which results were right, on this rank."""
        rank, ranks = self.comm.rank, self.comm.size
        n = max(size // 8, 1)
        x = np.arange(n) + 1000.0 * rank
        expected = {
            "barrier": np.zeros(n),
            "allreduce": ranks * np.arange(n) + 1000.0 * sum(range(ranks)),
            "allgather": np.concatenate([np.arange(n) + 1000.0 * other for other in range(ranks)]),
            "sendrecv": np.arange(n) + 1000.0 * ((rank - 1) % ranks),
        }[collective]
        right = {}
        for name in self.contenders:
            if name in self.absent:
                continue
            out = np.zeros_like(expected)
            loop = self._loop(name, collective, x, out)
            if loop is None:
                continue
            loop(3)
            right[name] = bool(np.array_equal(out, expected))
            self.loops[name] = loop
        return right

    def _loop(self, contender: str, collective: str, x: np.ndarray, out: np.ndarray) -> Loop | None:
        if contender == "c":
            function = getattr(ctypes.CDLL(self.source), f"loop_{collective}")
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_long]
            function.restype = None
            return lambda calls: function(x.ctypes.data, out.ctypes.data, x.size, calls)
        if contender == "mpi4py":
            return self._loop_of_mpi4py(collective, x, out)
        if contender == "dcomp":
            return self._loop_of_dcomp(collective, x, out)
        module = __import__("loops_dcomp" if contender == "dcomp_njit" else "loops_numba_mpi")
        compiled = getattr(module, collective, None)
        if compiled is None:
            return None
        first = self.world if contender == "dcomp_njit" else self.comm.rank
        return lambda calls: compiled(first, x, out, calls)

    def _loop_of_mpi4py(self, collective: str, x: np.ndarray, out: np.ndarray) -> Loop:
        comm, to, back = self.comm, (self.comm.rank + 1) % self.comm.size, (self.comm.rank - 1) % self.comm.size
        call: Callable[[], object] = {
            "barrier": comm.Barrier,
            "allreduce": lambda: comm.Allreduce(x, out),
            "allgather": lambda: comm.Allgather(x, out),
            "sendrecv": lambda: comm.Sendrecv(x, to, 0, out, back, 0),
        }[collective]
        return _repeated(call)

    def _loop_of_dcomp(self, collective: str, x: np.ndarray, out: np.ndarray) -> Loop:
        comm = self.world
        to, back = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
        call: Callable[[], object] = {
            "barrier": comm.barrier,
            "allreduce": lambda: comm.allreduce(x, out=out),
            "allgather": lambda: comm.allgather(x, out=out),
            "sendrecv": lambda: comm.sendrecv(x, to, back, out=out),
        }[collective]
        return _repeated(call)

    def batch(self, contender: str, calls: int, mode: str) -> dict:
        """Seconds per call of calls in a row, and whether another program disturbed the batch."""
        loop = self.loops[contender]
        gc.disable()
        try:
            loop(1 + calls // 10)  # they find the caches as another contender left them
            self.comm.Barrier()
            if self.exchange is not None:
                self.exchange.meet()
            watch = Watch()
            begin = time.perf_counter()
            loop(calls)
            seconds = time.perf_counter() - begin
            return {"seconds": seconds / calls, "disturbed": self.cores_are_ours and watch.lost() > MAX_LOST}
        finally:
            gc.enable()

    def forget(self) -> dict:
        """Let the arrays go."""
        self.loops.clear()
        return super().forget()


def _repeated(call: Callable[[], object]) -> Loop:
    def loop(calls: int) -> None:
        for _ in range(calls):
            call()

    return loop


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    main(LoopRank)
