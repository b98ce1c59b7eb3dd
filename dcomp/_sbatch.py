"""Job scripts for Slurm: ``python -m dcomp sbatch``."""

import os
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Sequence

from . import _mpirun
from ._errors import LaunchError
from ._launch import import_mpi

_OF_SLURM = ("SLURM_CONF", "SLURM_CLUSTERS")  # where Slurm is, and not what a job of it has


def job_script(
    words: Sequence[str], *, name: str, ranks: int, nodes: int | None, cpus_per_task: int | None, time: str | None
) -> str:
    """A batch script that starts `words` on `ranks` ranks, with the MPI that mpi4py uses here.

    It names interpreter and launcher in full, so it depends on no environment but that in which it is written.

    Parameters
    ----------
    words     The command of one rank.
    name : str     Of the job; characters that mean something to Slurm or to the shell become ``_``.
    ranks, nodes : int     As many on each node, but fewer on the last if it does not come out even: launchers fill one
        node after the other. On how many nodes, Slurm decides if that is None.
    cpus_per_task : int     Cores for the threads of each rank.
    time : str     The limit, as Slurm writes it: minutes, ``hours:minutes:seconds`` or ``days-hours``.

    Raises
    ------
    LaunchError     If there is no MPI, or no `mpirun` for it; if a node would have no rank; if `time` is no word.
    """
    if time is not None and not re.fullmatch(r"[\w:-]+", time):
        raise LaunchError(f"sbatch: --time must be a limit as Slurm writes it, such as 30 or 4:00:00; got {time!r}.")
    a_node = -(-ranks // (nodes or 1))
    if nodes is not None and (used := -(-ranks // a_node)) < nodes:
        raise LaunchError(
            f"sbatch: --nodes must leave no node empty; got {nodes} for {ranks} ranks, and {a_node} on each fill "
            f"{used}. Ask for --nodes {used}, or for -n {a_node * nodes}."
        )
    family = _mpirun.family_of(import_mpi())
    # The job will have the slots that Slurm counts, and none of this process's environment is taken for granted.
    argv, extra = _mpirun.command(family, _mpirun.need_mpirun(family), ranks, words, {"SLURM_JOB_ID": "the job's"})
    if family == "Open MPI" and (cpus_per_task or 1) > 1:
        argv[3:3] = ["--bind-to", "none"]  # else all threads of a rank run on one core
    options = {
        "job-name": re.sub(r"[^\w.+-]", "_", name),
        "nodes": nodes,
        "ntasks": ranks,
        "ntasks-per-node": None if nodes is None else a_node,  # at most; else Slurm fills the first node
        "cpus-per-task": cpus_per_task,
        "time": time,
        "output": "%x-%j.out",
    }
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{option}={value}" for option, value in options.items() if value is not None]
    lines += ["", *(f"export {variable}={value}" for variable, value in extra.items())]
    # With exec, signals that Slurm sends to the script reach mpirun, which passes them on to the ranks.
    return "\n".join([*lines, f"exec {shlex.join(argv)}", ""])


def submit(script: str) -> str:
    """Give a batch script to Slurm.

    Returns
    -------
    The number of the job.

    Raises
    ------
    LaunchError     If there is no `sbatch`, or Slurm does not take the job.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise LaunchError(
            "sbatch: not on the path, so this is no machine from which Slurm takes jobs. Without --submit the script "
            "is printed: give that to sbatch where there is one."
        )
    # What a job has in its environment of itself, sbatch would hand on to the new one.
    environment = {
        variable: value
        for variable, value in _mpirun.clean(os.environ).items()
        if not variable.startswith("SLURM_") or variable in _OF_SLURM
    }
    done = subprocess.run(
        [sbatch, "--parsable"], input=script, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        told = textwrap.indent((done.stdout + done.stderr).strip(), "  ")
        raise LaunchError(
            f"sbatch: Slurm has not taken the job:\n{told}\nThe script was\n{textwrap.indent(script, '  ')}"
        )
    return done.stdout.strip().partition(";")[0]  # of several clusters the name follows
