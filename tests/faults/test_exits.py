"""A rank that leaves while others do not: `sys.exit`, an early end, MPI_Finalize."""

import socket

import pytest
from jobs import run

NODE = socket.gethostname()


@pytest.mark.parametrize("others", ["dc.barrier()", "time.sleep(30)"])
@pytest.mark.parametrize("how", ["sys.exit(3)", "sys.exit('no licence')"])
def test_exit_with_a_bad_status_ends_the_job(tmp_path, how, others):
    status = 3 if "3" in how else 1
    job = run(tmp_path, f"if dc.rank == 1:\n    time.sleep(0.3)\n    event()\n    {how}\n{others}\n")
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] sys.exit\({status}\)")
    assert job.output.count("no licence") == (status == 1)


def test_exit_is_not_hindered_by_threads(tmp_path):
    job = run(
        tmp_path,
        """
if dc.rank == 1:
    threading.Thread(target=time.sleep, args=(30,)).start()
    event()
    sys.exit(3)
time.sleep(30)
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] sys.exit\(3\)")


@pytest.mark.parametrize("how", ["raise SystemExit(3)", "sys.exit(0)", "sys.exit()", "exit(3)"])
def test_early_end_ends_the_job_when_others_wait(tmp_path, how):
    """Python tells no one the status of these."""
    job = run(tmp_path, f"if dc.rank == 1:\n    event()\n    {how}\ndc.barrier()  # HERE\n")
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] the program ended")
    job.assert_once(
        rf"barrier: rank 1 of 3 is missing.*\n  ranks 0, 2: waiting in barrier .* at {job.place('HERE')} in"
    )


def test_threads_may_go_on_after_a_good_exit(tmp_path):
    """Python waits for them, and so does the end of the rank."""
    job = run(
        tmp_path,
        """
def work():
    time.sleep(2)
    os.write(1, f"sum {dc.allreduce(1)}\\n".encode())

if dc.rank == 1:
    threading.Thread(target=work).start()
    sys.exit(0)
os.write(1, f"sum {dc.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("sum 3") == 3


def test_exit_of_all_ranks_is_the_programs_own(tmp_path):
    job = run(tmp_path, "time.sleep(0.2 * dc.rank)\nevent()\nsys.exit(3)\n")
    assert job.returncode == 3, job.output
    assert "sys.exit" not in job.output


def test_waiting_for_a_message_of_a_rank_that_has_ended(tmp_path):
    job = run(tmp_path, "if dc.rank != 1:\n    dc.recv(source=1)  # HERE\n")
    assert job.returncode != 0
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] the program ended")
    job.assert_once(rf"recv: rank 1 of 3 is missing.*\n  ranks 0, 2: waiting in recv .* at {job.place('HERE')} in")


def test_ranks_may_end_at_different_times(tmp_path):
    """Who has ended has sent its message, and no one waits for it in vain."""
    job = run(
        tmp_path,
        """
if dc.rank == 1:
    dc.send(dc.rank, 0)
elif dc.rank == 0:
    time.sleep(3)
    os.write(1, f"got {dc.recv(source=1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    job.assert_once("got 1")


def test_normal_end_is_quick_and_silent(tmp_path):
    job = run(tmp_path, "dc.barrier()\nif dc.rank == 0:\n    event()\n")
    assert job.returncode == 0
    assert job.seconds() < 2, job.output
    assert len(job.output.splitlines()) == 1, job.output


def test_after_the_program_has_finalised_mpi(tmp_path):
    job = run(
        tmp_path,
        """
from mpi4py import MPI
MPI.Finalize()
try:
    dc.barrier()
except dc.UsageError as error:
    os.write(1, f"{error}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("MPI has been finalised") == 3


def test_early_finalize_ends_the_job_when_others_wait(tmp_path):
    job = run(
        tmp_path,
        """
from mpi4py import MPI
if dc.rank == 1:
    event()
    MPI.Finalize()
dc.barrier()
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] the program ended")


def test_single_rank_keeps_pythons_ways(tmp_path):
    job = run(tmp_path, "raise ValueError('alone')\n", n=1)
    assert job.returncode == 1
    job.assert_once("ValueError: alone")
    assert f"on {NODE}]" not in job.output
