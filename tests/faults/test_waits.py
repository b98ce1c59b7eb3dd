"""Waits that are too long: who is missing, and where everyone is."""

import pytest
from jobs import run

#: A rank that does not come; it would in the end, so that a test that fails ends as well.
LATE = "time.sleep(20)  # LATE"


@pytest.mark.parametrize("nodes", [{}, {"DCOMP_RANKS_PER_NODE": "2"}], ids=["one node", "two nodes"])
def test_missing_rank_in_a_collective(tmp_path, nodes):
    job = run(
        tmp_path,
        f"""
def work():
    event()
    {LATE}

if dc.rank == 3:
    work()
dc.allreduce(1.0)  # HERE
""",
        n=4,
        env={"DCOMP_TIMEOUT": "1", **nodes},
    )
    assert job.returncode != 0
    assert job.seconds() < 1 + 2, job.output
    job.assert_once(r"DeadlockError: allreduce: rank 3 of 4 is missing")
    job.assert_once(rf"  ranks 0-2: waiting in allreduce on \S+ at {job.place('HERE')} in <module>\n")
    job.assert_once(rf"  rank 3: at {job.place('LATE')} in work; has made 1 of 2 collective calls")
    job.assert_once(r"DCOMP_TIMEOUT=1 s")
    job.assert_once(r"\[ranks 0-2 of 4 on")


def test_no_one_sends(tmp_path):
    """A receive from anyone is not told to have its data under way."""
    job = run(tmp_path, "dc.recv()  # HERE\n", env={"DCOMP_TIMEOUT": "1"})
    assert job.returncode != 0
    job.assert_once(r"DeadlockError: recv: no rank has sent what is waited for on MPI_COMM_WORLD\. Where the ranks are")
    job.assert_once(rf"  ranks 0-2: waiting in recv on \S+ at {job.place('HERE')} in <module>")


