"""The command line: ``python -m dcomp``, ``... doctor``, ``... run -n 8 program.py`` and ``... tune``."""

import argparse
import os
import shlex
import sys

from . import _doctor, _mpirun
from ._errors import DcompError, LaunchError
from ._launch import find_launch, import_mpi


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dcomp", description="Without a command: show versions, MPI, nodes and settings."
    )
    commands = parser.add_subparsers(dest="command", metavar="doctor | run | tune")
    commands.add_parser("doctor", help="find what is wrong with the installation or the launch, and print the fix")
    run = commands.add_parser("run", help="start a program under the MPI that mpi4py uses")
    run.add_argument("-n", dest="ranks", type=_positive, default=_mpirun.cpus(), help="ranks; as many as CPUs")
    run.add_argument("--show", action="store_true", help="print the command instead of running it")
    run.add_argument("-m", dest="how", action="store_const", const="-m", help="the program is a module")
    run.add_argument("-c", dest="how", action="store_const", const="-c", help="the program is Python code")
    run.add_argument("program", help="a Python file; other programs are started as they are")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="of the program")
    tune = commands.add_parser("tune", help="measure which way is fastest here, and write the rules; under mpirun")
    tune.add_argument("--output", metavar="FILE", help="for DCOMP_RULES; without it, where every program looks")
    tune.add_argument("--seconds", type=_seconds, default=0.3, help="for each collective and size (default: 0.3)")
    given = parser.parse_args(arguments)
    try:
        if given.command == "run":
            return _run(given.ranks, given.how, [given.program, *given.arguments], given.show)
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


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive; got {value}")
    return value


def _run(ranks: int, how: str | None, words: list[str], show: bool) -> int:
    if how is not None:
        words = [sys.executable, how, *words]
    elif words[0].endswith((".py", ".pyz")) or os.path.isdir(words[0]):
        words = [sys.executable, *words]
    family = _mpirun.family_of(import_mpi())
    mpirun = _mpirun.find_mpirun(family)
    if mpirun is None:
        raise LaunchError(f"there is no mpirun of {family}, which mpi4py uses. {_mpirun.INSTALL}")
    argv, extra = _mpirun.command(family, mpirun, ranks, words)
    if show:
        print(shlex.join([*(f"{name}={value}" for name, value in extra.items()), *argv]))
        return 0
    os.execve(mpirun, argv, {**_mpirun.clean(os.environ), **extra})


if __name__ == "__main__":
    sys.exit(main())
