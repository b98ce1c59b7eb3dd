"""The ways to start ranks in a Slurm job, right and wrong ones, and `python -m dcomp sbatch`."""

import subprocess
import sys

import pytest
from cluster import Job
from job_programs import PLACES, STEPS
from launch import find_mpirun, options

pytestmark = pytest.mark.timeout(200)

_RIGHT, _WRONG, _KILL = ("pmix", "pmi2", "") if options() else ("pmi2", "pmix", "-K ")
_LAUNCH = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node={ranks}
srun -K --mpi={plugin} {python} {program}
"""


@pytest.fixture(scope="module")
def jobs(cluster, tmp_path_factory) -> dict[str, Job]:
    """All at once, for most of the time goes by in waiting."""
    root = tmp_path_factory.mktemp("launches")
    (root / "places.py").write_text(PLACES)
    (root / "steps.py").write_text(STEPS)
    submitted = {}
    for name, plugin, ranks in (("right", _RIGHT, 2), ("wrong", _WRONG, 1), ("none", "none", 1)):
        script = _LAUNCH.format(ranks=ranks, plugin=plugin, python=sys.executable, program=root / "places.py")
        submitted[name] = cluster.submit(root / name, script)
    folder = root / "by dcomp"
    folder.mkdir()
    told = dcomp_sbatch(
        *("-n", "3", "--nodes", "2", "--cpus-per-task", "2", "--time", "5", "--submit"), root / "steps.py", "a b",
        cluster=cluster, cwd=folder,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    submitted["by dcomp"] = Job(cluster, int(told.stdout), folder)
    return submitted


def dcomp_sbatch(*words, cluster, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dcomp", "sbatch", *words],
        env=cluster.env | {"RESTARTS": "1"}, cwd=cwd, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_sbatch(cluster, jobs):
    """It starts what it says, on the nodes that it says, and mpirun passes on what Slurm sends to the script."""
    job = jobs["by dcomp"]
    job.wait_for_file("checkpoint/000002.npy")
    cluster.do("scancel", "--batch", "--signal=USR1", str(job.number))
    assert job.wait() == "FAILED", job.output()
    assert "START 0 at 0 on n1 n1 n2" in job.output()
    assert "STOP at" in job.output()
    told = cluster.do("scontrol", "show", "job", str(job.number))
    for fact in ("JobName=steps", "NumNodes=2", "CPUs/Task=2", "TimeLimit=00:05:00", "ExitCode=75:0"):
        assert fact in told
    assert job.folder.joinpath(f"steps-{job.number}.out").exists()


def test_sbatch_that_slurm_does_not_take(cluster, tmp_path):
    told = dcomp_sbatch("-n", "2", "--time", "soon", "--submit", "-m", "this", cluster=cluster, cwd=tmp_path)
    assert told.returncode == 1
    assert "LaunchError: sbatch: Slurm has not taken the job:\n  sbatch: error: Invalid --time" in told.stderr
    assert "#SBATCH --time=soon" in told.stderr


def test_srun_with_the_plugin_of_the_mpi(jobs):
    job = jobs["right"]
    assert job.wait() == "COMPLETED", job.output()
    assert "RANKS n1 n1 n2 n2; " in job.output()


@pytest.mark.parametrize("name", ["wrong", "none"])
def test_srun_with_another_plugin(jobs, name):
    job = jobs[name]
    assert job.wait() == "FAILED"
    by = "srun without --mpi" if name == "none" else f"srun --mpi={_WRONG}"
    assert job.output().count(f"LaunchError: {by} has started 2 processes, but mpi4py has loaded") == 1, job.output()
    program = f"{sys.executable} {job.folder.parent}/places.py"
    assert f"\n  srun --mpi={_RIGHT} {_KILL}{program}\n" in job.output()
    assert f"\n  {find_mpirun()} -n 2 {program}    (in the batch script, without srun)\n" in job.output()
