"""Ranks that die while the others go on: under the mpirun of Open MPI, with --with-ft ulfm."""

import re
from pathlib import Path
from typing import Any

import jobs
import pytest
from launch import mpirun, options

pytestmark = pytest.mark.skipif(not options(), reason="no other MPI than Open MPI lets a job go on after a death")

ULFM = ("--with-ft", "ulfm")
#: What Open MPI 5.0 may crash in when it hears of a death in the middle of its own MPIX_Comm_shrink. To the others that
#: is one more death; but a test that has planned who dies cannot tell then whether all went as planned.
CRASH_OF_MPI = "(ompi_comm_revoke_local+"


def run(tmp_path: Path, program: str, **options: Any) -> jobs.Job:
    """Run a program that may lose ranks; the machine may be slow to start so many. Again, if MPI crashes by itself."""
    for _ in range(3):
        job = jobs.run(tmp_path, program, launcher=ULFM, timeout=120, **options)
        if CRASH_OF_MPI not in job.output:
            break
    return job


#: Every collective, again and again; the last ranks die in each of them, and the others go on to the next.
COLLECTIVES = """
import numpy as np

CALLS = {
    "barrier": lambda comm, x: comm.barrier(),
    "bcast": lambda comm, x: comm.bcast(x if comm.rank == 0 else None),
    "scatter": lambda comm, x: comm.scatter(x if comm.rank == 0 else None),
    "gather": lambda comm, x: comm.gather(x),
    "allgather": lambda comm, x: comm.allgather(x),
    "alltoall": lambda comm, x: comm.alltoall(x),
    "reduce": lambda comm, x: comm.reduce(x, root=comm.size - 1),  # who dies
    "allreduce": lambda comm, x: comm.allreduce(x),
    "reduce_scatter": lambda comm, x: comm.reduce_scatter(x),
    "scan": lambda comm, x: comm.scan(x),
    "exscan": lambda comm, x: comm.exscan(x),
    "iallreduce": lambda comm, x: comm.iallreduce(x).wait(),
    "sendrecv": lambda comm, x: comm.sendrecv(x, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size),
    "compiled": lambda comm, x: compiled(comm, x),
}


@dc.jit
def compiled(comm, x):
    for _ in range(10):
        x = dc.allreduce(x, comm=comm)
        x = x * 0.0
    return x


def lose(comm, name, x, dying):
    "Make the call until ranks die in it; whether those have been named."
    call = CALLS[name]
    call(comm, x)
    call(comm, x)
    world = comm.allgather(np.array([dc.rank])).tolist()
    if comm.rank >= comm.size - dying:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
    start = time.monotonic()
    try:
        while time.monotonic() < start + 20:
            call(comm, x)
    except dc.RankFailedError as error:
        seconds = time.monotonic() - start - 0.03
        assert set(error.ranks) & set(world[-dying:]), (name, error.ranks, world, seconds)
        os.write(1, f"{name} {seconds:.3f}\\n".encode())
    with_error = 0
    for again in range(2):
        try:
            comm.barrier()
        except dc.RankFailedError:
            with_error += 1
    assert with_error == 2, name
    return comm.shrink()


comm = dc.COMM_WORLD
for turn, name in enumerate(NAMES):
    size = comm.size
    comm = lose(comm, name, np.ones((60, 1 + 4000 * (turn % 2))), DYING)
    assert comm.size == size - DYING
    total = comm.allreduce(np.arange(1000.0))
    assert (total == comm.size * np.arange(1000.0)).all()
os.write(1, f"left {comm.size} of {dc.size}\\n".encode())
"""

ALL = (
    "barrier", "bcast", "scatter", "gather", "allgather", "alltoall", "reduce", "allreduce", "reduce_scatter", "scan",
    "exscan", "iallreduce", "sendrecv", "compiled",
)  # fmt: skip


