"""A rank of one of the jobs of peers.py: does what the driver asks for, and sleeps in between.

One process has one MPI with one set of settings, so every contender configuration is a job, and all jobs live side
by side on the same cores. While it is not a job's turn all of its ranks block in the read of a socket: a rank that
waited in its MPI would spin and take the core from the others. Requests and answers are lines of JSON; README.md
lists them.
"""

import gc
import importlib
import json
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

import cases
import numpy as np
from cases import Case
from disturbance import MAX_LOST

Call = Callable[[], object]

#: contender -> the module of its calls, and what is added to the collective's name there
MODULES = {
    "dcomp": ("contender_dcomp", "_inferred"),
    "dcomp_out": ("contender_dcomp", ""),
    "dcomp_plan": ("contender_plans", ""),
    "dcomp_chain": ("contender_dcomp", "_inferred"),
    "mpi4py": ("contender_mpi4py", ""),
    "numba_mpi": ("contender_numba_mpi", ""),
    "copyto": ("registry", ""),
}
REFERENCE = "c"  # has no calls: it times itself


def find_call(contender: str, collective: str) -> Callable[[object, Case], Call | None] | None:
    """The function that prepares a contender's call; None if it has no such collective."""
    if contender == "copyto":
        return None if collective == "barrier" else importlib.import_module("registry").copyto
    name, suffix = MODULES[contender]
    module = importlib.import_module(name)
    return getattr(module, collective + suffix, None) or getattr(module, collective, None)


def rewriting(case: Case) -> Call | None:
    """Write the input anew; None where a rank has none."""
    x = case.x
    return None if x is None else lambda: x.fill(1.0)


def reading(call: Call, case: Case) -> Call:
    """`call` with its result read just after, as in a program: a result left in another core's cache is no result."""
    out = case.out

    def call_and_read():
        returned = call()
        result = out if returned is None else returned
        if result is not None:
            result.sum()

    return call_and_read


