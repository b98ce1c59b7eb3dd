"""What a line of results says of the run that it comes from."""

import platform
import time

import mpi4py
import numba
import numpy as np

import dcomp as dc


def describe_run() -> dict:
    """What every line of results says of its run: versions, and the machine."""
    name, version = mpi4py.MPI.get_vendor()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "dcomp": dc.__version__,
        "mpi": f"{name} {'.'.join(map(str, version))}",
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def processor() -> str:
    """Its name, as the system has it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
