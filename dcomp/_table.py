"""One frozen row per collective: what the checks, the tests, the benchmarks and the docs' table read.

Adding a collective starts here; CONTRIBUTING.md has the whole list of steps.
"""

from dataclasses import dataclass
from enum import Enum


class Shape(Enum):
    """How the arrays of the ranks and the results fit together."""

    NONE = "no array"
    BROADCAST = "everyone gets the root's array"
    SPLIT = "the root's array is cut along axis, one block per rank"
    CONCATENATE = "the ranks' arrays are joined along axis"
    TRANSPOSE = "every rank's array is cut, and the blocks for one rank are joined there"
    ELEMENTWISE = "all arrays and results have one shape"
    REDUCE_SPLIT = "one shape for all arrays; the combined array is cut along axis"


@dataclass(frozen=True)
class Collective:
    """A collective operation."""

    name: str
    shape: Shape
    mpi: str  # mpi4py's method; its variants are "I" + lower case and "_init"
    rooted: bool = False  # one rank sends or receives alone
    reduces: bool = False  # takes a reduction

    @property
    def from_root(self) -> bool:
        """Whether shape and dtype are known to the root only, and travel."""
        return self.shape in (Shape.BROADCAST, Shape.SPLIT)


BARRIER = Collective("barrier", Shape.NONE, "Barrier")
BCAST = Collective("bcast", Shape.BROADCAST, "Bcast", rooted=True)
SCATTER = Collective("scatter", Shape.SPLIT, "Scatterv", rooted=True)
GATHER = Collective("gather", Shape.CONCATENATE, "Gatherv", rooted=True)
ALLGATHER = Collective("allgather", Shape.CONCATENATE, "Allgatherv")
ALLTOALL = Collective("alltoall", Shape.TRANSPOSE, "Alltoallv")
REDUCE = Collective("reduce", Shape.ELEMENTWISE, "Reduce", rooted=True, reduces=True)
ALLREDUCE = Collective("allreduce", Shape.ELEMENTWISE, "Allreduce", reduces=True)
REDUCE_SCATTER = Collective("reduce_scatter", Shape.REDUCE_SPLIT, "Reduce_scatter", reduces=True)
SCAN = Collective("scan", Shape.ELEMENTWISE, "Scan", reduces=True)
EXSCAN = Collective("exscan", Shape.ELEMENTWISE, "Exscan", reduces=True)

COLLECTIVES = (
    BARRIER,
    BCAST,
    SCATTER,
    GATHER,
    ALLGATHER,
    ALLTOALL,
    REDUCE,
    ALLREDUCE,
    REDUCE_SCATTER,
    SCAN,
    EXSCAN,
)
