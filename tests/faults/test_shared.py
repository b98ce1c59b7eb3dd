"""Ranks that share memory and wait there: what ends or interrupts the wait, and what is left of it."""

import pytest
from jobs import run

#: A collective by name on an array of `n` elements, made before.
CALLS = """
import numpy as np


def call(comm, name, n):
    x = np.ones(n - n % comm.size)
    if name == "barrier":
        return comm.barrier()
    if name in ("bcast", "scatter"):
        x = x if comm.rank == 0 else None
    return getattr(comm, name)(x)


NAMES = "barrier bcast scatter gather allgather alltoall reduce allreduce reduce_scatter scan exscan".split()
"""


def test_missing_rank_in_every_collective(tmp_path):
    """In calls that all have made before, small and large ones in turn."""
    job = run(
        tmp_path,
        f"""{CALLS}
places = [(name, 9 if turn % 2 else 300000, dc.COMM_WORLD.dup()) for turn, name in enumerate(NAMES)]
for name, n, place in places:
    for _ in range(3):
        call(place, name, n)
dc.barrier()
limit(0.3)
if dc.rank != 2:
    for name, n, place in places:
        began = time.time()
        try:
            call(place, name, n)
        except dc.DeadlockError as error:
            assert "rank 2 of 3 is missing" in str(error), error
            assert time.time() - began < 5
            os.write(1, f"late {{name}}\\n".encode())
        try:
            call(place, name, n)
        except dc.DeadlockError as error:
            os.write(1, f"closed {{name}}\\n".encode())
leave()
""",
    )
    assert job.output.count("late ") == 2 * 11, job.output
    assert job.output.count("closed ") == 2 * 11, job.output


@pytest.mark.parametrize(
    ("name", "n"), [("barrier", 0), ("allreduce", 9), ("allreduce", 300000), ("bcast", 3000000), ("alltoall", 300000)]
)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_death_amid_collectives(tmp_path, name, n, how):
    job = run(
        tmp_path,
        f"""{CALLS}
settle()


def die():
    event()
    os.kill(os.getpid(), signal.{how})


if dc.rank == 1:
    threading.Timer(0.2, die).start()
while True:
    call(dc.COMM_WORLD, "{name}", {n})
""",
    )
    job.assert_ended_soon()


def test_interrupt_of_a_wait(tmp_path):
    """Python's handler runs; that communicator is closed on this rank, and others are as they were."""
    job = run(
        tmp_path,
        f"""{CALLS}
for n in 9, 300000:
    comm, other = dc.COMM_WORLD.dup(), dc.COMM_WORLD.dup()
    for _ in range(3):
        call(comm, "allreduce", n)
    if dc.rank == 0:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.time()
        try:
            call(comm, "allreduce", n)
        except KeyboardInterrupt:
            os.write(1, f"interrupted {{time.time() - began < 0.8}}\\n".encode())
        try:
            call(comm, "allreduce", n)
        except dc.UsageError as error:
            os.write(1, f"{{error}}\\n".encode())
    call(other, "barrier", 0)
leave()
""",
    )
    assert job.output.count("interrupted True") == 2, job.output
    assert job.output.count("interrupted, so the ranks are out of step") == 2, job.output


@pytest.mark.parametrize("engine", ["auto", "mpi"], ids=["shared memory", "through MPI"])
def test_exception_of_a_signal_handler(tmp_path, engine):
    """Not only Ctrl-C's: whatever leaves a wait leaves the ranks out of step, and later calls say so."""
    job = run(
        tmp_path,
        """
import numpy as np

def handler(*_):
    raise TimeoutError("alarm")

signal.signal(signal.SIGALRM, handler)
for n in 3, 30000:
    comm = dc.COMM_WORLD.dup()
    for _ in range(3):
        comm.allreduce(np.ones(n))
    dc.COMM_WORLD.mpi.Barrier()
    if dc.rank == 0:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            comm.allreduce(np.ones(n))
        except TimeoutError as error:
            os.write(1, f"{error}\\n".encode())
        try:
            comm.allreduce(np.ones(n))
        except dc.UsageError as error:
            os.write(1, f"{error}\\n".encode())
    dc.COMM_WORLD.mpi.Barrier()
leave()
""",
        env={"DCOMP_ENGINE": engine},
    )
    assert job.output.count("alarm") == 2, job.output
    assert job.output.count("interrupted, so the ranks are out of step") == 2, job.output


def test_interrupt_when_the_ranks_have_met(tmp_path):
    """For a call that is not the one that rank 0 made before; its next call must not be taken for that one."""
    job = run(
        tmp_path,
        """
import numpy as np
from dcomp import _quick

comm, describe = dc.COMM_WORLD.dup(), _quick.describe
for _ in range(3):
    comm.allgather(np.ones(4))
limit(0.5)


def interrupted(*arguments, **options):
    _quick.describe = describe
    raise KeyboardInterrupt


if dc.rank == 0:
    _quick.describe = interrupted
    try:
        comm.allgather(np.ones(4))
    except KeyboardInterrupt:
        os.write(1, b"interrupted\\n")
    try:
        comm.allgather(np.ones(7))
    except dc.UsageError as error:
        os.write(1, f"{error}\\n".encode())
else:
    try:
        comm.allgather(np.ones(5))
    except dc.DeadlockError as error:
        os.write(1, b"late\\n")
leave()
""",
    )
    job.assert_once("\ninterrupted\n|^interrupted\n")
    job.assert_once("interrupted, so the ranks are out of step")
    assert job.output.count("late") == 2, job.output