@pytest.mark.parametrize(
    ("names", "dying", "env"),
    [
        (ALL[:7], 1, {}),
        (ALL[7:], 1, {}),
        (ALL[1:7:2], 3, {}),
        (ALL[7::3], 3, {"DCOMP_RANKS_PER_NODE": "4"}),
        (ALL[:9:3], 3, {"DCOMP_ENGINE": "mpi"}),
    ],
    ids=["one", "another", "three", "nodes", "engine"],
)
def test_death_in_every_collective(tmp_path, names, dying, env):
    n = dying * len(names) + 2
    program = f"NAMES, DYING = {names}, {dying}\n{COLLECTIVES}"
    job = run(tmp_path, program, n=n, env=env)
    assert job.returncode == 0, job.output
    assert job.output.count(f"left 2 of {n}") == 2, job.output
    seconds = [float(text) for text in re.findall(r"^\w+ (-?\d+\.\d{3})$", job.output, re.MULTILINE)]
    assert len(seconds) == sum(n - dying * turn for turn in range(1, len(names) + 1)), job.output
    assert sorted(seconds)[len(seconds) // 2] < 0.5, job.output


def test_recover(tmp_path):
    """Ranks die in the call, while the others make a new communicator, and at the end; one hears of it late."""
    job = run(
        tmp_path,
        """
import numpy as np
from dcomp import Communicator

settle()
attempts = []


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def run(comm):
    attempts.append(comm.size)
    part = comm.split(0 if comm.rank else 1)
    total = comm.allreduce(np.full(50_000, 1.0))
    if comm.size == 7 and comm.rank == 6:
        die()
    if comm.size == 7 and comm.rank == 5:
        Communicator._wrap = die  # in the middle of shrink
    if comm.size == 7 and comm.rank == 0:
        time.sleep(0.5)
    if comm.size == 5 and comm.rank == 4:
        part.barrier()
        die()
    if comm.size == 5:
        part.barrier()
        if comm.rank == 0:
            return "too early"
    for _ in range(50):
        total = comm.allreduce(total / comm.size)
    return float(total[0]), int(part.allreduce(1))


result = dc.recover(run)
os.write(1, f"rank {dc.rank}: {attempts} {result}\\n".encode())
try:
    dc.allreduce(1)
except dc.RankFailedError as error:
    os.write(1, f"lost {error.ranks}\\n".encode())
""",
        n=7,
    )
    assert job.returncode == 0, job.output
    for rank in range(4):
        job.assert_once(rf"rank {rank}: \[7, 5, 4\] \(4\.0, {1 if rank == 0 else 3}\)")
    assert job.output.count("lost (4, 5, 6)") == 4, job.output
    job.assert_once(r"\[ranks? (5, )?6 of 7 on")


def test_death_while_communicators_are_made(tmp_path):
    """Whoever hears of it, and from whom: all name the dead one."""
    job = run(
        tmp_path,
        """
settle()
dc.COMM_WORLD.dup().free()
dc.barrier()
if dc.rank == 3:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
start = time.monotonic()
try:
    while time.monotonic() < start + 20:
        dc.COMM_WORLD.dup().free()
except dc.RankFailedError as error:
    os.write(1, f"named {error.ranks}\\n".encode())
os.write(1, f"left {dc.COMM_WORLD.shrink().allreduce(1)}\\n".encode())
""",
        n=4,
    )
    assert job.returncode == 0, job.output
    assert job.output.count("named (3,)") == 3, job.output
    assert job.output.count("left 3") == 3, job.output


def test_a_communicator_without_the_dead_goes_on(tmp_path):
    job = run(
        tmp_path,
        """
import numpy as np

pair = dc.COMM_WORLD.split(dc.rank // 2)
pair.allreduce(np.ones(3))
settle()
if dc.rank == 3:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    dc.barrier()
except dc.RankFailedError:
    pass
try:
    os.write(1, f"sum {pair.allreduce(np.ones(3))[0]}\\n".encode())
except dc.RankFailedError as error:
    os.write(1, f"{error}\\n".encode())
""",
        n=4,
    )
    assert job.returncode == 0, job.output
    assert job.output.count("sum 2.0") == 2, job.output
    job.assert_once(r"allreduce: rank 3 of 4, of \S+split\(1\), has died")


def test_loss_on_another_node(tmp_path):
    """Where ranks of one node meet, the dead is no member: that it is known ends the wait for its name."""
    job = run(
        tmp_path,
        """
from mpi4py import MPI

channel = dc.COMM_WORLD.dup()._channel
dc.barrier()  # until all have made it
threading.Timer(0.2, channel._give_up, ([5], True)).start()  # the guard's news, after another rank has revoked
channel.sync.Revoke()
start = time.monotonic()
try:
    channel.sync.Barrier()
except MPI.Exception as error:
    known = channel.explain("barrier", error)
assert isinstance(known, dc.RankFailedError) and known.ranks == (5,), known
assert time.monotonic() < start + 5
os.write(1, b"known\\n")
""",
        n=2,
    )
    assert job.returncode == 0, job.output
    assert job.output.count("known") == 2, job.output


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)"])
def test_uncaught_loss_ends_the_job(tmp_path, how):
    """As any exception does; so does a death that MPI does not notice, at once."""
    job = run(
        tmp_path,
        f"settle()\nif dc.rank == 1:\n    event()\n    {how}\ndc.barrier()\n",
        n=4,
    )
    job.assert_ended_soon()
    job.assert_once(r"\[rank 1 of 4 on \S+\] died")
    if "kill" in how:
        job.assert_once(r"\[ranks 0, 2, 3 of 4 on \S+\] Traceback")
        assert "RankFailedError: barrier: rank 1 of 4, of MPI_COMM_WORLD, has died" in job.output


def test_stopped_rank_is_named(tmp_path):
    """It has not died, so nothing is lost; the report says who is missing."""
    job = run(
        tmp_path,
        """
settle()
if dc.rank == 2:
    os.kill(os.getpid(), signal.SIGSTOP)
dc.barrier()
""",
        n=3,
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.returncode != 0
    job.assert_once(r"DeadlockError: barrier: rank 2 of 3 is missing")
    job.assert_once(r"  rank 2: does not answer: stopped, dead")


def test_example(tmp_path):
    example = Path(__file__).parents[2] / "examples/lost_rank.py"
    done = mpirun(4, example, "--lose", "1", cwd=tmp_path, launcher=ULFM, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on 3 ranks from step 1000" in done.stdout and "lost_rank: OK" in done.stdout, done.stdout


def test_death_at_the_start_ends_the_job(tmp_path):
    """Before the ranks know each other there is no one to go on with."""
    first = "import os, time; rank = int(os.environ['OMPI_COMM_WORLD_RANK']); from mpi4py import MPI"
    dying = "rank == 1 and (os.write(1, f'EVENT {time.time()}\\n'.encode()), os.kill(os.getpid(), 9))"
    job = run(tmp_path, "", n=3, first=f"{first}; {dying}")
    assert job.returncode != 0, job.output
