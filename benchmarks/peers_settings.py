"""The MPIs that dcomp is compared with, and the settings that make each of them fast. Data; needs no MPI.

Found by screening some ninety configurations at 2 ranks on one node. Which is best depends on the operation, the
size and whether the cores are near or far, so all of them are measured and the best one counts.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT = "default"  # the name of an MPI's settings as they come

#: glibc gives the memory of large arrays back at once, and every new array then costs page faults that have
#: nothing to do with an MPI. So everyone, tuned or not, runs with huge pages and a heap that is kept.
MALLOC = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:"
    "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
}


@dataclass(frozen=True)
class Settings:
    """What is given to the launcher, and put into the environment. `{root}` is the folder of the Python environment."""

    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """An MPI: how its launcher binds ranks to cores, and its tuned settings by name."""

    bind: tuple[str, ...]  # where every rank has a core
    unbound: tuple[str, ...]  # where ranks outnumber cores
    environment: Mapping[str, str]
    unbound_environment: Mapping[str, str]
    tuned: Mapping[str, Settings]


def _mca(**parameters: object) -> tuple[str, ...]:
    return tuple(word for name, value in parameters.items() for word in ("--mca", name, str(value)))


OPENMPI = Family(
    bind=("--bind-to", "core"),
    unbound=("--bind-to", "none", "--oversubscribe"),
    # osc ucx prints a cosmetic message at the first window
    environment={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_osc": "^ucx"},
    unbound_environment={},
    tuned={
        "sm-large": Settings(
            _mca(
                coll_sm_priority=100,
                coll_sm_fragment_size=524288,
                coll_sm_comm_num_segments=4,
                btl_sm_fbox_size=65536,
                btl_sm_eager_limit=32768,
                btl_sm_fbox_threshold=0,
            )
        ),
        "sm": Settings(_mca(coll_sm_priority=100, coll_sm_fragment_size=131072)),
        "eager": Settings(_mca(btl_sm_eager_limit=16384, btl_sm_max_send_size=65536)),
        "ucx": Settings(
            _mca(pml="ucx", pml_ucx_tls="any", pml_ucx_devices="any"),
            {"UCX_TLS": "posix,cma,self"},
        ),
        "algo": Settings(
            _mca(
                coll_tuned_use_dynamic_rules=1,
                coll_tuned_allreduce_algorithm=5,
                coll_tuned_allreduce_algorithm_segmentsize=262144,
                coll_tuned_reduce_algorithm=3,
                coll_tuned_reduce_algorithm_segmentsize=262144,
                coll_tuned_bcast_algorithm=3,
                coll_tuned_bcast_algorithm_segmentsize=262144,
                coll_tuned_allgather_algorithm=4,
                coll_tuned_alltoall_algorithm=4,
                coll_tuned_reduce_scatter_algorithm=3,
            )
        ),
    },
)

MPICH = Family(
    bind=("-bind-to", "core"),
    unbound=(),
    environment={},
    unbound_environment={},
    tuned={
        "cma": Settings(environment={"MPIR_CVAR_CH4_IPC_CMA_P2P_THRESHOLD": "65536"}),
        "cells": Settings(
            environment={
                "MPIR_CVAR_CH4_SHM_POSIX_IQUEUE_CELL_SIZE": "32768",
                "MPIR_CVAR_CH4_PACK_BUFFER_SIZE": "65536",
                "MPIR_CVAR_CH4_IPC_CMA_P2P_THRESHOLD": "32768",
            }
        ),
        "algo": Settings(
            environment={
                "MPIR_CVAR_DEVICE_COLLECTIVES": "none",
                "MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM": "reduce_scatter_allgather",
                "MPIR_CVAR_REDUCE_INTRA_ALGORITHM": "reduce_scatter_gather",
                "MPIR_CVAR_BCAST_INTRA_ALGORITHM": "scatter_ring_allgather",
                "MPIR_CVAR_ALLGATHER_INTRA_ALGORITHM": "ring",
                "MPIR_CVAR_ALLTOALL_INTRA_ALGORITHM": "pairwise",
                "MPIR_CVAR_REDUCE_SCATTER_INTRA_ALGORITHM": "pairwise",
            }
        ),
    },
)

_INTEL_HEAP = {"I_MPI_SHM": "skx_avx512", "I_MPI_SHM_HEAP": "1", "I_MPI_SHM_HEAP_VSIZE": "4096"}

INTEL = Family(
    bind=(),
    unbound=(),
    environment={"I_MPI_ROOT": "{root}", "I_MPI_FABRICS": "shm", "I_MPI_PIN": "1", "I_MPI_PIN_CELL": "core"},
    unbound_environment={"I_MPI_PIN": "0"},
    tuned={
        "heap": Settings(environment=_INTEL_HEAP),
        "heap-algo": Settings(
            environment={
                **_INTEL_HEAP,
                "I_MPI_ADJUST_ALLREDUCE": "23:0-2048;18:2049-16384;13:16385-2147483647",
                "I_MPI_ADJUST_BCAST": "1:0-4096;16:4097-16384;2:16385-131072;"
                "14:131073-1048576;5:1048577-8388608;22:8388609-2147483647",
                "I_MPI_ADJUST_REDUCE_SCATTER": "1:0-2048;2:2049-2147483647",
                "I_MPI_ADJUST_ALLGATHER": "3:0-2048;1:2049-1048576;3:1048577-2147483647",
            }
        ),
        "ofi": Settings(environment={"I_MPI_FABRICS": "ofi", "FI_PROVIDER": "shm"}),
        "tuning-spr": Settings(environment={"I_MPI_TUNING_BIN": "{root}/opt/mpi/etc/tuning_spr_shm.dat"}),
    },
)

FAMILIES = {"mpich": MPICH, "openmpi": OPENMPI, "intel": INTEL}


def root_of(python: Path) -> Path:
    """The folder of the environment whose interpreter this is. A link is not followed: a venv's python is one."""
    return python.absolute().parent.parent


def settings_of(mpi: str, name: str) -> Settings:
    """The settings of an MPI by name."""
    return Settings() if name == DEFAULT else FAMILIES[mpi].tuned[name]


def launch_command(mpi: str, name: str, python: Path, ranks: int, cores: int) -> list[str]:
    """What starts `python` on all ranks, up to and including `python`."""
    family = FAMILIES[mpi]
    beside = python.absolute().with_name("mpirun")
    mpirun = str(beside) if beside.exists() else "mpirun"
    bind = family.bind if ranks <= cores else family.unbound
    return [mpirun, *bind, *settings_of(mpi, name).options, "-n", str(ranks), str(python.absolute())]


def environment_of(mpi: str, name: str, python: Path, ranks: int, cores: int) -> dict[str, str]:
    """The environment of a job. What is set already, by hand, for another library than this one is kept."""
    family = FAMILIES[mpi]
    root = root_of(python)
    ours = {**MALLOC, **family.environment, **settings_of(mpi, name).environment}
    if ranks > cores:
        ours |= family.unbound_environment
    ours = {key: value.format(root=root) for key, value in ours.items()}
    ours["PATH"] = os.pathsep.join(
        [str(root / "bin"), os.environ.get("PATH", os.defpath)]
    )  # a launcher finds its parts
    library = root / "lib" / "libmpi.so.12"
    if mpi == "intel" and library.exists():  # a wheel's libraries are where no loader looks
        before = os.environ.get("LD_LIBRARY_PATH")
        ours["LD_LIBRARY_PATH"] = str(library.parent) + (f":{before}" if before else "")
        ours["MPI4PY_LIBMPI"] = str(library)
    return {**os.environ, **ours}
