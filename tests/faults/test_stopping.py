"""A job that is told to stop: by a signal to a rank or to the launcher, or for its time is nearly up."""

import stat

import pytest
from jobs import run

#: Steps until the job is to stop; all ranks must have made as many. With a wait in every second one, for a signal to
#: come inside of a collective.
_STEPS = """
def steps(n=10**9):
    for step in range(n):
        if dc.rank == 0 and step % 2:
            time.sleep(0.01)
        dc.barrier()
        if dc.stop_requested():
            return step

def end(step):
    assert dc.allgather(step).tolist() == [step] * dc.size
    os.write(1, f"rank {dc.rank} stopped\\n".encode())
    sys.exit(dc.STOPPED)

"""


def _assert_stopped(job, reason):
    assert job.returncode == 75, job.output
    job.assert_once(rf"dcomp: MPI_COMM_WORLD is to stop: {reason}")
    for rank in range(3):
        job.assert_once(f"rank {rank} stopped")


@pytest.mark.parametrize("engine", ["auto", "mpi"], ids=["auto", "messages"])  # a test named mpi would be skipped
def test_signal_to_one_rank_stops_all_at_one_step(tmp_path, engine):
    job = run(
        tmp_path,
        _STEPS
        + """
import numba

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))  # the program's own is called, too
assert steps(5) is None  # sets the handlers
dc.barrier()
if dc.rank == 2:
    main = os.getpid()
    threading.Timer(0.2, lambda: os.kill(main, signal.SIGUSR1)).start()
step = steps()
assert heard == [1] * (dc.rank == 2)

@numba.njit
def compiled(comm):
    return dc.stop_requested(), comm.stop_requested(), dc.time_left()

assert compiled(dc.COMM_WORLD) == (True, True, float("inf"))
with dc.COMM_WORLD.split(int(dc.rank == 2)) as part:
    assert part.stop_requested() == (dc.rank == 2)
    os.kill(os.getpid(), signal.SIGINT)  # Python's own handler is not the program's, and is not called
    assert part.stop_requested()
end(step)
""",
        env={"DCOMP_ENGINE": engine, "DCOMP_STOP_SIGNALS": "USR1,INT"},
    )
    _assert_stopped(job, "1 of 3 ranks got a signal")


def test_signal_to_the_launcher_reaches_all(tmp_path):
    job = run(
        tmp_path,
        _STEPS
        + """
dc.stop_requested()
dc.barrier()
if dc.rank == 0:
    os.kill(launcher(), signal.SIGUSR1)
    time.sleep(0.3)
end(steps())
""",
    )
    _assert_stopped(job, "[1-3] of 3 ranks got a signal")


def _slurm(tmp_path, answer):
    """A line that has rank 0 believe to be in a job of Slurm, whose `squeue` gives an answer in the shell's words."""
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{answer}\n")
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    return (
        "import os; os.environ.update(SLURM_JOB_ID='7', DCOMP_STOP_BEFORE='2'); "
        f"os.environ['PATH'] = {str(tmp_path)!r} + ':' + os.environ['PATH']"
    )


def test_time_is_nearly_up(tmp_path):
    """The end was 4 s away, 2 of which are the time to stop in, and is put off by 2 s when Slurm is asked again."""
    asked = tmp_path / "asked"
    first = _slurm(
        tmp_path,
        f'echo "$*" >> {asked}; test -e {tmp_path}/end || date +%s.%N > {tmp_path}/end; '
        f"awk -v n=$(wc -l < {asked}) '{{ printf \"7 %d\\n\", $1 + 4 + 2 * (n > 1) }}' {tmp_path}/end",
    )
    job = run(
        tmp_path,
        _STEPS
        + """
began = time.time()
left = dc.time_left()
assert 2 < left <= 4 and dc.allgather(left).tolist() == [left] * dc.size
step = steps()
assert time.time() - began > 2.9
end(step)
""",
        first=first,
    )
    _assert_stopped(job, r"Slurm ends the job in [012] s")
    assert "--jobs=7" in asked.read_text()


@pytest.mark.parametrize(("answer", "left"), [("echo no cluster >&2; exit 1", "warned"), ("echo 7 NONE", "silent")])
def test_time_is_not_known(tmp_path, answer, left):
    job = run(
        tmp_path,
        "assert dc.time_left() == float('inf') and dc.time_left() > 0 and not dc.stop_requested()\n",
        first=_slurm(tmp_path, answer),
    )
    assert job.returncode == 0, job.output
    assert job.output.count("Slurm does not tell when job 7 ends, so it is unknown: no cluster") == (left == "warned")


def test_limit_that_is_changed(tmp_path):
    """A run of an array, whose number is also that of the whole: its own end counts, also when that is changed."""
    (tmp_path / "left").write_text("100")
    first = _slurm(tmp_path, f'now=$(date +%s); echo "8 $((now + 900))"; echo "7 $((now + $(cat {tmp_path}/left)))"')
    job = run(
        tmp_path,
        f"""
from dcomp import _stopping

def change(left):
    if dc.rank == 0:
        with open("{tmp_path}/left", "w") as file:
            file.write(str(left))

assert 90 < dc.time_left() <= 100
change(1000)
assert 90 < dc.time_left() <= 100, "it is asked now and then"
_stopping._FRESH = 0.2
time.sleep(0.3)
assert 990 < dc.time_left() <= 1000
assert not dc.stop_requested()
change(1)
time.sleep(1)  # no one but the thread asks
_stopping._FRESH = 1000
assert dc.stop_requested()
""",
        first=first,
    )
    assert job.returncode == 0, job.output
    job.assert_once("is to stop: Slurm ends the job in [01] s")


def test_newer_slurm_tells_in_the_environment(tmp_path):
    job = run(
        tmp_path,
        "assert 0 < dc.time_left() <= 100 and not dc.stop_requested()\n",
        first=_slurm(tmp_path, "exit 1")
        + "; import time; os.environ['SLURM_JOB_END_TIME'] = str(int(time.time()) + 100)",
    )
    assert job.returncode == 0, job.output


def test_first_call_in_a_thread_is_refused(tmp_path):
    job = run(
        tmp_path,
        """
caught = []

def ask():
    try:
        dc.stop_requested()
    except dc.DcompError as error:
        caught.append((type(error).__name__, str(error)))

if dc.rank == 1:
    thread = threading.Thread(target=ask, name="mine")
    thread.start()
    thread.join()
else:
    ask()
(name, text), = caught
assert name == ("UsageError" if dc.rank == 1 else "CollectiveMismatchError"), caught
assert "must be in the main thread" in text and "mine" in text, text
assert not dc.stop_requested()
""",
    )
    assert job.returncode == 0, job.output
