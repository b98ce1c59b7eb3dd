"""What the jobs run."""

import numpy as np

_MODULUS = 1_000_003

#: Where every rank is, and whether the ranks of a node share memory with each other and no one else.
PLACES = """
import os
import sys
from pathlib import Path

import numba
import numpy as np
import dcomp as dc

comm = dc.COMM_WORLD
here = os.uname().nodename
names = comm.allgather_object(here)
assert comm.node.size == names.count(here), (comm.node.size, names)
assert comm.node.allgather_object(here) == [here] * comm.node.size
assert (comm.leaders is not None) == (comm.node.rank == 0)
# Shared memory within a node, and MPI between nodes.
assert (comm._channel.levels is not None) == (1 < comm.node.size < comm.size)
array = comm.shared_array((3,), np.int64)
comm.node.barrier()
if comm.node.rank == 0:
    array[:] = names.index(here)
comm.node.barrier()
assert (array == names.index(here)).all()
x = np.arange(100_000.0) * (dc.rank + 1)
total = dc.size * (dc.size + 1) / 2
assert (dc.allreduce(x) == np.arange(100_000.0) * total).all()
assert (dc.allgather(x[:3]) == np.concatenate([np.arange(3.0) * (rank + 1) for rank in range(dc.size)])).all()
left = dc.time_left()
dc.barrier()
if dc.rank == 0:
    print(f"RANKS {' '.join(names)}; {numba.get_num_threads()} threads; {left:.0f} s; {sys.argv[1:]}", flush=True)
    Path("-".join(["finished", *sys.argv[1:]]) + ".txt").touch()
"""

#: Steps, each of which is saved. It goes on from the last, stops for SIGUSR1, and ends in the start of number RESTARTS.
STEPS = f"""
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import dcomp as dc

stops = np.zeros((), bool)
signal.signal(signal.SIGUSR1, lambda *_: stops.fill(True))
folder = Path("checkpoint")
step, x = None, None
if dc.rank == 0:
    folder.mkdir(exist_ok=True)
    step, x = 0, np.arange(12)
    for path in sorted(folder.glob("*.npy"))[-1:]:
        step, x = int(path.stem), np.load(path)
step, x = int(dc.bcast(step)), dc.scatter(x)
restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
names = dc.gather_object(os.uname().nodename)
if dc.rank == 0:
    print(f"START {{restarts}} at {{step}} on {{' '.join(names)}}", flush=True)
first = step
is_last = restarts == int(os.environ["RESTARTS"])
while not is_last or step < first + 3:
    time.sleep(0.2)
    if step == int(os.environ.get("FAILS", -1)):
        raise ValueError("at this step, every time")
    x = (3 * x + dc.allreduce(x.sum())) % {_MODULUS}
    step += 1
    whole = dc.gather(x)
    if dc.rank == 0:
        with open(folder / "new", "wb") as file:
            np.save(file, whole)
        os.replace(folder / "new", folder / f"{{step:06}}.npy")
    if restarts == 1 and not is_last and dc.rank == 1 and step == first + 2:
        os.kill(os.getpid(), signal.SIGUSR1)
    if dc.allreduce(bool(stops), dc.LOR):
        if dc.rank == 0:
            print(f"STOP at {{step}}", flush=True)
        sys.exit(75)
dc.barrier()
if dc.rank == 0:
    Path("finished.txt").touch()
"""


def after_steps(step: int) -> np.ndarray:
    """What STEPS has saved then, by NumPy alone."""
    x = np.arange(12)
    for _ in range(step):
        x = (3 * x + x.sum()) % _MODULUS
    return x
