"""/dev/shm, where MPI libraries keep what the ranks of a node share: what dead jobs have left there, and how much room.

The memory that dcomp itself shares has no name in any directory (`engine/segment.py`), so nothing of it is left, and
the size of /dev/shm does not matter to it. To MPI it does: MPICH and Open MPI leave their files behind when all ranks
are killed, and MPICH and Intel MPI die of SIGBUS where there is no room for them.
"""

import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

from ._errors import LaunchError

FOLDER = "/dev/shm"
_NAMES = ("mpich_shm_", "sm_segment.", "vader_segment.")  # of MPICH's and Open MPI's files
_AGE = 5.0  # seconds; jobs that are just starting are left alone
# Bytes per rank, measured: to start, for MPICH's largest collectives, and for what Intel MPI cannot do without.
_START, _MOST, _LEAST = {"MPICH": 1_100_000, "Intel MPI": 2_000_000}, 6_000_000, 100_000


def sweep(folder: str = FOLDER) -> list[str]:
    """Remove what dead jobs of this user have left; the names."""
    swept = []
    with suppress(OSError), os.scandir(folder) as entries:  # not Linux, or it cannot be read
        for entry in entries:
            if entry.name.startswith(_NAMES) and _remove_if_dead(entry.path):
                swept.append(entry.name)
    return swept


def _remove_if_dead(path: str) -> bool:
    """Remove a file of this user's that no process has open or mapped."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another user's, or it is gone
        return False
    try:
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode) or time.time() - status.st_mtime < _AGE:
            return False
        # The kernel grants a write lease (fcntl(2)) if nobody else on the machine has the file open, in whatever
        # container; a mapping counts as that. Whoever opens it meanwhile waits; we would get SIGIO, which kills.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        if os.lstat(path).st_ino != status.st_ino:
            return False
        os.unlink(path)
        return True
    except OSError:  # somebody has it, or someone else has removed it
        return False
    finally:
        os.close(file)


def prepare(vendor: str, ranks: int, environment: MutableMapping[str, str], folder: str = FOLDER) -> str | None:
    """Before MPI starts: have an MPI that needs more room than there is do without, where it can.

    Parameters
    ----------
    vendor : of the MPI library, as mpi4py names it
    ranks : how many share this machine

    Returns
    -------
    A warning, the same on all ranks of the machine; None if there is none.

    Raises
    ------
    LaunchError     If it cannot do without: then it would die of SIGBUS.
    """
    size = _size(folder)
    if vendor not in _START or size is None or ranks < 2 or size >= ranks * _MOST:
        return None
    text = (
        f"{folder} has {size / 1e6:.3g} MB, and {vendor} wants {{}} MB for {ranks} ranks. Make it larger: mount -o "
        f"remount,size=1g {folder}, or docker run --shm-size=1g."
    )
    if vendor == "Intel MPI":
        if size >= ranks * _START[vendor] or "I_MPI_FABRICS" in environment:
            return None
        if size >= ranks * _LEAST:
            environment["I_MPI_FABRICS"] = "ofi"
            without = " Intel MPI goes without it now (I_MPI_FABRICS=ofi), and is slower."
            return text.format(ranks * _START[vendor] // 10**6) + without
    if size < ranks * _START[vendor]:
        raise LaunchError(text.format(ranks * _START[vendor] // 10**6 + 1) + " Without, it dies of SIGBUS.")
    return text.format(ranks * _MOST // 10**6) + " With less it may die of SIGBUS in a large collective of its own."


def _size(folder: str) -> int | None:
    """Bytes of a file system, used or not; None if it has no limit or is not there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize or None


def start(vendor: str, size: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Before MPI starts: one process of each machine sweeps /dev/shm, and warns of too little of it.

    `size` is how many ranks there are, where the launcher does not tell how many are here.
    """
    is_first = _number(environment, ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"), 0) == 0
    if is_first:
        sweep()
    ranks = _number(environment, ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"), size)
    warning = prepare(vendor, ranks, environment)
    if warning is not None and is_first:
        print(f"dcomp: {warning}", file=sys.stderr, flush=True)


def _number(environment: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    """The first of these variables that is there."""
    return next((int(environment[name]) for name in names if environment.get(name, "").isdecimal()), default)
