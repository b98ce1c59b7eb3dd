"""Wrong starts, and the command line that finds and avoids them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import run
from launch import environment, find_mpirun, mpirun

from dcomp import _mpirun

PROGRAM = "import dcomp as dc\nprint(f'rank {dc.rank} of {dc.size}\\n', end='')\n"

#: For programs that go wrong in the prelude: the event comes when MPI is up, which takes Open MPI a second.
FIRST_EVENT = "import os, time; from mpi4py import MPI; os.write(1, f'EVENT {time.time()}\\n'.encode())"

CATCH = """\
import os
import dcomp as dc

for use in "dc.rank", "dc.COMM_SELF":
    try:
        eval(use)
    except dc.SettingError:
        continue
    os._exit(3)
os.write(1, b"caught twice\\n")
"""

#: What another MPI's launcher leaves in the environment of the first of four processes.
OTHER = {
    "MPICH": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"},
    "Open MPI": {"PMI_SIZE": "4", "PMI_RANK": "0", "PMI_HOSTNAME": "here"},
}


def family() -> str:
    found = _mpirun.family_of_mpirun(find_mpirun())
    assert found is not None
    return found


def python(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run this interpreter by itself."""
    full = {**_mpirun.clean(environment()), **(env or {})}
    return subprocess.run(
        [sys.executable, *words], env=full, cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )


def other_mpirun() -> str:
    """The `mpirun` of another MPI: on the path, or in a virtual environment beside this one."""
    beside = [str(path.parent) for path in Path(sys.prefix).parent.glob("*/bin/mpirun")]
    for path in _mpirun.in_folders([*os.environ["PATH"].split(os.pathsep), *beside]):
        if _mpirun.family_of_mpirun(path) not in (None, family()):
            return path
    pytest.skip("there is no mpirun of another MPI on the path or in an environment beside this one")


@pytest.mark.parametrize("first", ["", "from mpi4py import MPI"], ids=["dcomp first", "mpi4py first"])
def test_mpirun_of_another_mpi(tmp_path, first):
    path = tmp_path / "program.py"
    path.write_text(f"{first}\n{PROGRAM}")
    other = other_mpirun()
    job = subprocess.run(
        [other, "-n", "2", sys.executable, path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = job.stdout + job.stderr
    assert job.returncode != 0, output
    assert "rank" not in job.stdout
    if first and family() == "MPICH":
        assert "unsupported PMI version" in output  # MPICH's own, before anyone could look
        return
    assert output.count("LaunchError: ") == 1, output
    assert f"{find_mpirun()} -n 2 " in output
    assert output.count("Traceback") == 1, output


def test_launcher_of_another_mpi_is_told_before_mpi_starts(tmp_path):
    """The same without another MPI: what its launcher leaves in the environment is enough."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    told = python(str(path), "an argument", env=OTHER[family()])
    assert told.returncode == 1
    assert "LaunchError: the mpirun of" in told.stderr
    assert "has started 4 processes" in told.stderr
    assert f"{find_mpirun()} -n 4 " in told.stderr
    assert f"{sys.executable} {path} 'an argument'" in told.stderr
    assert f"{sys.executable} -m dcomp run -n 4 {path} 'an argument'" in told.stderr


def test_only_the_first_process_prints(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    env = {name: "1" if name.endswith("RANK") else value for name, value in OTHER[family()].items()}
    told = python(str(path), env=env)
    assert told.returncode == 1
    assert told.stderr == ""


def test_srun_without_pmi(tmp_path):
    """Every task is alone, and MPI does not know."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    told = python(str(path), env={"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "0"})
    assert told.returncode == 1
    assert "LaunchError: srun without --mpi has started 3 processes" in told.stderr
    assert f"{sys.executable} {path}    (in the batch script, without srun)" in told.stderr
    assert f"\n  {' '.join(_mpirun.SRUN[family()])} {sys.executable} {path}\n" in told.stderr


