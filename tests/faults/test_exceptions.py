"""An uncaught exception ends the job: printed once, with rank and node, within two seconds."""

import socket

import pytest
from jobs import run

NODE = socket.gethostname()


@pytest.mark.parametrize("others", ["dc.barrier()", "time.sleep(30)", "dc.recv(source=1)"])
def test_exception_on_one_rank_ends_the_job(tmp_path, others):
    job = run(
        tmp_path,
        f"""
def solve():
    raise ValueError("no solution")  # HERE

if dc.rank == 1:
    time.sleep(0.3)
    event()
    solve()
{others}
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] Traceback")
    job.assert_once(r"Traceback")
    job.assert_once(r"ValueError: no solution")
    path, line = job.place("HERE").rsplit(":", 1)
    job.assert_once(rf'File "{path}", line {line}, in solve')


def test_same_exception_on_all_ranks_is_printed_once(tmp_path):
    job = run(tmp_path, "event()\nraise ValueError('everywhere')\n", n=4)
    job.assert_ended_soon()
    job.assert_once(rf"\[ranks 0-3 of 4 on {NODE}\] Traceback")
    job.assert_once(r"ValueError: everywhere")


def test_different_exceptions_are_printed_apart(tmp_path):
    job = run(tmp_path, "event()\nraise ValueError(f'kind {dc.rank // 2}')\n", n=4)
    job.assert_ended_soon()
    job.assert_once(rf"\[ranks 0, 1 of 4 on {NODE}\] Traceback")
    job.assert_once(rf"\[ranks 2, 3 of 4 on {NODE}\] Traceback")
    job.assert_once(r"ValueError: kind 0")
    job.assert_once(r"ValueError: kind 1")


def test_threads_do_not_hinder_the_end(tmp_path):
    job = run(
        tmp_path,
        """
if dc.rank == 1:
    threading.Thread(target=time.sleep, args=(30,)).start()
    event()
    raise ValueError("no solution")
dc.barrier()
""",
    )
    job.assert_ended_soon()
    job.assert_once(r"ValueError: no solution")


def test_what_was_printed_before_is_not_lost(tmp_path):
    job = run(
        tmp_path,
        """
print("printed by", dc.rank)  # to a pipe, so it stays in a buffer
dc.barrier()
if dc.rank == 1:
    event()
    raise ValueError("no solution")
time.sleep(30)
""",
        env={"PYTHONUNBUFFERED": ""},
    )
    job.assert_ended_soon()
    for rank in range(3):
        job.assert_once(f"printed by {rank}")


def test_the_hook_of_the_program_is_called(tmp_path):
    """One that was there before dcomp started."""
    hook = "import sys\nsys.excepthook = lambda kind, error, trace: print('shown:', error, file=sys.stderr)\n"
    (tmp_path / "own_hook.py").write_text(hook)
    job = run(
        tmp_path, "event()\nif dc.rank == 1:\n    raise ValueError('mine')\ndc.barrier()\n", first="import own_hook"
    )
    job.assert_ended_soon()
    job.assert_once("shown: mine")
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] ends with ValueError")
    assert "Traceback" not in job.output


def test_interrupt_of_one_rank(tmp_path):
    job = run(
        tmp_path,
        """
pids = dc.COMM_WORLD.allgather_object(os.getpid())
if dc.rank == 0:
    time.sleep(0.3)
    event()
    os.kill(pids[2], signal.SIGINT)
dc.recv(source=1) if dc.rank == 2 else dc.barrier()  # HERE
""",
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 2 of 3 on {NODE}\] Traceback")
    job.assert_once("KeyboardInterrupt")
    path, line = job.place("HERE").rsplit(":", 1)
    job.assert_once(rf'File "{path}", line {line}')


def test_interrupt_of_mpirun(tmp_path):
    """Open MPI's mpirun kills the ranks; MPICH's passes the signal on, and then all ranks say the same."""
    job = run(
        tmp_path,
        """
def interrupt():
    event()
    time.sleep(0.1)  # let mpirun pass on the line first
    os.kill(launcher(), signal.SIGINT)

if dc.rank == 0:
    threading.Timer(0.5, interrupt).start()
dc.recv(source=dc.rank)
""",
    )
    job.assert_ended_soon()
    assert job.output.count("Traceback") <= 1
    if "KeyboardInterrupt" in job.output:
        job.assert_once(rf"\[ranks 0-2 of 3 on {NODE}\] Traceback")


def test_what_is_caught_is_the_programs_own(tmp_path):
    job = run(
        tmp_path,
        """
try:
    raise ValueError("caught")
except ValueError:
    pass
try:
    sys.exit(3)
except SystemExit as error:
    assert type(error) is SystemExit and error.code == 3
thread = threading.Thread(target=lambda: sys.exit(3))
thread.start()
thread.join()
os.write(1, f"sum {dc.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("sum 3") == 3


def test_exception_in_a_thread_is_no_end(tmp_path):
    job = run(
        tmp_path,
        """
def fail():
    raise ValueError("in a thread")

thread = threading.Thread(target=fail)
thread.start()
thread.join()
os.write(1, f"sum {dc.allreduce(1)}\\n".encode())
""",
    )
    assert job.returncode == 0, job.output
    assert job.output.count("sum 3") == 3
    assert "ValueError: in a thread" in job.output  # as Python prints it, so that ranks interrupt each other


@pytest.mark.parametrize(
    "broken", ["_start_guard = lambda *_, **__: (None, [], 0)", "_CODE = ''"], ids=["none", "dead"]
)
def test_without_the_guard(tmp_path, broken):
    """No more processes may be had, or someone has killed it: the ranks end the job by themselves."""
    first = f"import dcomp._link; dcomp._link.{broken}"
    job = run(
        tmp_path,
        """
time.sleep(0.3)
if dc.rank == 1:
    event()
    raise ValueError("no solution")
dc.barrier()
""",
        first=first,
    )
    job.assert_ended_soon()
    job.assert_once(rf"\[rank 1 of 3 on {NODE}\] Traceback")
    job.assert_once("ValueError: no solution")
    job = run(tmp_path, "time.sleep(0.3)\nprint(f'sum {dc.allreduce(1)}\\n', end='')\n", first=first)
    assert job.returncode == 0, job.output
    assert job.output.count("sum 3") == 3
