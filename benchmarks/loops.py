"""Compare calls in a row: in C on every MPI as it comes and tuned, mpi4py, numba-mpi, dcomp from Python and compiled.

    python benchmarks/loops.py --python mpich=PATH openmpi=PATH intel=PATH --output loops.jsonl

README.md beside this file says how to read the table.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from batches import Batches, summarise
from exchange import compile_library
from peers import absent, merged_versions, parse_pythons
from peers_jobs import Job, JobError, Place, start_all
from peers_measure import Contender, measure, prepare
from peers_settings import DEFAULT, FAMILIES
from text import parse_names, parse_sizes, size_text

COLLECTIVES = ("barrier", "allreduce", "sendrecv", "allgather")
SIZES = "8,1K,8K,64K,1M"
SOURCE = Path(__file__).with_name("loops.c")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", required=True, metavar="NAME=PATH", help="an interpreter for each MPI")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--sizes", type=parse_sizes, default=parse_sizes(SIZES), help=f"bytes (default: {SIZES})")
    parser.add_argument("--collectives", type=parse_names, default=list(COLLECTIVES), help="default: all")
    parser.add_argument("--min-time", type=float, default=1.0, help="seconds for each case")
    parser.add_argument("--check", choices=["off", "local", "collective"], default="collective", help="DCOMP_CHECK")
    parser.add_argument("--output", type=Path, help="file to which JSON lines are added")
    arguments = parser.parse_args()
    arguments.pythons = parse_pythons(arguments.python)
    return arguments


def compile_loops(pythons: dict[str, Path], folder: Path) -> dict[str, str]:
    """The library of loops.c for every MPI that has an mpicc; Intel's takes that of MPICH, whose ABI it has."""
    libraries = {}
    for mpi, python in pythons.items():
        compiler = python.absolute().with_name("mpicc")
        if compiler.exists():
            library = folder / f"loops_{mpi}.so"
            command = [str(compiler), "-O3", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
            if subprocess.run(command, capture_output=True).returncode == 0:
                libraries[mpi] = str(library)
    if "intel" in pythons and "mpich" in libraries:
        libraries["intel"] = libraries["mpich"]
    return libraries


def choose_jobs(arguments: argparse.Namespace, libraries: dict[str, str]) -> list[Job]:
    """One job for every MPI and setting; the first one probes."""
    jobs = []
    for mpi, python in arguments.pythons.items():
        told = {"loops": libraries.get(mpi)}
        ours = Job(mpi, DEFAULT, python, ["dcomp", "dcomp_njit"], not jobs, script="loops_rank.py", told=told)
        kinds = ["c", "mpi4py", "numba_mpi"]
        jobs += [ours, Job(mpi, DEFAULT, python, kinds, script="loops_rank.py", told=told)]
        jobs += [Job(mpi, name, python, ["c"], script="loops_rank.py", told=told) for name in FAMILIES[mpi].tuned]
    return jobs


def label_of(contender: Contender) -> str:
    """The name of a contender: dcomp_njit@mpich, c@openmpi:sm."""
    settings = "" if contender.job.settings == DEFAULT else f":{contender.job.settings}"
    return f"{contender.kind}@{contender.job.mpi}{settings}"


def records(batches: dict[Contender, Batches]) -> Iterator[dict]:
    """A record per contender and state, with ratios to the fastest loop in C and to numba-mpi on the same MPI."""
    for state in sorted({state for one in batches.values() for state in one.states if state is not None}):
        figures = {contender: summarise(one, one, None, state) for contender, one in batches.items()}
        in_c = {one: found["median_us"] for one, found in figures.items() if found and one.kind == "c"}
        best = min(in_c, key=in_c.get, default=None)
        for contender, one in batches.items():
            against = summarise(one, batches[best], None, state) if best else figures[contender]
            if against is None:
                continue
            other = next((c for c in batches if c.kind == "numba_mpi" and c.job.mpi == contender.job.mpi), None)
            to_numba_mpi = summarise(one, batches[other], None, state) if other else None
            yield {
                "contender": label_of(contender),
                "kind": contender.kind,
                "on": contender.job.mpi,
                "settings": contender.job.settings,
                "state": state,
                "best": label_of(best) if best else None,
                "ratio_numba_mpi": to_numba_mpi.get("ratio") if to_numba_mpi else None,
                **against,
            }


def run_all(jobs: list[Job], place: Place, arguments: argparse.Namespace) -> list[dict]:
    """Measure everything; the lines."""
    start_all(jobs, place)
    for job in jobs:
        if job.failure:
            print(f"absent: {job.name}: {job.failure}")
    if jobs[0].failure:
        raise SystemExit("the job that probes has failed")
    run = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "ranks": place.ranks,
        "cores": len(place.cores),
        "check": place.check,
        "versions": merged_versions(jobs),
        "absent": absent(jobs, None),
    }
    lines = []
    for collective in arguments.collectives:
        for size in [0] if collective == "barrier" else arguments.sizes:
            working = [job for job in jobs if not job.failure]
            contenders, complaints = prepare(working, collective, size)
            batches = measure(jobs[0], contenders, size, "reused", arguments.min_time, 7)
            for job in working:
                job.ask("forget")
            for complaint in complaints:
                print(f"{collective} {size_text(size)}: {complaint}")
            lines += [{"collective": collective, "size": size, **record, **run} for record in records(batches)]
    return lines


def print_tables(lines: list[dict]) -> None:
    """Per state and collective: microseconds by contender and size, and ratios to the fastest loop in C."""
    for state, collective in dict.fromkeys((line["state"], line["collective"]) for line in lines):
        here = [line for line in lines if (line["state"], line["collective"]) == (state, collective)]
        sizes = sorted({line["size"] for line in here})
        print(f"\n{collective}, {here[0]['ranks']} ranks, {state}: us, and over the fastest loop in C")
        print(f"{'':>24}" + "".join(f"{size_text(size) if size else '-':>18}" for size in sizes))
        for contender in dict.fromkeys(line["contender"] for line in here):
            cells = {line["size"]: line for line in here if line["contender"] == contender}
            if ":" in contender and not any(line["best"] == contender for line in cells.values()):
                continue  # of the tuned ones those that are the fastest somewhere
            texts = [
                f"{cells[size]['median_us']:.2f} ({cells[size].get('ratio', 1):.2f})" if size in cells else ""
                for size in sizes
            ]
            print(f"{contender:>24}" + "".join(f"{text:>18}" for text in texts))


def main() -> None:
    """Start the jobs, measure, end the jobs, print."""
    arguments = parse_arguments()
    cores = sorted(os.sched_getaffinity(0))[: arguments.ranks]
    with tempfile.TemporaryDirectory(prefix="loops") as name:
        folder = Path(name)
        jobs = choose_jobs(arguments, compile_loops(arguments.pythons, folder))
        place = Place(folder, arguments.ranks, cores, str(compile_library(folder)), arguments.check)
        try:
            lines = run_all(jobs, place, arguments)
        except JobError as error:
            raise SystemExit(f"loops.py: {error}") from None
        finally:
            for job in jobs:
                job.end()
    print_tables(lines)
    if arguments.output:
        with arguments.output.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
