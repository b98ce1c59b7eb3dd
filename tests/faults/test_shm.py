"""Nothing of a job is left in /dev/shm, and too little of it is told; in a mount namespace with one of its own."""

import os
import subprocess
import sys

import pytest
from launch import environment, find_mpirun, options

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount another /dev/shm")


def run(tmp_path, size: str, program: str) -> str:
    """What a program prints that has a /dev/shm of this size, and `mpirun(ranks, text)` for jobs; it must go well."""
    driver = tmp_path / "driver.py"
    driver.write_text(f"""
import os, subprocess, sys, time

def mpirun(n, text):
    open("{tmp_path}/job.py", "w").write(text)
    job = {[find_mpirun(), *options()]} + ["-n", str(n), sys.executable, "{tmp_path}/job.py"]
    done = subprocess.run(job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50)
    print(done.returncode, done.stdout, flush=True)

{program}""")
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, driver],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nothing_is_left_when_everything_is_killed(tmp_path):
    out = run(
        tmp_path,
        "256m",
        """
mpirun(3, '''
import os, signal
import numpy as np
import dcomp as dc

shared = dc.COMM_WORLD.shared_array(1000)
dc.allreduce(np.ones(100_000))
pids = dc.COMM_WORLD.allgather_object((os.getpid(), os.getppid()))
if dc.rank == 0:
    print("killed", flush=True)
    for pid in {p for pair in pids for p in pair} - {os.getpid()}:
        os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
dc.barrier()
''')
time.sleep(1)
for name in os.listdir("/dev/shm"):
    os.utime(f"/dev/shm/{name}", (0, 0))  # of some time ago
print("left", os.listdir("/dev/shm"))
mpirun(1, "import dcomp as dc; dc.barrier()")
print("at last", os.listdir("/dev/shm"))
""",
    )
    assert "at last []" in out, out


def test_too_little_room(tmp_path):
    """MPICH cannot start and says what helps, Intel MPI does without, Open MPI says so itself; ours is elsewhere."""
    out = run(
        tmp_path,
        "1m",
        """
mpirun(3, '''
import numpy as np
import dcomp as dc

total = dc.allreduce(np.ones(1_000_000))
if dc.rank == 0:
    print("sum", total[-1], dc.COMM_WORLD._channel.meeting is not None, flush=True)
''')
""",
    )
    if "MPICH" in out:
        assert out.count("LaunchError: /dev/shm has 1.05 MB, and MPICH wants 4 MB for 3 ranks.") == 1, out
        assert "--shm-size" in out and "SIGBUS" in out, out
    else:
        assert "sum 3.0 True" in out, out
        assert out.count("I_MPI_FABRICS=ofi") == 1 or "not enough space" in out, out
