"""How long a job that loses a rank is held up: until the others know, and until they have made the next step.

    mpirun --with-ft ulfm -n 4 python benchmarks/recovery.py

The state, 100 MB over all ranks, is in a `.npy` file. The last rank is killed while all make steps, and `dc.recover`
has the others restore the state from there. Open MPI only. One line of JSON at the end, in seconds.
"""

import json
import os
import signal
import sys
import tempfile
import time

import numpy as np

import dcomp as dc

ELEMENTS = 100_000_000 // 8
PATH = os.path.join(tempfile.gettempdir(), f"recovery-{os.getppid()}.npy")
CALLS = 200  # before the death

times: dict[str, float] = {}


def run(comm: dc.Communicator) -> None:
    """Restore, and make steps until a rank has died; after that, one step."""
    times["shrunk"] = time.time()
    state = np.load(PATH, mmap_mode="r")[comm.block(ELEMENTS)].copy()
    times["restored"] = time.time()
    is_first = comm.size == dc.size
    try:
        for step in range(10**9 if is_first else 1):
            if is_first and step == CALLS:
                told = comm.bcast(time.time() if comm.rank == 0 else None, root=0)
                times["death"] = float(told) + 0.2
            if "death" in times and dc.rank == dc.size - 1 and time.time() > times["death"]:
                os.kill(os.getpid(), signal.SIGKILL)
            comm.allreduce(np.array([state[0], float(step)]))
    except dc.RankFailedError:
        times["known"] = time.time()
        raise
    times["stepped"] = time.time()


def main() -> int:
    """Print what was measured; the exit status."""
    if dc.rank == 0:
        np.save(PATH, np.zeros(ELEMENTS))
    dc.barrier()
    left: list[dict[str, float]] = []

    def run_and_tell(comm: dc.Communicator) -> None:
        run(comm)
        left[:] = comm.allgather_object(times)

    dc.recover(run_and_tell)
    if dc.rank == 0:
        os.unlink(PATH)

        def latest(name: str) -> float:
            return round(max(one[name] - one["death"] for one in left), 4)

        print(json.dumps({"ranks": dc.size} | {n: latest(n) for n in ("known", "shrunk", "restored", "stepped")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
