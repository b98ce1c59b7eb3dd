"""What ``python -m dcomp`` shows, and what ``python -m dcomp doctor`` looks for. Works with no MPI at all."""

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import _mpirun
from ._errors import LaunchError, SettingError
from ._launch import can_start, explain, find_launch, import_mpi, load_mpi
from ._layout import format_ranks
from ._settings import VARIABLES, read_settings

_NEEDED = {"numpy": (1, 26), "mpi4py": (4, 0), "numba": (0, 60), "threadpoolctl": (3, 1)}
_SHARED_MEMORY = 256 << 20  # bytes; containers get 64 MiB unless told
_TRIAL = 60.0  # seconds for two ranks to say hello
_HELLO = "import os, dcomp; os.write(1, b'ranks %d\\n' % dcomp.allreduce(1))"  # in one piece, unlike print


class Finding(NamedTuple):
    """Something looked at: `fix` is None where all is well, and "" where there is something to know."""

    what: str
    fix: str | None = None


def describe() -> int:
    """Show versions, MPI, nodes and settings; under a launcher rank 0 does. Returns the exit status."""
    launch = find_launch()
    rows = [("dcomp", f"{_version('dcomp')}, Python {platform.python_version()}, {sys.executable}")]
    rows += [(name, _version(name)) for name in _NEEDED]
    try:
        mpi = import_mpi()
        rows += list(_describe_mpi(mpi))
    except LaunchError as error:
        rows.append(("MPI", str(error)))
    if launch is not None and launch.size > 1:
        load_mpi()
        nodes = _nodes()
        if launch.rank != 0:
            return 0
        rows.append(("launched by", f"{launch.launcher}, {launch.size} ranks"))
        for name, node in nodes.items():
            told = " to ".join(map(str, sorted({min(node.threads), max(node.threads)})))
            rows.append(("node", f"{name}: {format_ranks(node.ranks)}; {node.sharing}; threads per rank: {told}"))
    rows.append(("CPUs", f"{_mpirun.cpus()} usable here, {_mpirun.cores()} cores"))
    settings = read_settings()
    for name, values in VARIABLES.items():
        value = getattr(settings, name.removeprefix("DCOMP_").lower())
        rows.append((name, f"{value}" if name in os.environ else f"not set ({values})"))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {text}" for name, text in rows))
    return 0


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        from . import __version__

        return __version__ if name == "dcomp" else "not installed"


def _describe_mpi(mpi: Any) -> Iterator[tuple[str, str]]:
    name, version = mpi.get_vendor()
    standard = ".".join(map(str, mpi.Get_version()))
    yield "MPI", f"{name} {'.'.join(map(str, version))} (MPI {standard}), {_mpirun.library_path() or 'path unknown'}"
    family = _mpirun.family_of(mpi)
    yield "mpirun", _mpirun.find_mpirun(family) or f"none of {family} found"


class _Node(NamedTuple):
    """A node of the job: its ranks, their threads, what memory they share, and the CPUs that they may use together."""

    ranks: list[int]
    threads: list[int]
    sharing: str
    cpus: set[int]


def _nodes() -> dict[str, _Node]:
    """The nodes by name; collective."""
    from . import _world_map
    from ._world import world

    nodes: dict[str, _Node] = {}
    comm = world()  # first, for it finds out what memory they share
    mine = socket.gethostname(), _world_map.threads(), _world_map.sharing(), os.sched_getaffinity(0)
    for rank, (name, threads, sharing, cpus) in enumerate(comm.allgather_object(mine)):
        node = nodes.setdefault(name, _Node([], [], sharing, set()))
        node.ranks.append(rank)
        node.threads.append(threads)
        node.cpus.update(cpus)
    return nodes


def examine() -> int:
    """Look for what is wrong with the installation or this launch; print it with its fix. Returns the exit status."""
    launch = find_launch()
    findings: list[Finding] = []
    for check in _CHECKS:
        findings += check()
    bad = sum(bool(finding.fix) for finding in findings)
    if launch is None or launch.rank == 0:
        for finding in findings:
            mark = "ok  " if finding.fix is None else ("BAD " if finding.fix else "note")
            print(_indent(f"{mark}  {finding.what}"))
            if finding.fix:
                print(_indent(f"      fix: {finding.fix}"))
        print("All is well." if not bad else f"{bad} to mend.")
    return min(bad, 1)


def _indent(text: str) -> str:
    return text.replace("\n", "\n      ")


def _check_packages() -> Iterator[Finding]:
    for name, needed in _NEEDED.items():
        version, least = _version(name), ".".join(map(str, needed))
        numbers = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
        if numbers >= needed:
            yield Finding(f"{name} {version}")
        else:
            fix = f"{sys.executable} -m pip install '{name}>={least}'"
            yield Finding(f"{name}: {version}, but dcomp needs {least} or newer", fix)