class Rank:
    """What a rank keeps between requests."""

    def __init__(self, spec: dict):
        self.contenders: list[str] = spec["contenders"]
        self.world = None
        if any(name.startswith("dcomp") for name in self.contenders):
            import dcomp

            self.world = dcomp.COMM_WORLD  # before mpi4py, so that it is dcomp that starts MPI, as in a user's program
        from mpi4py import MPI
        from timing import Timer

        self.comm = MPI.COMM_WORLD.Dup()
        if self.comm.size != spec["ranks"]:
            raise SystemExit(f"the job has {self.comm.size} ranks, not {spec['ranks']}: mpirun is another MPI's")
        self.cores = spec["cores"]
        self.cores_are_ours = len(self.cores) >= self.comm.size
        if self.cores_are_ours:  # one order of the cores for all contenders, whatever their launchers think
            os.sched_setaffinity(0, {self.cores[self.comm.rank]})
        self.exchange = None
        if spec["library"]:
            from exchange import Exchange

            rank, ranks = self.comm.rank, self.comm.size
            ours = self.cores_are_ours
            self.exchange = Exchange(spec["library"], spec["memory"], rank, ranks, cores_are_ours=ours)
        self.absent = self._find_absent()
        self.timer = Timer(self.comm, self.cores_are_ours, self.exchange and self.exchange.meet)
        self.probe = self._open_probe() if spec["probe"] else None
        self.collective = ""
        self.case: Case | None = None
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Case] = {}

    def _find_absent(self) -> dict[str, str]:
        absent = {}
        for name in self.contenders:
            try:
                if name != REFERENCE:
                    importlib.import_module(MODULES[name][0])
            except (ImportError, RuntimeError, OSError) as error:  # numba-mpi looks for its MPI when it is imported
                absent[name] = f"{type(error).__name__}: {error}"
        if REFERENCE in self.contenders and self.exchange is None:
            absent[REFERENCE] = "no C library was given"
        return absent

    def _open_probe(self):
        from probe import Placement, Probe

        count = len(self.cores)
        problem = None
        if not self.cores_are_ours:
            problem = f"oversubscribed: {self.comm.size} ranks on {count} cores"
        elif self.comm.size == 1:
            problem = "one rank"
        return Probe(self.comm, Placement(count, self.cores_are_ours, problem))

    def hello(self) -> dict:
        """Who this is."""
        import mpi4py

        name, version = mpi4py.MPI.get_vendor()
        return {
            "rank": self.comm.rank,
            "absent": self.absent,
            "runs_on": sorted(os.sched_getaffinity(0)),
            "versions": {
                "mpi": f"{name} {'.'.join(map(str, version))}",
                "mpi4py": mpi4py.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                **({"dcomp": getattr(importlib.import_module("dcomp"), "__version__", None)} if self.world else {}),
            },
        }

    def prepare(self, collective: str, size: int) -> dict:
        """Make the arrays and the calls and make each call once; which results were right, on this rank."""
        self.collective = collective
        self.case = getattr(cases, collective)(self.comm.rank, self.comm.size, size)
        right = {}
        for name in self.contenders:
            if name in self.absent:
                continue
            case = self._chained(self.case) if name == "dcomp_chain" else self.case
            if name == REFERENCE:
                right[name] = self.exchange.verify(collective, case)
                continue
            make = find_call(name, collective)
            if make is None:
                continue
            call = make(self.world if name.startswith("dcomp") else self.comm, case)
            right[name] = name == "copyto" or case.verify(call)
            self.calls[name], self.inputs[name] = call, case
        for case in (self.case, *self.inputs.values()):
            case.expected = None  # as large as a result, and many jobs share the memory; copyto's call keeps its own
        return right

    def _chained(self, case: Case) -> Case:
        """The case with a result of dcomp for its input. A reduction makes one of any length; all ranks take part."""
        from mpi4py import MPI

        n = self.comm.allreduce(0 if case.x is None else len(case.x), op=MPI.MAX)
        if case.x is None:
            if n:
                self.world.allreduce(np.zeros(n))
            return case
        x = self.world.allreduce(np.zeros(n))
        x[:] = case.x
        return replace(case, x=x, out=None)

    def batch(self, contender: str, calls: int, mode: str) -> dict:
        """Seconds per call, and whether another program disturbed the batch."""
        gc.disable()
        try:
            if contender == REFERENCE:
                self.comm.Barrier()
                seconds, lost = self.exchange.run_batch(self.collective, self.case, calls, fresh=mode != "reused")
                return {"seconds": seconds, "disturbed": self.cores_are_ours and lost > MAX_LOST}
            call, case = self.calls[contender], self.inputs[contender]
            if mode == "read":
                call = reading(call, case)
            seconds, disturbed = self.timer.run_batch(call, calls, None if mode == "reused" else rewriting(case))
            return {"seconds": seconds, "disturbed": bool(disturbed)}
        finally:
            gc.enable()

    def measure_distance(self) -> dict:
        """How far the cores are apart at this moment."""
        nanoseconds = self.probe.nanoseconds()
        return {"nanoseconds": nanoseconds, "state": self.probe.state(nanoseconds)}

    def forget(self) -> dict:
        """Let the arrays go."""
        plan = self.calls.get("dcomp_plan")
        if plan is not None:
            plan.free()
        self.case = None
        self.calls.clear()
        self.inputs.clear()
        gc.collect()
        return {}


def answer(rank: Rank, request: dict) -> dict:
    """Do what is asked for."""
    do = request.pop("do")
    return {
        "prepare": rank.prepare,
        "batch": rank.batch,
        "probe": rank.measure_distance,
        "forget": rank.forget,
    }[do](**request)


def main(kind: type[Rank] = Rank) -> None:
    """Serve until the driver says so, or is gone."""
    spec = json.loads(sys.argv[1])
    rank = kind(spec)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(spec["socket"])
        stream = connection.makefile("rw")

        def send(message: dict) -> None:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        send({"job": spec["job"], **rank.hello()})
        for line in stream:
            request = json.loads(line)
            if request["do"] == "end":
                return
            try:
                send(answer(rank, request))
            except Exception:
                send({"error": traceback.format_exc(limit=-3)})
                time.sleep(1.0)  # the driver ends the job; the other ranks may be waiting for this one
                os._exit(1)
    os._exit(1)  # the driver is gone: there is no one to finish properly for


if __name__ == "__main__":
    main()
