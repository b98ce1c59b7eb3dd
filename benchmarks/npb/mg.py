"""NPB MG: four (twenty) V-cycles of multigrid for Poisson's equation on a periodic cube.

Every rank has some of the planes of each grid, with one plane of a neighbour on both sides, which a plan of
`cart.halo_init` brings. Grids that are too small to be shared out, every rank has as a whole: they cost less than
messages. `multigrid` has the loops over one rank's points.

Source: kernel MG of RNR-94-007; the parameters are those of the classes of NAS-95-020 (see `lcg`).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from lcg import advanced, fill
from multigrid import close_planes, correct, residual, residual_and_restrict, restrict, smooth, sum_squares
from outcome import Outcome, Stopwatch, agrees

import dcomp as dc

_SEED = 314159265
_CHARGES = 10  # points where the right-hand side is 1, and as many where it is -1
_PLANES = 8  # per rank, on the coarsest grid that is shared out
_OPERATIONS = 58  # per point and iteration
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Problem:
    """One class of the specification.

    Attributes
    ----------
    n     Points of the finest grid along each axis.
    smoother     Weights of the point, and of its neighbours at faces and at edges.
    norm     Of the last residual.
    """

    n: int
    iterations: int
    smoother: tuple[float, float, float]
    norm: float


_SMALL, _LARGE = (-3 / 8, 1 / 32, -1 / 64), (-3 / 17, 1 / 33, -1 / 61)
CLASSES = {
    "S": Problem(32, 4, _SMALL, 0.5307707005734e-4),
    "W": Problem(128, 4, _SMALL, 0.6467329375339e-5),
    "A": Problem(256, 4, _SMALL, 0.2433365309069e-5),
    "B": Problem(256, 20, _LARGE, 0.1800564401355e-5),
}


def run(letter: str, comm: dc.Communicator) -> Outcome:
    """Solve the problem of one class."""
    problem = CLASSES[letter]
    most = problem.n // 2
    if comm.size > most:
        raise ValueError(f"mg: comm must have at most {most} ranks for class {letter}; got {comm.size}. Start fewer.")
    multigrid = Multigrid(problem, comm)
    multigrid.norm_after(1)  # compiles, and touches all memory
    multigrid.clear()
    watch = Stopwatch(comm)
    norm = multigrid.norm_after(problem.iterations)
    seconds = watch.stop()
    multigrid.free()
    operations = _OPERATIONS * problem.iterations * problem.n**3
    detail = f"norm {norm:.13e}, should be {problem.norm:.13e}"
    return Outcome(seconds, operations, agrees(norm, problem.norm, _TOLERANCE), detail)


class Grid:
    """One rank's planes of one grid: correction `u`, right-hand side `v`, residual `r`, with a ghost layer around.

    Attributes
    ----------
    planes     Those of this rank, of n.
    """

    def __init__(self, n: int, planes: slice, cart: dc.CartComm | None) -> None:
        self.planes, self.is_whole = planes, cart is None
        shape = (planes.stop - planes.start + 2, n + 2, n + 2)
        self.u, self.v, self.r = (np.zeros(shape) for _ in range(3))
        self._plans = {} if cart is None else {id(one): cart.halo_init(one) for one in (self.u, self.v, self.r)}

    def close(self, x: np.ndarray) -> None:
        """Fill the ghost planes of one of its arrays."""
        if self.is_whole:
            close_planes(x)
        else:
            self._plans[id(x)]()

    def free(self) -> None:
        for plan in self._plans.values():
            plan.free()


class Multigrid:
    """All grids, the coarsest first, and the way through them."""

    def __init__(self, problem: Problem, comm: dc.Communicator) -> None:
        self._points, self._weights = problem.n**3, np.array(problem.smoother)
        self._cart = cart = comm.cart(0, periods=True)
        whole = 2  # points of the finest grid that is not shared out
        while whole < min(_PLANES * comm.size, problem.n // 2):
            whole *= 2
        block = comm.block(whole)  # of each grid's planes: the coarse ones lie with the rank that has the fine ones
        self._grids, n = [], 2
        while n <= problem.n:
            times = n // whole
            is_whole = times < 2
            planes = slice(0, n) if is_whole else slice(block.start * times, block.stop * times)
            self._grids.append(Grid(n, planes, None if is_whole else cart))
            n *= 2
        self._block = slice(block.start, block.stop + 2)  # in the finest whole grid, with ghost planes
        self._part = np.zeros((block.stop - block.start + 2, whole + 2, whole + 2))
        put_charges(self._grids[-1], cart)

    def clear(self) -> None:
        """Begin again."""
        self._grids[-1].u[...] = 0

    def norm_after(self, cycles: int) -> float:
        """The norm of the residual after so many V-cycles."""
        for _ in range(cycles):
            self._descend()
            self._ascend()
        finest = self._grids[-1]
        residual(finest.r, finest.v, finest.u)
        return float(np.sqrt(self._cart.allreduce(sum_squares(finest.r)) / self._points))

    def _descend(self) -> None:
        """The residual on all grids."""
        finest = self._grids[-1]
        for fine, coarse in zip(self._grids[:0:-1], self._grids[-2::-1], strict=True):
            is_gathered = coarse.is_whole and not fine.is_whole
            target = self._part if is_gathered else coarse.v
            if fine is finest:
                residual_and_restrict(target, fine.r, fine.v, fine.u)
                fine.close(fine.r)
                restrict(target, fine.r, target.shape[0] - 2)
            else:
                restrict(target, fine.v, 1)
            if is_gathered:
                self._cart.allgather(target[1:-1], out=coarse.v[1:-1])
            coarse.close(coarse.v)

    def _ascend(self) -> None:
        """Corrections from the coarsest grid to the finest."""
        coarsest, finest = self._grids[0], self._grids[-1]
        coarsest.u[...] = 0
        smooth(coarsest.u, coarsest.v, 1, self._weights)
        smooth(coarsest.u, coarsest.v, 2, self._weights)
        coarsest.close(coarsest.u)
        for coarse, fine in pairwise(self._grids):
            z = coarse.u[self._block] if coarse.is_whole and not fine.is_whole else coarse.u
            correct(fine.u, fine.r, fine.v, z, fine is finest, self._weights)
            fine.close(fine.r)
            smooth(fine.u, fine.r, 1, self._weights)
            smooth(fine.u, fine.r, fine.u.shape[0] - 2, self._weights)
            fine.close(fine.u)

    def free(self) -> None:
        for grid in self._grids:
            grid.free()
        self._cart.free()


def put_charges(grid: Grid, comm: dc.Communicator) -> None:
    """The right-hand side: 1 at the points with the largest of all random numbers, -1 at those with the smallest."""
    inner = grid.v[1:-1, 1:-1, 1:-1]
    first = grid.planes.start * inner[0].size
    numbers = np.empty(inner.size)
    fill(numbers, advanced(_SEED, first))
    order = np.argpartition(numbers, (_CHARGES, numbers.size - _CHARGES))
    mine = np.concatenate((order[:_CHARGES], order[-_CHARGES:]))
    every, places = comm.allgather(numbers[mine]), comm.allgather(mine + first)
    order = np.argsort(every)
    for charge, chosen in ((-1.0, order[:_CHARGES]), (1.0, order[-_CHARGES:])):
        here = places[chosen] - first
        for place in here[(here >= 0) & (here < inner.size)]:
            inner[np.unravel_index(place, inner.shape)] = charge
