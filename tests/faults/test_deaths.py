"""Sudden deaths: the job ends, and someone else says who died."""

import socket

import pytest
from jobs import run

NODE = socket.gethostname()


@pytest.mark.parametrize("others", ["dc.barrier()", "time.sleep(30)", "dc.COMM_WORLD.mpi.Barrier()"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)", "os._exit(0)"])
def test_death_is_told_once_by_others(tmp_path, how, others):
    job = run(tmp_path, f"settle()\nif dc.rank == 1:\n    event()\n    {how}\n{others}\n", n=4)
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 4 on {NODE}\] died")
    job.assert_once(r"\[rank")


def test_crash_shows_the_line(tmp_path):
    job = run(
        tmp_path,
        """
def crash():
    os.kill(os.getpid(), signal.SIGSEGV)  # HERE

settle()
if dc.rank == 1:
    event()
    crash()
dc.barrier()
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] Fatal Python error: Segmentation fault")
    path, line = job.place("HERE").rsplit(":", 1)
    job.assert_once(rf'File "{path}", line {line} in crash')


def test_death_before_the_guard_is_up(tmp_path):
    """MPICH's mpirun may have killed all others by then, too, and no one can tell who was first."""
    job = run(tmp_path, "if dc.rank == 1:\n    event()\n    os._exit(3)\ndc.barrier()\n")
    job.assert_ended_soon()
    job.assert_once(rf"\[ranks? (1|0-2|0, 1|1, 2) of 3 on {NODE}\] died")
    job.assert_once(r"\[rank")


def test_death_of_the_first_rank(tmp_path):
    """The guard was started by it, and outlives it."""
    job = run(
        tmp_path,
        "settle()\nif dc.rank == 0:\n    event()\n    os.kill(os.getpid(), signal.SIGKILL)\ndc.barrier()\n",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 0 of 3 on {NODE}\] died")
    job.assert_once(r"\[rank")


def test_death_is_seen_across_nodes(tmp_path):
    """Ranks of other nodes, here pretended ones, reach the guard at a network address."""
    job = run(
        tmp_path,
        "settle()\nif dc.rank == 3:\n    event()\n    os._exit(0)\ntime.sleep(30)\n",
        n=4,
        env={"DCOMP_RANKS_PER_NODE": "2"},
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 3 of 4 on {NODE}\] died")


def test_death_is_seen_while_a_forked_child_lives_on(tmp_path):
    """The child has copies of all that its parent had open."""
    job = run(
        tmp_path,
        """
settle()
if dc.rank == 1:
    if os.fork() == 0:
        os.close(0), os.close(1), os.close(2)
        time.sleep(1)
        os._exit(0)
    event()
    os._exit(0)
time.sleep(30)
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] died")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("how", ["os._exit(3)", "sys.exit(3)", "raise ValueError('in the child')"])
def test_end_of_a_forked_child_is_not_the_ranks(tmp_path, how, n):
    job = run(
        tmp_path,
        f"""
if dc.rank == dc.size - 1:
    child = os.fork()
    if child == 0:
        {how}
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(1, f"status {{status}}\\n".encode())
os.write(1, f"sum {{dc.allreduce(1)}}\\n".encode())
""",
        n=n,
    )
    assert job.returncode == 0, job.output
    assert job.output.count(f"sum {n}") == n
    job.assert_once(f"status {1 if 'raise' in how else 3}")
    assert "[rank" not in job.output


def test_call_in_a_forked_child(tmp_path):
    job = run(
        tmp_path,
        """
child = os.fork()
if child == 0:
    try:
        dc.barrier()
    except dc.UsageError as error:
        os.write(1, f"{error}\\n".encode())
    os._exit(0)
os.waitpid(child, 0)
dc.barrier()
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("does not survive a fork") == 3
