"""Large collectives of several nodes, dcomp beside MPI; and what the network and a node can do, for `model.py`.

    mpirun -hosts a,b -ppn 16 python benchmarks/nodes.py --output nodes.jsonl
    python tests/hosts/hosts.py 2 --rate 1gbit -- mpirun ...          # where there is one machine only

Every node must have as many ranks as the others. One line of JSON for each collective and size, and one of figures.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mpi4py import MPI
from text import size_text

import dcomp as dc

_SIZES = (64 << 10, 512 << 10, 4 << 20)
_ROUNDS = 7
_BATCH = 0.1  # seconds
_LARGE = 1 << 20  # bytes, which tell a rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON lines are added to this file")
    parser.add_argument("--label", default="", help="what the lines say of the network")
    arguments = parser.parse_args()
    comm, mpi = dc.COMM_WORLD, MPI.COMM_WORLD.Dup()
    width = comm.node.size
    if comm.size == width or comm.allreduce(width, dc.MIN) != comm.allreduce(width, dc.MAX):
        raise SystemExit("nodes.py takes several nodes with as many ranks on each")
    about = {
        "label": arguments.label, "mpi": MPI.get_vendor()[0], "ranks": comm.size, "width": width,
        "dcomp": dc.__version__, "numpy": np.__version__, "mpi4py": version("mpi4py"),
    }  # fmt: skip
    lines = [{**about, "figures": _figures(comm, mpi)}]
    for size in _SIZES:
        for name, (mine, theirs) in _calls(comm, mpi, size).items():
            seconds = _alternate(mpi, mine, theirs)
            lines.append({**about, "collective": name, "size": size, "dcomp_s": seconds[0], "mpi_s": seconds[1]})
            if comm.rank == 0:
                ratio = seconds[0] / seconds[1]
                told = " / ".join(f"{one * 1e3:.2f}" for one in seconds)
                print(f"{name:10} {size_text(size):>8}  dcomp / MPI {told} ms  ratio {ratio:.2f}", flush=True)
    if comm.rank == 0:
        print(json.dumps(lines[0]["figures"]))
        if arguments.output is not None:
            with arguments.output.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)


def _figures(comm: dc.Communicator, mpi: MPI.Intracomm) -> dict[str, float]:
    """Seconds and bytes per second, as `model.Machine` has them."""
    node = comm.node
    lane: MPI.Intracomm = mpi.Split(node.rank, comm.rank)  # type: ignore[assignment]
    small, large, arriving = np.zeros(1), np.zeros(_LARGE // 8), np.empty(_LARGE // 8)
    pair = lane.rank ^ 1 if lane.rank ^ 1 < lane.size else MPI.PROC_NULL

    def swap(x: np.ndarray, one: bool) -> Callable[[], object]:
        """Ranks of two nodes send each other an array: the first of each node, or all."""
        partner = pair if node.rank == 0 or not one else MPI.PROC_NULL
        return lambda: lane.Sendrecv(x, partner, 0, arriving, partner, 0)

    latency = _time(mpi, swap(small, True))
    one, every = _time(mpi, swap(large, True)), _time(mpi, swap(large, False))
    meeting = _time(mpi, node.barrier)
    together = _time(mpi, lambda: node.allreduce(large))
    lane.Free()
    return {
        "latency": latency,
        "rank_rate": _LARGE / (one - latency),
        "node_rate": node.size * _LARGE / (every - latency),
        "meeting": meeting,
        # As `model.py` counts: into the ring, combined, written.
        "copy_rate": 3 * _LARGE * (node.size - 1) / node.size / max(together - 2 * meeting, 1e-9),
    }


def _calls(comm: dc.Communicator, mpi: MPI.Intracomm, size: int) -> dict[str, tuple[Callable, Callable]]:
    x, out = np.ones(size // 8), np.empty(size // 8)
    sent = x if comm.rank == 0 else None
    return {
        "allreduce": (lambda: comm.allreduce(x), lambda: mpi.Allreduce(x, out)),
        "reduce": (lambda: comm.reduce(x), lambda: mpi.Reduce(x, out)),
        "bcast": (lambda: comm.bcast(sent), lambda: mpi.Bcast(x)),
    }


def _time(mpi: MPI.Intracomm, call: Callable) -> float:
    """Seconds of one call: the greatest over the ranks, the median of some batches."""
    return _alternate(mpi, call)[0]


def _alternate(mpi: MPI.Intracomm, *contenders: Callable) -> list[float]:
    counts = []
    for call in contenders:
        call()
        counts.append(max(1, min(1000, round(_BATCH / _batch(mpi, call, 1)))))
    times = [
        [_batch(mpi, call, number) for call, number in zip(contenders, counts, strict=True)] for _ in range(_ROUNDS)
    ]
    return np.median(times, axis=0).tolist()


def _batch(mpi: MPI.Intracomm, call: Callable, number: int) -> float:
    mpi.Barrier()
    start = time.perf_counter()
    for _ in range(number):
        call()
    return mpi.allreduce((time.perf_counter() - start) / number, MPI.MAX)


if __name__ == "__main__":
    main()
