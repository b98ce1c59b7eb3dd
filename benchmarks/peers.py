"""Compare dcomp with the MPIs, each under its best settings, alternately in one run.

    python benchmarks/peers.py --python mpich=PATH openmpi=PATH intel=PATH --ranks 2 --short --output peers.jsonl
    python benchmarks/peers_table.py peers.jsonl
    python benchmarks/peers_plot.py peers.jsonl pictures/

Every PATH is the Python interpreter of an environment with mpi4py and that MPI, its mpirun beside it. README.md
beside this file says what is measured and how to read it.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from exchange import compile_library
from peers_jobs import Job, JobError, Place, start_all
from peers_measure import DCOMP, MODES, label_of, measure, prepare, records
from peers_settings import DEFAULT, FAMILIES
from results import COLLECTIVES
from text import parse_names, parse_sizes, size_text

SIZES = "8,1K,8K,64K,512K,4M,32M,128M"
SHORT_SIZES = "8,1K,8K,64K,512K,4M,32M"
BLOCKWISE = ("scatter", "gather", "allgather", "alltoall")  # the largest array is `ranks` messages long
ARRAYS = 5  # of the largest kind that a case needs, with those that exist only while it is built


def parse_pythons(texts: list[str]) -> dict[str, Path]:
    """The interpreter of every MPI."""
    pythons = {}
    for text in texts:
        name, _, path = text.partition("=")
        if name not in FAMILIES or not path:
            raise SystemExit(f"--python {text}: must be NAME=PATH with one of the names {', '.join(FAMILIES)}")
        if not Path(path).exists():
            raise SystemExit(f"--python {text}: there is no such file")
        pythons[name] = Path(path)
    return pythons


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", required=True, metavar="NAME=PATH", help="an interpreter for each MPI")
    parser.add_argument("--dcomp", type=parse_names, help="the MPIs that dcomp runs on (default: the first one)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--sizes", type=parse_sizes, help=f"bytes of a message (default: {SIZES})")
    parser.add_argument("--collectives", type=parse_names, default=list(COLLECTIVES), help="default: all")
    parser.add_argument("--contenders", type=parse_names, help="default: all; see README.md")
    parser.add_argument("--modes", type=parse_names, default=["fresh"], help="of fresh,reused,read (default: fresh)")
    parser.add_argument("--check", choices=["off", "local", "collective"], default="collective", help="DCOMP_CHECK")
    parser.add_argument("--min-time", type=float, help="seconds for each case and mode (default: 3)")
    parser.add_argument("--min-rounds", type=int, help="complete rounds for each case and mode (default: 7)")
    parser.add_argument("--short", action="store_true", help=f"sizes {SHORT_SIZES}, 0.5 seconds and 4 rounds")
    parser.add_argument("--output", type=Path, help="file to which JSON lines are added")
    arguments = parser.parse_args()
    short = arguments.short
    arguments.pythons = parse_pythons(arguments.python)
    arguments.sizes = arguments.sizes or parse_sizes(SHORT_SIZES if short else SIZES)
    arguments.min_time = arguments.min_time or (0.5 if short else 3.0)
    arguments.min_rounds = arguments.min_rounds or (4 if short else 7)
    arguments.dcomp = arguments.dcomp or [next(iter(arguments.pythons))]
    for given, known in (
        (arguments.collectives, COLLECTIVES),
        (arguments.modes, MODES),
        (arguments.dcomp, arguments.pythons),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise SystemExit(f"unknown: {', '.join(unknown)}. Known are {', '.join(known)}.")
    return arguments


def words_of(kind: str, mpi: str, settings: str) -> set[str]:
    """What `--contenders` may call a contender."""
    if kind != "mpi4py":
        return {kind, label_of(kind, mpi, settings)}
    group = "untuned" if settings == DEFAULT else "tuned"
    return {mpi, group, f"{mpi}-{group}", f"{mpi}-{settings}"}


def normal(name: str) -> str:
    """One spelling: numba_mpi is numba-mpi, and intel:heap, as the results have it, intel-heap."""
    return name.replace("_", "-").replace(":", "-")


def choose_jobs(arguments: argparse.Namespace) -> list[Job]:
    """The jobs that the chosen contenders need; the first one probes."""
    first = next(iter(arguments.pythons))
    possible = [(first, DEFAULT, ["copyto", "c"], True)]
    possible += [(mpi, DEFAULT, list(DCOMP), False) for mpi in arguments.dcomp]
    for mpi in arguments.pythons:
        possible.append((mpi, DEFAULT, ["mpi4py", "numba_mpi"], False))
        possible += [(mpi, settings, ["mpi4py"], False) for settings in FAMILIES[mpi].tuned]
    wanted = None if arguments.contenders is None else {normal(name) for name in arguments.contenders}
    known, jobs = set(), []
    for mpi, settings, kinds, probe in possible:
        words = {kind: {normal(word) for word in words_of(kind, mpi, settings)} for kind in kinds}
        known |= set().union(*words.values())
        chosen = [kind for kind in kinds if wanted is None or words[kind] & wanted]
        if chosen or probe:
            jobs.append(Job(mpi, settings, arguments.pythons[mpi], chosen, probe))
    if wanted and wanted - known:
        raise SystemExit(f"unknown: {', '.join(sorted(wanted - known))}. Contenders: {', '.join(sorted(known))}.")
    return jobs


def largest_array(collective: str, size: int, ranks: int) -> int:
    """Bytes of the largest array of a case."""
    return max(size, 8 * ranks) * (ranks if collective in BLOCKWISE else 1)


def fits(collective: str, size: int, jobs: list[Job], ranks: int) -> bool:
    """Whether the arrays of all jobs leave half of the memory free."""
    processes = ranks * sum(not job.failure for job in jobs)
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return ARRAYS * processes * largest_array(collective, size, ranks) <= half


def merged_versions(jobs: list[Job]) -> dict[str, dict]:
    """The versions in the environment of every MPI; only a job that measures dcomp says which dcomp it has."""
    versions: dict[str, dict] = {}
    for job in jobs:
        versions[job.mpi] = {**versions.get(job.mpi, {}), **job.versions}
    return versions


def describe_run(arguments: argparse.Namespace, jobs: list[Job], place: Place, no_library: str | None) -> dict:
    """What every line of the results says of its run."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "ranks": place.ranks,
        "cores": len(place.cores),
        "check": place.check,
        "engine": os.environ.get("DCOMP_ENGINE", "auto"),
        "thread_level": os.environ.get("MPI4PY_RC_THREAD_LEVEL", "multiple"),
        "flag_barrier": place.library is not None,
        "versions": merged_versions(jobs),
        "absent": absent(jobs, no_library),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def absent(jobs: list[Job], no_library: str | None) -> dict[str, str]:
    """Contenders that could not be measured, and why."""
    reasons = {}
    for job in jobs:
        failed = dict.fromkeys(job.contenders, job.failure) if job.failure else job.absent
        reasons |= {label_of(kind, job.mpi, job.settings): why for kind, why in failed.items()}
    if no_library and "c" in reasons:
        reasons["c"] = no_library
    return reasons


