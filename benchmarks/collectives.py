"""Time dcomp's collectives against mpi4py's upper-case calls and against numpy.copyto.

    mpirun -n 2 python benchmarks/collectives.py --check off --output results.jsonl
    python benchmarks/table.py results.jsonl
    python benchmarks/plot.py results.jsonl picture.png

README.md beside this file says how to read the results.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from text import parse_names, parse_sizes, size_text

SIZES = "8,64,512,4K,32K,64K,256K,1M,4M,16M,64M,128M"
SHORT_SIZES = "8,4K,64K,1M,8M"
ARRAYS = 5  # of the largest kind that a case needs, with those that exist only while it is built


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=parse_sizes, help=f"bytes of a message (default: {SIZES})")
    parser.add_argument("--collectives", type=parse_names, help="default: all")
    parser.add_argument("--contenders", type=parse_names, help="default: dcomp,mpi4py,copyto,exchange")
    parser.add_argument("--min-time", type=float, help="seconds for each collective and size (default: 1)")
    parser.add_argument("--check", choices=["off", "local", "collective"], help="DCOMP_CHECK of this run")
    parser.add_argument("--touch", action="store_true", help="rewrite x before and read the result after every call")
    parser.add_argument("--short", action="store_true", help=f"sizes {SHORT_SIZES}, 0.3 seconds each")
    parser.add_argument("--output", type=Path, help="file to which JSON lines are added")
    arguments = parser.parse_args()
    arguments.sizes = arguments.sizes or parse_sizes(SHORT_SIZES if arguments.short else SIZES)
    if arguments.min_time is None:
        arguments.min_time = 0.3 if arguments.short else 1.0
    return arguments


def touched(call, case):
    """`call` with its input written just before and its result read just after, as in a program."""
    x, out = case.x, case.out

    def call_and_use():
        if x is not None:
            x.fill(1.0)
        returned = call()
        result = out if returned is None else returned
        if result is not None:
            result.sum()

    return call_and_use


def describe_run(arguments: argparse.Namespace, placement, comm) -> dict:
    """What every line of the results says of its run."""
    import llvmlite
    import mpi4py
    import numpy

    import dcomp

    name, version = mpi4py.MPI.get_vendor()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "mpi": f"{name} {'.'.join(map(str, version))}",
        "ranks": comm.size,
        "cores": placement.cores,
        "pinned": placement.pinned,
        "no_probe": placement.problem,
        "check": os.environ.get("DCOMP_CHECK", "collective"),
        "engine": os.environ.get("DCOMP_ENGINE", "auto"),
        "touch": arguments.touch,
        "dcomp": getattr(dcomp, "__version__", None),
        "mpi4py": mpi4py.__version__,
        "numpy": numpy.__version__,
        "llvmlite": llvmlite.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def run_case(timer, probe, row, size: int, contenders: dict, arguments: argparse.Namespace) -> Iterator[dict]:
    """Verify and time one collective at one size; yields a record per contender and state, on every rank."""
    from batches import summarise
    from mpi4py import MPI
    from registry import BASELINE, UNIT
    from timing import measure

    comm = timer.comm
    case = row.arrays(comm.rank, comm.size, size)
    calls = {}
    for name, communicator in contenders.items():
        call = row.calls[name](communicator, case) if name in row.calls else None
        if call is None:
            continue
        if name != UNIT and not comm.allreduce(case.verify(call), op=MPI.LAND):
            raise SystemExit(f"{row.name} of {size_text(size)} by {name}: wrong result")
        calls[name] = touched(call, case) if arguments.touch and name != UNIT else call
    batches = measure(timer, probe, calls, arguments.min_time)
    states = sorted({state for one in batches.values() for state in one.states if state is not None})
    for state in states:
        for name in calls:
            figures = summarise(batches[name], batches[BASELINE], batches.get(UNIT), state)
            if figures is not None:
                yield {"collective": row.name, "size": size, "contender": name, "state": state, **figures}


def report(records: list[dict]) -> None:
    """Print the times of one collective at one size."""
    for state in sorted({record["state"] for record in records}):
        parts = []
        for record in records:
            if record["state"] == state:
                ratio = f" ({record['ratio']:.2f})" if "ratio" in record else ""
                parts.append(f"{record['contender']} {record['median_us']:.2f}{ratio}")
        first = records[0]
        kept = f"{first['batches']} of {first['batches'] + first['dropped']}"
        where = f"{first['collective']:>14} {size_text(first['size']):>8} {state:>5}"
        print(f"{where}  us: {',  '.join(parts)}  [{kept} batches]", flush=True)


def main() -> None:
    """Run the benchmark on every rank."""
    arguments = parse_arguments()
    if arguments.check:
        os.environ["DCOMP_CHECK"] = arguments.check  # read when dcomp is first used
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")  # else Open MPI prints a cosmetic message at the first window
    from mpi4py import MPI
    from probe import Probe, pin
    from registry import BASELINE, DEFAULT_CONTENDERS, ROWS, open_contenders
    from timing import Timer

    comm = MPI.COMM_WORLD.Dup()
    placement = pin(comm)
    probe = Probe(comm, placement)
    timer = Timer(comm, cores_are_ours=placement.pinned)
    opened = open_contenders()
    wanted = arguments.contenders or list(DEFAULT_CONTENDERS)
    names = arguments.collectives or list(ROWS)
    unknown = [name for name in wanted if name not in opened] + [name for name in names if name not in ROWS]
    if unknown:
        known = f"Collectives: {', '.join(ROWS)}. Contenders: {', '.join(opened)}."
        raise SystemExit(f"unknown: {', '.join(unknown)}. {known}")
    contenders = {name: opened[name] for name in dict.fromkeys([*wanted, BASELINE])}
    run = describe_run(arguments, placement, comm)
    if comm.rank == 0:
        where = f"{run['ranks']} ranks on {run['cores']} cores, {'pinned' if run['pinned'] else 'not pinned'}"
        print(f"{run['mpi']}, {where}, DCOMP_CHECK={run['check']}; medians, in brackets over {BASELINE}")
        if placement.problem:
            print(f"near and far are not told apart: {placement.problem}")
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    for name in names:
        row = ROWS[name]
        for size in arguments.sizes if row.sized else [0]:
            if ARRAYS * size * comm.size * (comm.size if row.blockwise else 1) > limit:
                if comm.rank == 0:
                    print(f"{name:>14} {size_text(size):>8}  left out: the arrays would fill half the memory")
                continue
            records = list(run_case(timer, probe, row, size, contenders, arguments))
            if comm.rank == 0:
                if not records:
                    print(f"{name:>14} {size_text(size):>8}  too few batches without a change or a disturbance")
                report(records)
                if arguments.output:
                    with arguments.output.open("a") as file:
                        file.writelines(json.dumps({**record, **run}) + "\n" for record in records)
    probe.free()


if __name__ == "__main__":
    main()
