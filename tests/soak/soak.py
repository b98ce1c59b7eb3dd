"""Many random collectives of random sizes, every result compared with NumPy; nothing may grow.

    mpirun -n 4 python tests/soak/soak.py --calls 1000000

Prints a line per tenth: memory and open files of the rank that has most, and what lies in /dev/shm. In the first half
caches and heaps fill; in the second nothing may grow.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

import dcomp as dc

DTYPES = ("f8", "f4", "i4", "u1", "c16")
OPS = (dc.SUM, dc.MAX, dc.MIN)
LARGEST = 1 << 14  # elements; sizes are spread evenly over their logarithms
RARELY = (100_000, 200_000, 500_000)  # elements of one call in a hundred; few sizes, so that heaps soon have them all
FORMS = ("plain", "plain", "plain", "out", "shared out", "non-blocking", "shared x", "plan")


def status() -> np.ndarray:
    """Bytes of ordinary memory, bytes of shared memory, and open files of this process; files in /dev/shm."""
    entries = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sizes = [int(entries[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem")]
    return np.array([*sizes, len(os.listdir("/proc/self/fd")), len(os.listdir("/dev/shm"))])


def one_call(comm: dc.Communicator, rng: np.random.Generator, pending: list) -> None:
    """Make a call that all ranks draw alike, and compare."""
    p, rank = comm.size, comm.rank
    name = ("bcast", "scatter", "gather", "allgather", "alltoall", "reduce", "allreduce", "reduce_scatter", "scan",
            "exscan", "barrier")[rng.integers(11)]  # fmt: skip
    n = int(LARGEST ** rng.random()) if rng.random() < 0.99 else int(rng.choice(RARELY))
    dtype, op, root = DTYPES[rng.integers(5)], OPS[rng.integers(3)], int(rng.integers(p))
    form, start = FORMS[rng.integers(len(FORMS))], int(rng.integers(50))
    if name in ("scatter", "alltoall", "reduce_scatter"):
        n = -(-n // p) * p
    if dtype == "c16" and op is not dc.SUM:
        op = dc.SUM
    every = [((np.arange(n) % 7) + (start + r) % 9).astype(dtype) for r in range(p)]
    x = every[rank]
    if form == "shared x":
        x = dc.empty_like(x)
        x[:] = every[rank]
    expected, arguments = expect(name, every, op, root, rank)
    if name in ("bcast", "scatter") and rank != root:
        x = None
    if name != "barrier":
        arguments["x"] = x
    if form in ("out", "shared out") and expected is not None and not (name == "bcast" and rank == root):
        arguments["out"] = (np.empty_like if form == "out" else dc.empty_like)(expected)
    if form == "non-blocking":
        pending.append((name, getattr(comm, f"i{name}")(**arguments), expected))
        if len(pending) < 3:
            return
        for told, request, wanted in pending:
            compare(told, request.wait(), wanted)
        pending.clear()
        return
    if form == "plan":
        plan = getattr(comm, f"{name}_init")(**arguments)
        for _ in range(2):
            compare(name, plan(), expected)
        plan.free()
        return
    compare(name, getattr(comm, name)(**arguments), expected)


def expect(name: str, every: list, op: dc.Op, root: int, rank: int) -> tuple:
    """This rank's result by NumPy, and the arguments but for the arrays."""
    combine = {"SUM": np.add, "MAX": np.maximum, "MIN": np.minimum}[op.name]
    p, dtype = len(every), every[0].dtype
    rooted, reducing = {"root": root}, {"op": op}
    if name == "barrier":
        return None, {}
    if name == "bcast":
        return every[root], rooted
    if name == "scatter":
        return np.split(every[root], p)[rank], rooted
    if name in ("gather", "allgather"):
        whole = np.concatenate(every)
        return (whole, {}) if name == "allgather" else (whole if rank == root else None, rooted)
    if name == "alltoall":
        return np.concatenate([np.split(one, p)[rank] for one in every]), {}
    if name == "exscan" and rank == 0:
        return np.full_like(every[0], op.identity_for(dtype)), reducing
    last = {"scan": rank + 1, "exscan": rank}.get(name, p)
    total = every[0]
    for one in every[1:last]:
        total = combine(total, one)
    if name == "reduce":
        return (total if rank == root else None), rooted | reducing
    return (np.split(total, p)[rank] if name == "reduce_scatter" else total), reducing


def compare(name: str, result: np.ndarray | None, expected: np.ndarray | None) -> None:
    """Stop the job at a wrong result."""
    if expected is None:
        return
    if result is None or result.dtype != expected.dtype or not np.array_equal(result, expected):
        raise SystemExit(f"{name}: wrong result on rank {dc.rank}: {result} instead of {expected}")


def main() -> None:
    """Make the calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    comm, pending = dc.COMM_WORLD, []
    rng = np.random.default_rng(arguments.seed)
    start, first = time.perf_counter(), status()
    for number in range(1, arguments.calls + 1):
        one_call(comm, rng, pending)
        if number % max(arguments.calls // 10, 1) == 0:
            most = comm.allreduce(status(), dc.MAX)
            if number <= arguments.calls // 2:
                first = most
            if comm.rank == 0:
                anon, shared, files, names = most
                print(
                    f"{number} calls, {time.perf_counter() - start:.0f} s: {anon / 2**20:.1f} MiB of ordinary and "
                    f"{shared / 2**20:.1f} of shared memory, {files} open files, {names} in /dev/shm",
                    flush=True,
                )
    for name, request, expected in pending:
        compare(name, request.wait(), expected)
    grown = comm.allreduce(status(), dc.MAX) - first
    if grown[0] > 8 << 20 or grown[1] > 8 << 20 or grown[2] > 0:
        raise SystemExit(f"grown since the first half: {grown}")
    if comm.rank == 0:
        print("soak: OK")


if __name__ == "__main__":
    main()
