"""How a launch is told from the environment, and which command would be right."""

import os
import stat

import pytest

from dcomp import _launch, _mpirun
from dcomp._launch import Launch, can_start, find_launch

HYDRA = {"PMI_SIZE": "4", "PMI_RANK": "1", "PMI_HOSTNAME": "n1"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, None),
        (OPEN_MPI, Launch("the mpirun of Open MPI", "Open MPI", 1, 4)),
        (HYDRA, Launch("the mpirun of MPICH or Intel MPI", "MPICH", 1, 4)),
        (STEP, Launch("srun without --mpi", None, 2, 3)),
        ({**STEP, "PMIX_RANK": "2"}, Launch("srun --mpi=pmix", None, 2, 3)),
        ({**STEP, "PMI_SIZE": "3", "PMI_RANK": "2"}, Launch("srun --mpi=pmi2", "MPICH", 2, 3)),
        # Under mpirun in a Slurm job the step's tasks are mpirun's daemons.
        ({**STEP, **HYDRA}, Launch("the mpirun of MPICH or Intel MPI", "MPICH", 1, 4)),
        ({**STEP, **OPEN_MPI}, Launch("the mpirun of Open MPI", "Open MPI", 1, 4)),
        # The script of a batch job has the job's variables and is no step.
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3", "SLURM_PROCID": "0"}, None),
        ({"PMI_SIZE": "many", "PMI_HOSTNAME": "n1"}, Launch("the mpirun of MPICH or Intel MPI", "MPICH", 0, 1)),
    ],
)
def test_find_launch(environment, launch):
    assert find_launch(environment) == launch


class Library:
    """As much of mpi4py.MPI as is looked at."""

    def __init__(self, name, built_with=""):
        self._name, self._built_with = name, built_with

    def get_vendor(self):
        return self._name, (5, 0, 0)

    def Get_library_version(self):
        return f"{self._name} Version: 5.0.0\nMPICH configure: {self._built_with}\n"


@pytest.mark.parametrize(
    ("launcher", "library", "may"),
    [
        (OPEN_MPI, Library("Open MPI"), True),
        (OPEN_MPI, Library("MPICH"), False),
        (HYDRA, Library("Intel MPI"), True),
        (HYDRA, Library("Open MPI"), False),
        (STEP, Library("Open MPI"), True),  # nothing tells, before it has started
        ({**STEP, "PMI_SIZE": "3"}, Library("Open MPI"), False),
        ({**STEP, "PMIX_RANK": "2"}, Library("Open MPI"), True),
        ({**STEP, "PMIX_RANK": "2"}, Library("MPICH", "--with-pm=hydra"), False),
        ({**STEP, "PMIX_RANK": "2"}, Library("MPICH", "--with-pmix=/usr"), True),
        ({**STEP, "PMIX_RANK": "2"}, Library("Intel MPI"), True),
    ],
)
def test_can_start(launcher, library, may):
    assert can_start(find_launch(launcher), library) == may


def script(folder, name, says):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("says", "family"),
    [
        ("mpirun (Open MPI) 5.0.11", "Open MPI"),
        ("prterun (PRRTE) 3.0", "Open MPI"),
        ("HYDRA build details: Version: 5.0.2", "MPICH"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.18", "MPICH"),
        ("something else", None),
    ],
)
def test_family_of_mpirun(tmp_path, says, family):
    assert _mpirun.family_of_mpirun(script(tmp_path, "mpirun", says)) == family


def test_family_of_no_mpirun(tmp_path):
    assert _mpirun.family_of_mpirun(str(tmp_path / "mpirun")) is None


def test_find_mpirun_takes_the_first_of_its_family(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    script(one, "mpirun", "Open MPI")
    right = script(two, "mpirun", "HYDRA")
    monkeypatch.setattr(_mpirun, "_candidates", lambda: _mpirun.in_folders([str(one), str(tmp_path), str(two)]))
    assert _mpirun.find_mpirun("MPICH") == right
    assert _mpirun.find_mpirun("Open MPI") == str(one / "mpirun")


def test_script_of_intel_mpi_is_passed_over(tmp_path):
    """It calls mpiexec.hydra by its name, which works only where that is on the path."""
    script(tmp_path, "mpirun", "mpiexec.hydra: not found")
    inner = script(tmp_path, "mpiexec.hydra", "Intel(R) MPI")
    assert next(_mpirun.in_folders([str(tmp_path)])) == inner


def test_command_for_open_mpi_as_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_mpirun, "cpus", lambda: 8)
    monkeypatch.setattr(_mpirun, "cores", lambda: 4)
    argv, extra = _mpirun.command("Open MPI", "/m/mpirun", 4, ["python", "p.py"], {})
    assert argv == ["/m/mpirun", "-n", "4", "python", "p.py"]
    assert extra == {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    argv, _ = _mpirun.command("Open MPI", "/m/mpirun", 5, ["python", "p.py"], {})
    assert argv == ["/m/mpirun", "-n", "5", "--map-by", ":OVERSUBSCRIBE", "python", "p.py"]


def test_command_for_open_mpi_in_a_slurm_job(monkeypatch):
    """Slurm says how many slots there are."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(_mpirun, "cpus", lambda: 8)
    monkeypatch.setattr(_mpirun, "cores", lambda: 4)
    job = {"SLURM_JOB_ID": "7"}
    argv, extra = _mpirun.command("Open MPI", "mpirun", 8, ["p"], job)
    assert argv == ["mpirun", "-n", "8", "p"]
    assert extra == {}


def test_command_for_mpich_needs_nothing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _mpirun.command("MPICH", "mpirun", 100, ["p"], {}) == (["mpirun", "-n", "100", "p"], {})


def test_clean_environment_starts_a_job_of_its_own():
    kept = {"PATH": "/bin", "OMPI_MCA_btl": "self", "OMPI_ALLOW_RUN_AS_ROOT": "1", "SLURM_JOB_ID": "7"}
    assert _mpirun.clean({**kept, **HYDRA, **OPEN_MPI, "PMIX_NAMESPACE": "x", "MPI_LOCALNRANKS": "2"}) == kept


def test_levels_of_threads_are_mpis():
    """The names that mpi4py's options have for them."""
    mpi = pytest.importorskip("mpi4py.MPI")
    for name, constant in _launch._LEVELS.items():
        assert constant == f"THREAD_{name.upper()}"
        assert hasattr(mpi, constant)