def test_missing_rank_in_a_receive(tmp_path):
    job = run(
        tmp_path,
        f"""
if dc.rank == 2:
    event()
    {LATE}
else:
    dc.recv(source=2)  # HERE
""",
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.returncode != 0
    assert job.seconds() < 1 + 2, job.output
    job.assert_once(r"DeadlockError: recv: rank 2 of 3 is missing")
    job.assert_once(rf"  ranks 0, 1: waiting in recv on \S+ at {job.place('HERE')} in <module>\n")
    job.assert_once(rf"  rank 2: at {job.place('LATE')} in <module>")


def test_missing_rank_of_a_part(tmp_path):
    """In a communicator of some ranks, those of COMM_WORLD are named."""
    job = run(
        tmp_path,
        f"""
part = dc.COMM_WORLD.split(dc.rank % 2)
if dc.rank == 3:
    {LATE}
if dc.rank == 1:
    part.barrier()  # HERE
time.sleep(20)
""",
        n=4,
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.returncode != 0
    job.assert_once(r"DeadlockError: barrier: rank 3 of 4 is missing on \S+split\(1\)")
    job.assert_once(rf"  rank 3: at {job.place('LATE')} in <module>; has made 0 of 1 collective calls on \S+split\(1\)")
    job.assert_once(rf"  rank 1: waiting in barrier on \S+split\(1\) at {job.place('HERE')} in <module>")


def test_two_groups_that_wait_for_each_other(tmp_path):
    job = run(
        tmp_path,
        """
part = dc.COMM_WORLD.split(0)
if dc.rank == 0:
    dc.barrier()  # WORLD
else:
    part.barrier()  # PART
""",
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.returncode != 0
    assert f"rank 0: waiting in barrier on MPI_COMM_WORLD at {job.place('WORLD')}" in job.output
    assert f"at {job.place('PART')}" in job.output


def test_caught_error_leaves_the_rank_alive_and_the_communicator_closed(tmp_path):
    job = run(
        tmp_path,
        """
spare = dc.COMM_WORLD.dup()
if dc.rank == 2:
    time.sleep(2)
else:
    for attempt in "first", "second":
        try:
            dc.barrier()
        except dc.DeadlockError as error:
            os.write(1, f"{attempt} {type(error).__name__} {isinstance(error, TimeoutError)}\\n".encode())
os.write(1, f"sum {spare.allreduce(1)}\\n".encode())
""",
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.output.count("first DeadlockError True") == 2, job.output
    assert job.output.count("second DeadlockError True") == 2, job.output


def test_rank_in_compiled_code(tmp_path):
    """It keeps the GIL, so that no thread of Python can say where it is; its signal handler can."""
    job = run(
        tmp_path,
        """
def work():
    event()
    sum(range(10**9))  # LATE

if dc.rank == 2:
    work()
dc.barrier()
""",
        env={"DCOMP_TIMEOUT": "1"},
    )
    assert job.returncode != 0
    assert job.seconds() < 1 + 1 + 2, job.output
    job.assert_once("DeadlockError: barrier: rank 2 of 3 is missing")
    job.assert_once(f"  rank 2: in compiled code that keeps the GIL, called at {job.place('LATE')} in work\n")


@pytest.mark.parametrize("signal", ["USR2", "off"])
def test_stopped_rank(tmp_path, signal):
    job = run(
        tmp_path,
        """
pids = dc.COMM_WORLD.allgather_object(os.getpid())
if dc.rank == 0:
    threading.Timer(5, os.kill, (pids[2], signal.SIGCONT)).start()
if dc.rank == 2:
    os.kill(os.getpid(), signal.SIGSTOP)
dc.barrier()
""",
        env={"DCOMP_TIMEOUT": "1", "DCOMP_REPORT_SIGNAL": signal},
    )
    assert job.returncode != 0
    job.assert_once("DeadlockError: barrier: rank 2 of 3 is missing")
    job.assert_once("  rank 2: does not answer: stopped, dead, or in compiled code that keeps the GIL")


def test_report_without_a_timeout_comes_once_and_the_wait_goes_on(tmp_path):
    job = run(
        tmp_path,
        """
import dcomp.engine.waiting
dcomp._watch.REPORT_AFTER = 0.5
if dc.rank == 2:
    time.sleep(2.5)  # LATE
os.write(1, f"sum {dc.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("sum 3") == 3
    job.assert_once("allreduce: rank 2 of 3 is missing")
    job.assert_once(rf"rank 2: at {job.place('LATE')} in <module>")


@pytest.mark.parametrize("where", ["rank", "inside MPI"])
def test_report_on_signal(tmp_path, where):
    """Whatever the rank does that gets the signal."""
    wait = "dc.barrier()" if where == "rank" else "dc.COMM_WORLD.mpi.Barrier()"
    job = run(
        tmp_path,
        f"""
pids = dc.COMM_WORLD.allgather_object(os.getpid())
if dc.rank == 2:
    time.sleep(0.3)
    os.kill(pids[1], signal.SIGUSR2)
    time.sleep(1)  # LATE
{wait}  # HERE
""",
    )
    assert job.returncode == 0, job.output
    job.assert_once(r"Where the 3 ranks are:\n  ranks 0, 1: .*HERE".replace("HERE", f"at {job.place('HERE')} in"))
    job.assert_once(rf"  rank 2: at {job.place('LATE')} in <module>\n")


def test_report_on_a_signal_to_all_ranks_comes_once(tmp_path):
    """As some launchers forward it."""
    job = run(
        tmp_path,
        """
pids = dc.COMM_WORLD.allgather_object(os.getpid())
if dc.rank == 2:
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    time.sleep(1)
dc.barrier()
""",
        env={"DCOMP_REPORT_SIGNAL": "USR1"},
    )
    assert job.returncode == 0, job.output
    job.assert_once("Where the 3 ranks are:")


def test_report_signal_of_the_program_is_left_alone(tmp_path):
    job = run(
        tmp_path,
        """
os.kill(os.getpid(), signal.SIGUSR2)
dc.barrier()
""",
        first="import os, signal; signal.signal(signal.SIGUSR2, lambda *_: os.write(1, b'its own\\n'))",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("its own") == 3
    assert "Where the" not in job.output


def test_report_of_a_single_rank(tmp_path):
    job = run(tmp_path, "os.kill(os.getpid(), signal.SIGUSR2)  # HERE\ndc.barrier()\n", n=1)
    assert job.returncode == 0, job.output
    path, line = job.place("HERE").rsplit(":", 1)
    job.assert_once(rf'File "{path}", line {line} in <module>')


def test_two_threads_in_one_communicator(tmp_path):
    job = run(
        tmp_path,
        """
spare = dc.COMM_WORLD.dup()
if dc.rank == 0:
    thread = threading.Thread(target=dc.barrier)
    thread.start()
    time.sleep(0.2)
    try:
        dc.barrier()
    except dc.UsageError as error:
        os.write(1, f"{error}\\n".encode())
    spare.barrier()
    thread.join()
else:
    spare.barrier()
    dc.barrier()
os.write(1, f"sum {dc.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    job.assert_once("barrier: another thread is in a call on MPI_COMM_WORLD on rank 0 of 3")
    assert job.output.count("sum 3") == 3


#: Rank 1 stops when the ranks have agreed, and goes on after some seconds.
_INSIDE_MPI = """
import numpy as np
from dcomp.engine import requests

run_route = requests.run_route


def stop(*call):
    requests.run_route = run_route
    os.kill(os.getpid(), signal.SIGSTOP)
    return run_route(*call)


x = np.ones(1_000_000)
dc.allreduce(x)
pid = dc.bcast(os.getpid() if dc.rank == 1 else None, root=1)
if dc.rank == 0:
    threading.Timer({goes_on}, lambda: os.kill(pid, signal.SIGCONT)).start()
if dc.rank == 1:
    requests.run_route = stop
dc.allreduce(x)
os.write(1, b"DONE\\n")
"""


def test_a_root_that_is_slower_than_the_others_end(tmp_path):
    """Their data has come, so nothing is hopeless."""
    job = run(
        tmp_path,
        """
import numpy as np


def slowly(a, b):
    total = a + b
    for i in range(1_200_000_000):
        total += (i % 7) * 1e-300
    return total


total = dc.reduce(np.ones(4), dc.Op(slowly), root=1)
if dc.rank == 1:
    os.write(1, f"TOTAL {total}\\n".encode())
""",
        n=2,
        env={"DCOMP_ENGINE": "mpi"},
    )
    assert job.returncode == 0, job.output
    job.assert_once(r"TOTAL \[2. 2. 2. 2.\]")


def test_timeout_inside_mpi_when_a_rank_has_ended(tmp_path):
    """The guard asks all ranks again and again then; that must not keep one from looking."""
    program = _INSIDE_MPI.format(goes_on=50).replace("dc.allreduce(x)\nos.write", "comm.allreduce(x)\nos.write")
    program = program.replace(
        "if dc.rank == 1:\n    requests", "comm = dc.COMM_WORLD.split(dc.rank == 2)\nif dc.rank == 1:\n    requests"
    )
    job = run(tmp_path, program, env={"DCOMP_ENGINE": "mpi", "DCOMP_TIMEOUT": "6"})
    assert job.returncode != 0
    job.assert_once("The wait was longer than DCOMP_TIMEOUT=6 s. It is inside MPI, which no exception can leave")


@pytest.mark.parametrize("timeout", ["1e-3", "1e9"])
def test_odd_timeouts(tmp_path, timeout):
    job = run(tmp_path, "time.sleep(0.5)\nos.write(1, b'DONE\\n')\n", env={"DCOMP_TIMEOUT": timeout}, n=1)
    assert job.output.count("DONE") == 1
    job = run(tmp_path, "settle()\nos.write(1, b'DONE\\n')\n", env={"DCOMP_TIMEOUT": "1e9"}, n=2)
    assert job.output == "DONE\nDONE\n", job.output


def test_timeout_inside_mpi(tmp_path):
    """No exception can leave a call of MPI: the job ends."""
    job = run(tmp_path, _INSIDE_MPI.format(goes_on=50), env={"DCOMP_ENGINE": "mpi", "DCOMP_TIMEOUT": "2"})
    assert job.returncode != 0
    assert "DONE" not in job.output
    job.assert_once("DeadlockError: allreduce: rank 1 of 3 is missing on MPI_COMM_WORLD")
    job.assert_once("The wait was longer than DCOMP_TIMEOUT=2 s. It is inside MPI, which no exception can leave")


def test_report_of_a_call_inside_mpi_comes_once(tmp_path):
    """Without a timeout the call goes on, if it can."""
    first = "import dcomp._watch; dcomp._watch.REPORT_AFTER = 1.0"
    job = run(tmp_path, _INSIDE_MPI.format(goes_on=4), env={"DCOMP_ENGINE": "mpi"}, first=first)
    assert job.returncode == 0, job.output
    assert job.output.count("DONE") == 3
    job.assert_once("allreduce: rank 1 of 3 is missing on MPI_COMM_WORLD")
