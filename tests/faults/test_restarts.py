"""``python -m dcomp run --restarts``: a job is started again after a death, and after nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch import environment, kill_session

from dcomp import _restarts

EXAMPLE = Path(__file__).parents[2] / "examples/lost_rank.py"
PROGRAM = """
import os, signal, sys, time
import dcomp as dc

starts = dc.bcast(len(open("starts").read()) if dc.rank == 0 else None)
dc.barrier()
if dc.rank == 0:
    open("starts", "a").write("x")
if starts < {times} and dc.rank == 1:
    {how}
dc.barrier()
"""


def start(tmp_path, *words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dcomp", "run", "-n", "2", "--restarts", "2", *map(str, words)],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "times", "status", "starts"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, 0, 2),
        ("os._exit(1)", 9, None, 3),
        ("raise ValueError", 9, 1, 1),
        ("sys.exit(9)", 9, 9, 1),
        ("sys.exit(dc.STOPPED)", 1, 0, 2),
    ],
)
def test_restarts(tmp_path, how, times, status, starts):
    (tmp_path / "starts").touch()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(how=how, times=times))
    job = start(tmp_path, program)
    try:
        out, _ = job.communicate(timeout=90)
    finally:
        kill_session(job.pid)
    assert job.returncode == status or (status is None and job.returncode), out
    assert len((tmp_path / "starts").read_text()) == starts, out
    assert out.count("is started again") == starts - 1, out


STOPS = """
import sys, time
import dcomp as dc

dc.stop_requested()
if dc.rank == 0:
    open("starts", "a").write("x")
while not dc.stop_requested():
    time.sleep(0.01)
sys.exit(dc.STOPPED)
"""


@pytest.mark.parametrize(
    ("number", "code", "statuses"),
    [
        (signal.SIGTERM, PROGRAM.format(how="time.sleep(60)", times=9), range(1, 256)),
        (signal.SIGUSR1, STOPS, [75]),
    ],
    ids=["TERM", "USR1"],
)
def test_who_stops_it_means_it(tmp_path, number, code, statuses):
    (tmp_path / "starts").touch()
    program = tmp_path / "program.py"
    program.write_text(code)
    job = start(tmp_path, program)
    try:
        while not (tmp_path / "starts").read_text():
            time.sleep(0.05)
        os.kill(job.pid, number)
        out, _ = job.communicate(timeout=30)
    finally:
        kill_session(job.pid)
    assert job.returncode in statuses and "started again" not in out, out


def test_a_slurm_job_is_left_to_its_script(monkeypatch):
    monkeypatch.setattr(_restarts, "_LATE", 0.1)  # there is no guard to wait for
    argv = [sys.executable, "-c", "raise SystemExit(75)"]
    assert [_restarts._run_once(argv, environment() | more)[1] for more in ({}, {"SLURM_JOB_ID": "7"})] == [
        "which asks for another start",
        None,
    ]


def test_example_goes_on_from_its_file(tmp_path):
    job = start(tmp_path, EXAMPLE, "--lose", "1")
    try:
        out, _ = job.communicate(timeout=90)
    finally:
        kill_session(job.pid)
    assert job.returncode == 0, out
    assert "on 2 ranks from step 1000" in out and "lost_rank: OK" in out, out