def test_batch_script_of_slurm_is_no_launch(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    told = python(str(path), env={"SLURM_JOB_ID": "1", "SLURM_NTASKS": "3", "SLURM_PROCID": "0"})
    assert (told.returncode, told.stdout) == (0, "rank 0 of 1\n"), told.stderr


def test_launch_error_can_be_caught(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("import dcomp as dc\ntry:\n    dc.rank\nexcept dc.LaunchError:\n    print('caught')\n")
    told = python(str(path), env=OTHER[family()])
    assert (told.returncode, told.stdout) == (0, "caught\n"), told.stderr


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"DCOMP_TIMEOOUT": "3"}, r"DCOMP_TIMEOOUT: no such setting. The known ones are:"),
        ({"DCOMP_TIMEOUT": "soon"}, r"DCOMP_TIMEOUT=soon: must be seconds \(> 0\)"),
    ],
)
def test_bad_setting_is_told_once(tmp_path, env, message):
    job = run(tmp_path, "", n=4, env=env, first=FIRST_EVENT)
    job.assert_ended_soon(more=3)  # the start of MPI and of dcomp on all ranks
    job.assert_once(rf"\[ranks 0-3 of 4 on {os.uname().nodename}\] Traceback")
    job.assert_once(r"Traceback")
    job.assert_once(rf"dcomp.*SettingError: {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("on", r"DCOMP_CHECK=on: must be collective .* \(on ranks 1-3 of 4\)"),
        ("off", r"DCOMP_CHECK must be the same on every rank; got collective on rank 0 and off on ranks 1-3 of 4"),
    ],
)
def test_bad_setting_of_some_ranks_is_told_once(tmp_path, value, message):
    """All ranks raise the same."""
    change = f"if MPI.COMM_WORLD.rank: os.environ['DCOMP_CHECK'] = '{value}'"
    job = run(tmp_path, "", n=4, first=f"{FIRST_EVENT}\n{change}")
    job.assert_ended_soon(more=3)  # the start of MPI and of dcomp on all ranks
    job.assert_once(r"\[ranks 0-3 of 4 on .*\] Traceback")
    job.assert_once(r"Traceback")
    job.assert_once(f"SettingError: {message}")


def test_bad_setting_can_be_caught(tmp_path):
    """And is raised again by the next use; the program then ends as it likes."""
    path = tmp_path / "program.py"
    path.write_text(CATCH)
    job = mpirun(3, path, env={"DCOMP_CHECK": "on"})
    assert (job.returncode, job.stdout.count("caught twice\n")) == (0, 3), job.stdout + job.stderr


def test_no_mpi_library(tmp_path):
    told = python("-c", PROGRAM, env={"MPI4PY_LIBMPI": str(tmp_path / "none.so")})
    assert told.returncode == 1
    assert "LaunchError: mpi4py cannot load MPI library" in told.stderr
    assert "pip install 'dcomp[mpich]'" in told.stderr


def test_import_starts_nothing():
    told = python("-c", "import dcomp, sys; print([name for name in ('mpi4py.MPI', 'numba') if name in sys.modules])")
    assert told.stdout == "[]\n", told.stderr


def test_program_that_starts_mpi_itself():
    code = f"import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; MPI.Init(); {PROGRAM!r}; "
    told = python("-c", code + f"exec({PROGRAM!r}); MPI.Finalize()")
    assert (told.returncode, told.stdout) == (0, "rank 0 of 1\n"), told.stderr
    told = python("-c", f"import mpi4py; mpi4py.rc.initialize = False; exec({PROGRAM!r})")
    assert "UsageError: dcomp: MPI is not initialised" in told.stderr


def test_options_of_mpi4py_are_kept():
    told = python("-c", "import mpi4py, dcomp; dcomp.rank; print(mpi4py.rc.initialize, mpi4py.rc.finalize)")
    assert told.stdout == "True None\n", told.stderr