def _check_mpi() -> Iterator[Finding]:
    try:
        mpi = import_mpi()
    except LaunchError as error:
        yield Finding(str(error).replace(_mpirun.INSTALL, "").strip(), _mpirun.INSTALL)
        return
    yield Finding(": ".join(next(iter(_describe_mpi(mpi)))))
    family = _mpirun.family_of(mpi)
    mpirun = _mpirun.find_mpirun(family)
    if mpirun is None:
        yield Finding(f"there is no mpirun of {family}, which mpi4py uses", _mpirun.INSTALL)
        return
    yield Finding(f"its mpirun: {mpirun}")
    first = next(_mpirun.on_path(), None)
    if first is None:
        yield Finding(f"there is no mpirun on the path: call {mpirun}, or use `python -m dcomp run`", "")
    elif _mpirun.family_of_mpirun(first) != family:
        fix = f"call {mpirun}, or use `python -m dcomp run`, or put {os.path.dirname(mpirun)} first on the path"
        yield Finding(f"the first mpirun on the path, {first}, is of another MPI", fix)
    if family == "Open MPI" and os.geteuid() == 0:
        missing = [name for name in _mpirun.ROOT if os.environ.get(name) != "1"]
        if missing:
            fix = f"export {' '.join(f'{name}=1' for name in missing)}, or use `python -m dcomp run`"
            yield Finding("Open MPI does not start programs of root unless told so twice", fix)
    yield from _check_launch(mpi, family, mpirun)


def _check_launch(mpi: Any, family: str, mpirun: str) -> Iterator[Finding]:
    launch = find_launch()
    if launch is None or launch.size == 1:
        yield _try(family, mpirun)
        return
    if not can_start(launch, mpi):
        yield Finding(f"started by {launch.launcher}, {launch.size} processes", explain(mpi, launch))
        return
    try:
        load_mpi()
    except LaunchError as error:
        yield Finding(f"started by {launch.launcher}, {launch.size} processes", str(error))
        return
    nodes = _nodes()
    yield Finding(f"started by {launch.launcher}: {launch.size} ranks on {len(nodes)} node{'s'[: len(nodes) > 1]}")
    here = nodes[socket.gethostname()]
    if len(here.ranks) > len(here.cpus):
        told = f"{len(here.ranks)} ranks share {len(here.cpus)} CPUs of this node: good for tests, not for speed"
        yield Finding(told, "")


def _try(family: str, mpirun: str) -> Finding:
    """Start two ranks as `python -m dcomp run` would."""
    argv, extra = _mpirun.command(family, mpirun, 2, [sys.executable, "-c", _HELLO])
    # The ranks find the dcomp that is running here, installed or not.
    path = os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), os.environ.get("PYTHONPATH", "")])
    environment = {**_mpirun.clean(os.environ), **extra, "PYTHONPATH": path}
    what = f"two ranks under {mpirun}"
    try:
        tried = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=_TRIAL, check=False)
    except subprocess.TimeoutExpired:
        return Finding(f"{what} said nothing for {_TRIAL:g} s", "a firewall or the host's name may be in the way")
    if tried.returncode == 0 and tried.stdout.count("ranks 2") == 2:
        return Finding(f"{what} found each other")
    told = (tried.stdout + tried.stderr).strip().splitlines()[-12:]
    return Finding("\n".join([f"{what} did not find each other:", *told]), "see what it says")


def _check_settings() -> Iterator[Finding]:
    try:
        read_settings()
    except SettingError as error:
        yield Finding("settings", str(error))
    else:
        yield Finding("the DCOMP_ variables are known ones")


def _check_machine() -> Iterator[Finding]:
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        yield Finding("there is no /dev/shm on this system, so MPI may be slow within the node", "")
    else:
        free = room.f_bavail * room.f_frsize
        what = f"/dev/shm: {free >> 20} MiB free"
        if free >= _SHARED_MEMORY:
            yield Finding(what)
        else:
            fix = "docker run --shm-size=2g ..., or mount -o remount,size=2g /dev/shm; old files there may be removed"
            yield Finding(f"{what}, with which MPI may fail or be slow", fix)
    try:
        socket.getaddrinfo(socket.gethostname(), None)
        yield Finding(f"the host's name, {socket.gethostname()}, is known")
    except OSError:
        fix = f"add `127.0.1.1 {socket.gethostname()}` to /etc/hosts"
        yield Finding(f"the host's own name, {socket.gethostname()}, cannot be resolved; launchers may hang", fix)
    if "SLURM_JOB_ID" in os.environ:
        yield Finding("in a Slurm job use mpirun, or srun --mpi=pmix with Open MPI, srun --mpi=pmi2 with MPICH", "")


#: What is looked at, in this order.
_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_check_packages, _check_settings, _check_machine, _check_mpi)
