"""Measure how much memory a collective takes beyond its input and its result.

    python benchmarks/memory.py --launch "mpirun -n 2"

Every collective and contender gets processes of its own. There the arrays are made and written, the peak of
the resident memory is reset, one call is made, and the growth is read; a page that several ranks have mapped counts
for each by its part. What mpi4py's own call grows by, which is MPI's memory and not dcomp's, is subtracted. Needs
Linux; starts `mpirun` itself.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from results import COLLECTIVES
from text import parse_names, parse_size, size_text

CONTENDERS = ("mpi4py", "dcomp", "dcomp_inferred")
LIMIT = 2**20  # bytes that a call may take beside its input and its result
TIME_LIMIT = 300  # seconds for one job, which takes some two
PREFIX = "memory: "  # marks the line that a job hands back
WARM_UP = (8, 2**16, 2**21)  # bytes; what is set up once per process is no part of a call


def read_entry(file: str, name: str) -> int:
    """Bytes of an entry of a file of /proc/self."""
    for line in Path("/proc/self", file).read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"memory.py: /proc/self/{file} has no {name} here")


def shared_memory() -> tuple[int, int]:
    """Bytes of shared memory that this rank has mapped, and its part of them."""
    return read_entry("status", "RssShmem"), read_entry("smaps_rollup", "Pss_Shmem")


def reset_peak() -> bool:
    """Let VmHWM start again from the present size; whether the system permits it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measure_one(collective: str, contender: str, size: int) -> None:
    """The part that runs under MPI: one call; rank 0 prints what every rank's memory grew by."""
    from mpi4py import MPI
    from registry import ROWS, open_contenders

    comm = MPI.COMM_WORLD
    row = ROWS[collective]
    prepare = row.calls.get(contender)
    if prepare is None:
        return
    communicator = open_contenders()[contender]
    for small in WARM_UP:
        case = row.arrays(comm.rank, comm.size, small)
        right = case.verify(prepare(communicator, case))
    case = row.arrays(comm.rank, comm.size, size)
    case.expected = None
    is_made_inside = contender == "dcomp_inferred" and case.out is not None and case.out is not case.x
    result_bytes = case.out.nbytes if is_made_inside else 0
    if is_made_inside:
        case.out = None
    call = prepare(communicator, case)
    comm.Barrier()
    was_reset = reset_peak()
    comm.Barrier()
    shared, part = shared_memory()
    before = read_entry("status", "VmRSS" if was_reset else "VmHWM")
    call()
    growth = read_entry("status", "VmHWM") - before
    comm.Barrier()  # the parts are known when all ranks have touched what they touch
    shared_after, part_after = shared_memory()
    growth += (part_after - part) - (shared_after - shared)
    comm.Barrier()
    gathered = comm.gather((growth, result_bytes, was_reset, right))
    if comm.rank == 0:
        growths, results, resets, rights = zip(*gathered)
        line = {
            "collective": collective,
            "contender": contender,
            "size": size,
            "mpi": MPI.get_vendor()[0],
            "ranks": comm.size,
            "growth": growths,
            "result": results,
            "peak_was_reset": all(resets),
            "right": all(rights),
        }
        print(PREFIX + json.dumps(line), flush=True)


def run_one(launch: list[str], collective: str, contender: str, size: int) -> dict | None:
    """Start a job for one call; None where the contender has no such call."""
    command = [*launch, sys.executable, __file__, "--one", collective, contender, "--size", str(size)]
    # a huge page at the edge of an array would count as two more MiB
    environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0", "OMPI_MCA_osc": "^ucx"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    lines = [line.removeprefix(PREFIX) for line in done.stdout.splitlines() if line.startswith(PREFIX)]
    if not lines:
        return None
    line = json.loads(lines[0])
    if not line["right"]:
        raise SystemExit(f"{collective} by {contender}: wrong result")
    return line


def excess(line: dict, baseline: dict) -> int:
    """Bytes per rank beyond the results and beyond what MPI itself takes."""
    return sum(g - r - b for g, r, b in zip(line["growth"], line["result"], baseline["growth"])) // line["ranks"]


def mebibytes(count: int) -> str:
    """A count of bytes in MiB."""
    return f"{count / 2**20:.2f}"


def main() -> int:
    """Measure all, print a table; returns 1 if a call took more than it may."""
    beside = Path(sys.executable).with_name("mpirun")
    default_launch = f"{shlex.quote(str(beside)) if beside.exists() else 'mpirun'} -n 2"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launch", default=default_launch, help="what starts the ranks (default: %(default)s)")
    parser.add_argument("--size", type=parse_size, default=parse_size("64M"), help="bytes of a message (default: 64M)")
    parser.add_argument("--collectives", type=parse_names, default=[n for n in COLLECTIVES if n != "barrier"])
    parser.add_argument("--output", type=Path, help="file to which JSON lines are added")
    parser.add_argument("--one", nargs=2, metavar=("COLLECTIVE", "CONTENDER"), help="used by the jobs it starts")
    arguments = parser.parse_args()
    if arguments.one:
        measure_one(*arguments.one, arguments.size)
        return 0
    launch = shlex.split(arguments.launch)
    print(f"messages of {size_text(arguments.size)}; MiB per rank; limit {mebibytes(LIMIT)}")
    print(f"{'':>14}{'mpi4py grows by':>18}{'dcomp beyond that':>20}{'without out, beyond the result too':>37}")
    exceeded = False
    for collective in arguments.collectives:
        lines = {name: run_one(launch, collective, name, arguments.size) for name in CONTENDERS}
        baseline = lines["mpi4py"]
        values = [excess(lines[name], baseline) for name in CONTENDERS[1:]]
        marks = ["!" if value > LIMIT else " " for value in values]
        exceeded = exceeded or "!" in marks
        cells = [mebibytes(value) + mark for value, mark in zip(values, marks)]
        own = mebibytes(sum(baseline["growth"]) // baseline["ranks"])
        print(f"{collective:>14}{own:>17} {cells[0]:>20}{cells[1]:>37}", flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines.values())
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