def test_run(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(f"import sys\n{PROGRAM}assert sys.argv[1:] == ['-n', 'a b'], sys.argv\n")
    without = {name: "" for name in _mpirun.ROOT}
    told = python("-m", "dcomp", "run", "-n", "3", str(path), "-n", "a b", env=without)
    assert told.returncode == 0, told.stderr
    assert sorted(told.stdout.splitlines()) == [f"rank {rank} of 3" for rank in range(3)]


def test_run_module_and_code(tmp_path):
    (tmp_path / "module_to_run.py").write_text(PROGRAM)
    for words in (["-m", "module_to_run"], ["-c", PROGRAM]):
        told = python("-m", "dcomp", "run", "-n", "2", *words, cwd=tmp_path)
        assert sorted(told.stdout.splitlines()) == ["rank 0 of 2", "rank 1 of 2"], told.stderr


def test_run_returns_the_status_of_the_program():
    told = python("-m", "dcomp", "run", "-n", "2", "-c", "import sys; sys.exit(3)")
    assert told.returncode == 3


def test_run_without_mpi(tmp_path):
    told = python("-m", "dcomp", "run", "program.py", env={"MPI4PY_LIBMPI": str(tmp_path / "none.so")})
    assert told.returncode == 1
    assert "pip install 'dcomp[mpich]'" in told.stderr


def test_sbatch_prints_a_script_for_this_mpi(tmp_path):
    told = python(
        *("-m", "dcomp", "sbatch", "-n", "7", "--nodes", "2", "--cpus-per-task", "3", "--time", "1:00:00"),
        *("some/steps.py", "-n", "a b"),
    )
    assert told.returncode == 0, told.stderr
    options, command = told.stdout.split("\n\n")
    assert options.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=steps",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks=7",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --time=1:00:00",
        "#SBATCH --output=%x-%j.out",
    ]
    *exports, start = command.splitlines()
    unbound = "--bind-to none " if family() == "Open MPI" else ""
    assert start == f"exec {find_mpirun()} -n 7 {unbound}{sys.executable} some/steps.py -n 'a b'"
    asks_root = family() == "Open MPI" and os.geteuid() == 0
    assert exports == [f"export {name}=1" for name in _mpirun.ROOT if asks_root]
    # Without what was not given; and there is no one to take it.
    told = python("-m", "dcomp", "sbatch", "-n", "4", "-c", "print('a\\nb')")
    assert re.findall(r"--[\w-]+=\w+", told.stdout) == ["--job-name=python", "--ntasks=4"], told.stdout
    assert "--bind-to" not in told.stdout
    told = python("-m", "dcomp", "sbatch", "-n", "4", "--submit", "program.py", env={"PATH": str(tmp_path)})
    assert told.returncode == 1
    assert "LaunchError: sbatch: not on the path" in told.stderr


def test_sbatch_with_odd_words(tmp_path):
    """Nothing of a name or a limit becomes a line of the script's own; and no node is asked for in vain."""
    told = python("-m", "dcomp", "sbatch", "-n", "4", "--nodes", "2", "a 'b'\ntouch $(c) #.py", "--nodes", "7\n")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[1:4] == [
        "#SBATCH --job-name=a__b__touch___c___",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks=4",
    ]
    last = told.stdout.partition("\nexec ")[2]
    assert shlex.split(last)[-3:] == ["a 'b'\ntouch $(c) #.py", "--nodes", "7\n"]
    for time in ("1\ntouch a", "", "1 2"):
        told = python("-m", "dcomp", "sbatch", "-n", "4", "--time", time, "a.py")
        assert told.returncode == 1
        assert (
            f"LaunchError: sbatch: --time must be a limit as Slurm writes it, such as 30 or 4:00:00; got {time!r}."
            in told.stderr
        )
    for ranks, nodes, used in ((2, 4, 2), (9, 4, 3)):
        told = python("-m", "dcomp", "sbatch", "-n", str(ranks), "--nodes", str(nodes), "a.py")
        assert told.returncode == 1
        assert f"got {nodes} for {ranks} ranks" in told.stderr
        assert f"Ask for --nodes {used}, or for -n" in told.stderr


