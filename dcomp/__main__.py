"""The command line: ``python -m dcomp``, ``... doctor``, ``... run``, ``... sbatch`` and ``... tune``."""

import argparse
import os
import shlex
import sys

from . import _doctor, _mpirun, _restarts
from ._errors import DcompError
from ._launch import find_launch, import_mpi
from ._sbatch import job_script, submit


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dcomp", description="Without a command: show versions, MPI, nodes and settings."
    )
    commands = parser.add_subparsers(dest="command", metavar="doctor | run | sbatch | tune")
    commands.add_parser("doctor", help="find what is wrong with the installation or the launch, and print the fix")
    run = commands.add_parser("run", help="start a program under the MPI that mpi4py uses")
    run.add_argument("-n", dest="ranks", type=_positive, default=_mpirun.cpus(), help="ranks; as many as CPUs")
    run.add_argument(
        "--restarts",
        type=_count,
        default=0,
        help="start the job again, so often, if a rank dies, or it asks (default: 0)",
    )
    run.add_argument("--show", action="store_true", help="print the command instead of running it")
    _add_program(run)
    sbatch = commands.add_parser("sbatch", help="print a batch script for Slurm that starts a program, or submit it")
    sbatch.add_argument("-n", dest="ranks", type=_positive, required=True, help="ranks")
    sbatch.add_argument("--nodes", type=_positive, help="nodes; without it Slurm decides")
    sbatch.add_argument("--cpus-per-task", type=_positive, metavar="CORES", help="cores for the threads of each rank")
    sbatch.add_argument("--time", help="limit, as Slurm writes it: 30 (minutes), 4:00:00, 2-12 (days and hours)")
    sbatch.add_argument("--submit", action="store_true", help="give it to sbatch, and print the number of the job")
    _add_program(sbatch)
    tune = commands.add_parser("tune", help="measure which way is fastest here, and write the rules; under mpirun")
    tune.add_argument("--output", metavar="FILE", help="for DCOMP_RULES; without it, where every program looks")
    tune.add_argument("--seconds", type=_seconds, default=0.3, help="for each collective and size (default: 0.3)")
    given = parser.parse_args(arguments)
    try:
        if given.command == "run":
            return _run(given)
        if given.command == "sbatch":
            return _sbatch(given)
        if given.command == "tune":
            from ._tune import tune as measure  # which starts MPI

            return measure(given.output, given.seconds)
        return _doctor.examine() if given.command == "doctor" else _doctor.describe()
    except DcompError as error:
        launch = find_launch()
        if launch is None or launch.rank == 0:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {value}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative; got {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive; got {value}")
    return value


def _add_program(command: argparse.ArgumentParser) -> None:
    command.add_argument("-m", dest="how", action="store_const", const="-m", help="the program is a module")
    command.add_argument("-c", dest="how", action="store_const", const="-c", help="the program is Python code")
    command.add_argument("program", help="a Python file; other programs are started as they are")
    command.add_argument("arguments", nargs=argparse.REMAINDER, help="of the program")


def _words(given: argparse.Namespace) -> list[str]:
    """The command of one rank."""
    words = [given.program, *given.arguments]
    if given.how is not None:
        return [sys.executable, given.how, *words]
    is_python = given.program.endswith((".py", ".pyz")) or os.path.isdir(given.program)
    return [sys.executable, *words] if is_python else words


def _run(given: argparse.Namespace) -> int:
    family = _mpirun.family_of(import_mpi())
    mpirun = _mpirun.need_mpirun(family)
    argv, extra = _mpirun.command(family, mpirun, given.ranks, _words(given))
    if given.show:
        print(shlex.join([*(f"{name}={value}" for name, value in extra.items()), *argv]))
        return 0
    environment = {**_mpirun.clean(os.environ), **extra}
    if given.restarts:
        return _restarts.run(argv, environment, given.restarts)
    os.execve(mpirun, argv, environment)


def _sbatch(given: argparse.Namespace) -> int:
    name = "python" if given.how == "-c" else os.path.basename(os.path.abspath(given.program)).removesuffix(".py")
    script = job_script(
        _words(given),
        name=name,
        ranks=given.ranks,
        nodes=given.nodes,
        cpus_per_task=given.cpus_per_task,
        time=given.time,
    )
    print(submit(script) if given.submit else script.rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
