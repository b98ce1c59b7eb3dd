"""Starting MPI (minimal)."""


def load_mpi() -> None:
    """Load MPI."""
    from mpi4py import MPI  # noqa: F401