def report(lines: list[dict]) -> None:
    """Print the times of one case."""
    for mode, state in dict.fromkeys((line["mode"], line["state"]) for line in lines):
        here = [line for line in lines if (line["mode"], line["state"]) == (mode, state)]
        first = here[0]
        print(f"{first['collective']:>14} {size_text(first['size']):>8} {first['mode']:>6} {state:>5}  us:", end="")
        if first["best"]:
            best = next(line for line in here if line["contender"] == first["best"])
            print(f" best {best['contender']} {best['median_us']:.2f};", end="")
        others = [line for line in here if line["kind"] != "mpi4py" or line["settings"] == DEFAULT]
        print("".join(f" {line['contender']} {line['median_us']:.2f}" for line in others), end="")
        print(f"  [{max(line['batches'] for line in here)} rounds]", flush=True)


def run_case(
    jobs: list[Job], collective: str, size: int, arguments: argparse.Namespace, run: dict
) -> tuple[list[dict], list[str]]:
    """Measure one collective at one size in all modes; its lines, and complaints."""
    working = [job for job in jobs if not job.failure]
    contenders, complaints = prepare(working, collective, size)
    lines = []
    for mode in arguments.modes if contenders else []:
        if mode == "reused" and collective == "barrier":
            continue
        batches = measure(jobs[0], contenders, size, mode, arguments.min_time, arguments.min_rounds)
        case = {"collective": collective, "size": size, "mode": mode}
        lines += [{**case, **record, **run} for record in records(batches)]
    for job in working:
        with contextlib.suppress(JobError):
            job.ask("forget")
    complaints += [f"{job.name}: {job.failure}" for job in working if job.failure]
    return lines, complaints


def run_all(jobs: list[Job], place: Place, arguments: argparse.Namespace, no_library: str | None) -> int:
    """Measure everything; how many complaints there were."""
    start_all(jobs, place)
    if jobs[0].failure:
        raise SystemExit(f"the job that probes, {jobs[0].name}: {jobs[0].failure}")
    run = describe_run(arguments, jobs, place, no_library)
    print(f"{place.ranks} ranks on {len(place.cores)} cores, DCOMP_CHECK={place.check}; medians")
    for label, why in run["absent"].items():
        print(f"absent: {label}: {why}")
    count = 0
    for collective in arguments.collectives:
        for size in [0] if collective == "barrier" else arguments.sizes:
            if not fits(collective, size, jobs, place.ranks):
                print(f"{collective:>14} {size_text(size):>8}  left out: the arrays would fill half the memory")
                continue
            lines, complaints = run_case(jobs, collective, size, arguments, run)
            if not lines:
                print(f"{collective:>14} {size_text(size):>8}  too few batches without a change or a disturbance")
            report(lines)
            for complaint in complaints:
                print(f"{collective:>14} {size_text(size):>8}  ! {complaint}")
            count += len(complaints)
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.writelines(json.dumps(line) + "\n" for line in lines)
    return count


def main() -> int:
    """Start the jobs, measure, end the jobs; returns 1 if a result was wrong or a job failed on the way."""
    arguments = parse_arguments()
    jobs = choose_jobs(arguments)
    cores = sorted(os.sched_getaffinity(0))[: arguments.ranks]
    largest = [largest_array(name, size, arguments.ranks) for name in arguments.collectives for size in arguments.sizes]
    jobs[0].capacity = max(largest)
    with tempfile.TemporaryDirectory(prefix="peers") as folder:
        library, no_library = None, None
        try:
            library = str(compile_library(Path(folder)))
        except RuntimeError as error:
            no_library = str(error)
        place = Place(Path(folder), arguments.ranks, cores, library, arguments.check)
        try:
            return 1 if run_all(jobs, place, arguments, no_library) else 0
        except JobError as error:
            raise SystemExit(f"peers.py: {error}") from None
        finally:
            for job in jobs:
                job.end()


if __name__ == "__main__":
    sys.exit(main())
