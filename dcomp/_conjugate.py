"""The method of conjugate gradients on distributed vectors."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._buffers import as_array, plain
from ._checks import dtype_text
from ._communicator import Communicator
from ._csr import CSR, DTYPES
from ._draws import integer, real
from ._errors import ShapeMismatchError
from ._ops import MAX
from ._whole import agree
from ._world import or_world
from .kernels import vectors

Operator = Callable[[np.ndarray], np.ndarray]


class Solution(NamedTuple):
    """What `cg` found.

    Attributes
    ----------
    x : array     This rank's block of the solution, or of the last approximation to it.
    iterations : int
    residual : float     ``|b - A x| / |b|``, computed from x itself.
    converged : bool
    reason : str
        "converged", "iteration limit", "not positive definite", "not finite", or "stagnation", if rounding lets the
        residual become no smaller.
    """

    x: np.ndarray
    iterations: int
    residual: float
    converged: bool
    reason: str


def cg(
    A: Any, b: Any, *, x0: Any = None, tol: float = 1e-8, maxiter: int | None = None, M: Any = None,
    comm: Communicator | None = None,
) -> Solution:  # fmt: skip
    """Solve ``A x = b`` for a symmetric, or Hermitian, positive definite A, by conjugate gradients.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    A : CSR, or a function of an array
        A function gets this rank's block of a vector, which it must not change, and returns this rank's block of the
        product, of the same shape and dtype; every rank calls it as often.
    b : array of float32, float64 or complex128, shape (n,)     This rank's block of the right-hand side.
    x0 : array like b, optional     Where to begin; omitted, at zero.
    tol : float     Converged is what has ``|b - A x| <= tol |b|``.
    maxiter : int, optional     Iterations at most; omitted, ten times the length of the whole vector.
    M : "jacobi", or a function like A, optional
        An approximation to the inverse of A, symmetric positive definite as well; "jacobi" is that of the diagonal of a
        `CSR`.
    comm : Communicator, optional     Of a function A; omitted, COMM_WORLD. A `CSR` has its own.

    Returns
    -------
    Solution     All but x identical on every rank.

    Raises
    ------
    TypeError, ValueError       On every rank, if a rank's arguments are wrong.
    CollectiveMismatchError     On every rank, if dtype, `tol`, `maxiter` or the kind of M differ.

    Notes
    -----
    There is always a result, whose `reason` tells how it came. A matrix that is indefinite, or singular as far as
    rounding lets it be seen, is "not positive definite" as soon as the iteration meets a direction p with
    ``p A p / p M^-1 p`` of at most eps times the greatest before; until then x is what it is for others. Whether A is
    symmetric is not looked at.

    An iteration is a product with A, one with M, and two allreduces, of one number and of two at most; five vectors are
    kept. What the iteration takes for the residual and what it is drift apart: when the one is small enough, the other
    is computed, and if that is not, the iteration begins anew from there. If squares of b may be beyond the range of
    its dtype, b and x are scaled by a power of two meanwhile.

    The result depends on the number of ranks as far as rounding does; it is the same each time.

    References
    ----------
    M. Hestenes, E. Stiefel, Methods of conjugate gradients for solving linear systems, J. Res. NBS 49 (1952).
    Y. Saad, Iterative methods for sparse linear systems, 2nd ed., algorithm 9.1.

    Examples
    --------
    ``x, iterations, residual, converged, reason = dc.linalg.cg(A, b, M="jacobi")``
    """
    comm = or_world(A.comm if comm is None and isinstance(A, CSR) else comm)
    problem: Any = None
    most, fault, facts = None, None, {}
    try:
        problem = _Problem(A, b, x0, M, comm)
        most = None if maxiter is None else integer("cg", "maxiter", maxiter, 0)
        tol = real("cg", "tol", tol, 0)
        facts = {"dtype": dtype_text(problem.b.dtype), "tol": tol, "maxiter": most, "x0": x0 is not None}
        facts["M"] = M if M is None or isinstance(M, str) else "a function"
    except (TypeError, ValueError) as error:
        fault = error
    agree(comm, "cg", fault, **facts)
    return problem.solve(tol, most)


class _Problem:
    """The arguments of one call, and what the iteration keeps."""

    def __init__(self, A: Any, b: Any, x0: Any, M: Any, comm: Communicator) -> None:
        if not isinstance(A, CSR) and not callable(A):
            raise TypeError(f"cg: A must be a CSR or a function of an array; got {type(A).__name__}")
        if isinstance(A, CSR) and (A.shape[0] != A.shape[1] or A.comm is not comm):
            raise ValueError(f"cg: A must be square, and its communicator that of the call; got {A!r} and {comm!r}")
        is_jacobi = isinstance(M, str) and M == "jacobi" and isinstance(A, CSR)
        if not (M is None or callable(M) or is_jacobi):
            raise ValueError(f'cg: M must be a function, or "jacobi" of a CSR; got {M!r} of {type(A).__name__}')
        self.comm, self._a, self._m = comm, A, M
        self.b = _vector("b", b, A.dtype if isinstance(A, CSR) else None)
        if isinstance(A, CSR) and self.b.size != A.row_counts[comm.rank]:
            raise ShapeMismatchError(f"cg: b must have shape ({A.row_counts[comm.rank]},); got {self.b.shape}")
        self._x = np.zeros_like(self.b) if x0 is None else _vector("x0", x0, self.b.dtype).copy()
        if self._x.shape != self.b.shape:
            raise ShapeMismatchError(f"cg: x0 must have the shape of b, {self.b.shape}; got {self._x.shape}")
        self._starts_at_zero = x0 is None
        self._real = self.b.real.dtype.type
        self._inverse = np.empty(0)  # of the diagonal
        self._product, self._z = np.empty_like(self.b), np.empty_like(self.b if M == "jacobi" else self.b[:0])

    def solve(self, tol: float, limit: int | None) -> Solution:
        """The whole of it; collective."""
        magnitude = self.comm.allreduce(np.array([np.abs(self.b).max(initial=0)]), MAX)[0]
        if limit is None:
            limit = 10 * int(self.comm.allreduce(self.b.size))
        if magnitude == 0:
            return Solution(np.zeros_like(self.b), 0, 0.0, True, "converged")
        if not np.isfinite(magnitude):
            return Solution(self._x, 0, math.nan, False, "not finite")
        exponent = int(np.frexp(magnitude)[1])
        if abs(exponent) < np.finfo(self._real).maxexp // 4:
            exponent = 0
        with np.errstate(all="ignore"):  # what comes of it is looked at
            self.b, self._x = _shifted(self.b, -exponent), _shifted(self._x, -exponent)
            found = self._iterate(tol, limit)
            x = _shifted(found.x, exponent)
            if exponent and found.converged and self._sum(int(not np.isfinite(x).all())) != [0]:
                return found._replace(x=x, converged=False, reason="not finite")  # the solution is beyond the dtype
            return found._replace(x=x)

    def _iterate(self, tol: float, limit: int) -> Solution:
        """Descend, look at what is left, and descend again from there if it is not what was expected."""
        (size,) = self._sum(vectors.dot(self.b, self.b))
        goal, iterations, last = tol * math.sqrt(size), 0, math.inf
        reason = None if self._m != "jacobi" or self._invert_diagonal() else "not positive definite"
        while True:
            r = self._residual()
            (left,) = self._sum(vectors.dot(r, r))
            residual = math.sqrt(left / size)
            if math.sqrt(left) <= goal:
                reason = "converged"
            elif not math.isfinite(left):
                reason = "not finite"
            elif reason is None and iterations == limit:
                reason = "iteration limit"
            elif reason is None and residual > last / 2:
                reason = "stagnation"
            if reason is not None:
                return Solution(self._x, iterations, residual, reason == "converged", reason)
            last, self._starts_at_zero = residual, False
            iterations, reason = self._descend(r, goal, iterations, limit)

    def _descend(self, r: np.ndarray, goal: float, iterations: int, limit: int) -> tuple[int, str | None]:
        """Iterate, from a residual on, until it seems to be small enough; why it ends before, else None."""
        x, real, least = self._x, self._real, float(np.finfo(self._real).eps)
        z, _, rz = self._precondition(r, vectors.dot(r, r))
        if not math.isfinite(rz):
            return iterations, "not finite"
        if not rz > 0:
            return iterations, "not positive definite"
        p = z.copy()
        size, greatest = rz, 0.0  # p M^-1 p, and the greatest p A p / p M^-1 p
        while iterations < limit:
            q = self._apply(self._a, "A", p)
            (pq,) = self._sum(vectors.dot(p, q))
            if not math.isfinite(pq):
                return iterations, "not finite"
            if not pq / size > least * greatest:
                return iterations, "not positive definite"
            greatest = max(greatest, pq / size)
            step = rz / pq
            z, rr, rz_after = self._precondition(r, vectors.axpy_dot(r, real(-step), q))
            if not math.isfinite(rr + rz_after):
                return iterations, "not finite"
            turn = rz_after / rz
            vectors.advance(x, p, real(step), z, real(turn))
            iterations += 1
            if math.sqrt(rr) <= goal:
                return iterations, None
            if not rz_after > 0:
                return iterations, "not positive definite"
            size, rz = rz_after + turn * turn * size, rz_after
        return iterations, None

    def _residual(self) -> np.ndarray:
        r = self.b.copy()
        if not self._starts_at_zero:
            r -= self._apply(self._a, "A", self._x)
        return r

    def _precondition(self, r: np.ndarray, rr: float) -> tuple[np.ndarray, float, float]:
        """M r, and of all ranks the products of r with itself, of which this rank's is `rr`, and with M r."""
        if self._m is None:
            (rr,) = self._sum(rr)
            return r, rr, rr
        if self._m == "jacobi":
            z = self._z
            rz = vectors.scale_dot(z, self._inverse, r)
        else:
            z = self._apply(self._m, "M", r)
            rz = vectors.dot(r, z)
        rr, rz = self._sum(rr, rz)
        return z, rr, rz

    def _invert_diagonal(self) -> bool:
        """Whether the diagonal is one of a positive definite matrix."""
        diagonal = np.ascontiguousarray(self._a.diagonal().real)
        self._inverse = 1 / diagonal
        bad = np.count_nonzero(~((diagonal > 0) & np.isfinite(self._inverse)))
        return self._sum(int(bad)) == [0]

    def _sum(self, *numbers: float) -> list[float]:
        return self.comm.allreduce(np.array(numbers, np.float64)).tolist()

    def _apply(self, operator: Any, name: str, x: np.ndarray) -> np.ndarray:
        """The product, checked if it is of a function of the user's."""
        if isinstance(operator, CSR):
            return operator._times(x, self._product)
        y = operator(x)
        if not isinstance(y, np.ndarray) or y.shape != x.shape or y.dtype != x.dtype:
            got = f"{y.shape}, {y.dtype}" if isinstance(y, np.ndarray) else type(y).__name__
            fault = ValueError(f"cg: {name} must return an array like its argument, {x.shape}, {x.dtype}; got {got}")
            agree(self.comm, "cg", fault)  # the others are in their next call
        return plain(y, x.dtype)


def _vector(name: str, x: Any, dtype: np.dtype | None) -> np.ndarray:
    """A vector of this dtype; None: of its own."""
    array, _ = as_array(x, "cg", name)
    if array.ndim != 1:
        raise ValueError(f"cg: {name} must have one dimension; got shape {array.shape}")
    if not (array.dtype in DTYPES if dtype is None else np.can_cast(array.dtype, dtype)):
        wanted = "float32, float64 or complex128" if dtype is None else f"{dtype}, or of what fits into it"
        raise TypeError(f"cg: {name} must be of {wanted}; got {dtype_text(array.dtype)}. Convert it")
    return plain(array, array.dtype if dtype is None else dtype)


def _shifted(x: np.ndarray, exponent: int) -> np.ndarray:
    """x times a power of two."""
    return x if exponent == 0 else np.ldexp(x.view(x.real.dtype), exponent).view(x.dtype)