@pytest.mark.parametrize("heap", ["1M", "8M", "14M"])
def test_a_small_heap(tmp_path, heap):
    """What has no room goes through MPI, whatever other ranks still have; nothing is wrong."""
    job = run(
        tmp_path,
        """
import numpy as np

kept = []
parts = [dc.COMM_WORLD.dup() for _ in range(3)]
for turn in range(60):
    comm = parts[turn % 3]
    n = (10, 1000, 100000, 400000)[turn % 4] + turn % 2
    total = comm.allreduce(np.full(n, turn + dc.rank))
    every = comm.allgather(total[: n // 3])
    assert (total == 3 * turn + 3).all() and (every == 3 * turn + 3).all() and every.size == n // 3 * 3
    root = comm.bcast(total if dc.rank == 1 else None, root=1)
    assert (root == total).all() and (comm.scan(total) == total * (dc.rank + 1)).all()
    if dc.rank == turn % 3:
        kept = [*kept[-4:], (total.copy(), total)]
    assert all((was == now).all() for was, now in kept)
os.write(1, b"right\\n")
""",
        env={"DCOMP_HEAP": heap},
    )
    assert job.returncode == 0, job.output
    assert job.output.count("right") == 3, job.output


def test_two_threads_in_quick_calls(tmp_path):
    """On two communicators all goes well; in one, a thread is told."""
    job = run(
        tmp_path,
        """
import numpy as np


def work(comm, n, told, turns):
    for turn in range(turns):
        try:
            total = comm.allreduce(np.full(n + turn % 5, turn))
        except dc.UsageError as error:
            told.append(str(error))
            return
        if total[-1] != turn * comm.size:
            told.append(f"{total[-1]} in turn {turn}")


def at_once(*jobs):
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)


spare, told = dc.COMM_WORLD.dup(), []
at_once((dc.COMM_WORLD, 3, told, 200), (spare, 7000, told, 200))
os.write(1, f"apart {told}\\n".encode())
dc.barrier()
if dc.rank == 0:
    thread = threading.Thread(target=work, args=(spare, 3, told, 1))
    thread.start()
    time.sleep(0.2)
    work(spare, 3, told, 1)
    dc.barrier()
    thread.join()
    os.write(1, f"{told}\\n".encode())
else:
    dc.barrier()
    work(spare, 3, told, 1)
os.write(1, f"sum {spare.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("apart []") == 3, job.output
    job.assert_once("another thread is in a call on .* on rank 0 of 3")
    assert job.output.count("sum 3") == 3, job.output


@pytest.mark.parametrize("starts", ["pass", "dc.COMM_WORLD"], ids=["no job has started", "one has"])
def test_a_communicator_with_ranks_of_another_job(tmp_path, starts):
    """Spawned ranks share no memory with those that spawned them."""
    job = run(
        tmp_path,
        """
from mpi4py import MPI

if MPI.Comm.Get_parent() == MPI.COMM_NULL:
    START
    both = MPI.COMM_WORLD.Spawn(sys.executable, [__file__], maxprocs=1).Merge(False)
else:
    both = MPI.Comm.Get_parent().Merge(True)
os.write(1, f"sum {dc.Communicator(both).allreduce(1)}\\n".encode())
both.Barrier()
leave()
""".replace("START", starts),
        n=2,
    )
    assert job.output.count("sum 3") == 3, job.output


def test_a_result_that_others_may_still_write_into_is_not_used_again(tmp_path):
    """Ranks give up a call in which their result was promised to a late one; it is for that rank only from then on."""
    job = run(
        tmp_path,
        """
import numpy as np

n = 1 << 17
pair = dc.COMM_WORLD.split(0 if dc.rank else None)
x = np.ones(n) if dc.rank == 0 else None
for _ in range(3):
    dc.bcast(x)
dc.COMM_WORLD.mpi.Barrier()
limit(1)
if dc.rank == 0:
    time.sleep(2)
    try:
        dc.bcast(x)
    except dc.DeadlockError:
        pass
else:
    try:
        dc.bcast()
    except dc.DeadlockError:
        os.write(1, b"given up\\n")
    results = [pair.allreduce(np.full(n, 50.0)) for _ in range(4)]
    time.sleep(2)
    if any((result != 100).any() for result in results):
        os.write(1, b"written over\\n")
leave()
""",
        n=3,
    )
    assert job.output.count("given up") == 2, job.output
    assert "written over" not in job.output


def test_a_started_plan_where_no_thread_may_call_mpi(tmp_path):
    """Who waits on another communicator moves it on."""
    job = run(
        tmp_path,
        """
import numpy as np

other = dc.COMM_WORLD.dup()
plan = dc.allreduce_init(np.ones(100_000))
for turn in range(3):
    plan.start()
    if dc.rank == 0:
        total = plan.wait()
        other.barrier()
    else:
        other.barrier()
        total = plan.wait()
    assert (total == dc.size).all()
os.write(1, b"right\\n")
""",
        n=2,
        first="import mpi4py\nmpi4py.rc.thread_level = 'funneled'",
        env={"DCOMP_TIMEOUT": "10"},
    )
    assert job.returncode == 0, job.output
    assert job.output.count("right") == 2, job.output
