"""What a line of results says of the run that it comes from."""

import platform
import time

import numba
import numpy as np

import dcomp as dc


def describe_run() -> dict:
    """What every line of results says of its run: versions, and the machine."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "dcomp": dc.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def describe_job() -> dict:
    """The same of ranks that have started, and their MPI."""
    from mpi4py import MPI  # starts it, if it were not

    name, version = MPI.get_vendor()
    return {**describe_run(), "mpi": f"{name} {'.'.join(map(str, version))}"}


def processor() -> str:
    """Its name, as the system has it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