def test_sbatch_from_inside_a_job(tmp_path):
    """The new job does not get what the old one has in its environment of itself."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\nenv >"$OUT"; echo 12\n')
    sbatch.chmod(0o755)
    old = {"SLURM_JOB_ID": "11", "SLURM_CPUS_PER_TASK": "3", "SLURM_RESTART_COUNT": "2", "PMI_RANK": "0"}
    kept = {"SLURM_CONF": "/etc/x", "SBATCH_ACCOUNT": "me"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    told = python(
        *("-m", "dcomp", "sbatch", "-n", "2", "--submit", "a.py"),
        env={**old, **kept, "PATH": path, "OUT": str(tmp_path / "out"), "SLURM_PROCID": "0"},
    )
    assert told.stdout == "12\n", told.stderr
    seen = (tmp_path / "out").read_text().splitlines()
    assert {line for line in seen if line.startswith(("SLURM_", "SBATCH_", "PMI_"))} == {
        f"{name}={value}" for name, value in kept.items()
    }


def test_describe_alone_and_under_mpirun():
    alone = python("-m", "dcomp", env={"DCOMP_TIMEOUT": "7"})
    assert alone.returncode == 0, alone.stderr
    assert find_mpirun() in alone.stdout
    assert "DCOMP_TIMEOUT         7.0" in alone.stdout
    job = mpirun(3, "-m", "dcomp")
    assert job.returncode == 0, job.stderr
    assert (
        len(re.findall(r"ranks 0-2; \d+ MiB of shared memory per rank at most; threads per rank: \d+\n", job.stdout))
        == 1
    )
    for settings, why in (({"DCOMP_ENGINE": "mpi"}, "DCOMP_ENGINE=mpi"), ({"DCOMP_HEAP": "2M"}, "2 MiB .* too little")):
        job = mpirun(2, "-m", "dcomp", env=settings)
        assert re.search(f"ranks 0, 1; no shared memory: {why}", job.stdout), job.stdout


def test_doctor_finds_all_well():
    told = python("-m", "dcomp", "doctor", env={"PATH": f"{os.path.dirname(find_mpirun())}:{os.environ['PATH']}"})
    assert told.returncode == 0, told.stdout
    assert told.stdout.endswith("All is well.\n")
    assert "found each other" in told.stdout


def test_doctor_under_mpirun():
    job = mpirun(2, "-m", "dcomp", "doctor")
    assert job.returncode == 0, job.stdout + job.stderr
    assert job.stdout.count("2 ranks on 1 node") == 1


_ON_CPUS = """
import os
from dcomp._doctor import examine
from dcomp._launch import find_launch

os.sched_setaffinity(0, {{{cpus}[find_launch().rank]}})
examine()
"""


@pytest.mark.parametrize("apart", [False, True])
def test_doctor_counts_the_cpus_of_all_ranks(apart):
    """Launchers give every rank a CPU of its own."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        pytest.skip("takes two CPUs")
    job = mpirun(2, "-c", _ON_CPUS.format(cpus=[first, others[0] if apart else first]))
    assert job.returncode == 0, job.stdout + job.stderr
    assert ("2 ranks share 1 CPUs" in job.stdout) == (not apart)


def test_doctor_under_another_mpirun():
    told = python("-m", "dcomp", "doctor", env=OTHER[family()])
    assert told.returncode == 1
    assert "BAD   started by the mpirun of" in told.stdout
    assert f"{find_mpirun()} -n 4 " in told.stdout


def test_doctor_with_another_mpirun_first_on_the_path():
    told = python("-m", "dcomp", "doctor", env={"PATH": f"{os.path.dirname(other_mpirun())}:{os.environ['PATH']}"})
    assert told.returncode == 1
    assert "is of another MPI" in told.stdout
    assert f"fix: call {find_mpirun()}" in told.stdout


def test_doctor_without_mpi_and_with_a_bad_setting(tmp_path):
    told = python("-m", "dcomp", "doctor", env={"MPI4PY_LIBMPI": str(tmp_path / "none.so"), "DCOMP_CHEK": "off"})
    assert told.returncode == 1
    assert "DCOMP_CHEK: no such setting" in told.stdout
    assert "fix: Install an MPI: pip install 'dcomp[mpich]'" in told.stdout
    assert told.stdout.endswith("2 to mend.\n")


def test_doctor_as_root_under_open_mpi():
    if family() != "Open MPI" or os.geteuid() != 0:
        pytest.skip("only Open MPI asks root, and this is not it")
    told = python("-m", "dcomp", "doctor", env=dict.fromkeys(_mpirun.ROOT, ""))
    assert told.returncode == 1
    assert "fix: export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in told.stdout
    assert "found each other" in told.stdout
