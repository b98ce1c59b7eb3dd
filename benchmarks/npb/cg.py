"""CG: the smallest eigenvalue of a random sparse matrix by the inverse power method, with conjugate gradients.

Source: kernel CG of RNR-94-007; classes of NAS-95-020 (see `lcg`).

Fast because the whole of an iteration is compiled, with its collectives (`conjugate_gradients`); the product with the
matrix is a kernel of dcomp, with columns of 4 bytes; what is done with vectors reads them as seldom as possible
(`dcomp.kernels.vectors`). A rank has a block of rows, and gets the whole vector for each product.
"""

import math

import numpy as np
from cg_matrix import make_rows
from outcome import Outcome, Stopwatch, agrees

import dcomp as dc
from dcomp.kernels.sparse import csr_matvec_into
from dcomp.kernels.vectors import advance, axpy_dot, dot

CLASSES = {  # rows, nonzeros of a vector, outer iterations, shift, eigenvalue
    "S": (1400, 7, 15, 10.0, 8.5971775078648),
    "W": (7000, 8, 15, 12.0, 10.362595087124),
    "A": (14000, 11, 15, 20.0, 17.130235054029),
    "B": (75000, 13, 75, 60.0, 22.712745482631),
}
INNER = 25  # iterations of conjugate gradients


def run(letter: str, comm: dc.Communicator) -> Outcome:
    """Solve the problem of a class, and compare."""
    n, nonzeros, iterations, shift, expected = CLASSES[letter]
    rows = comm.block(n)
    matrix = make_rows(rows, n, nonzeros, shift)
    ones = np.ones(rows.stop - rows.start)
    find_eigenvalue(comm, *matrix, ones, shift, 1)  # compiles
    watch = Stopwatch(comm)
    zeta, residual = find_eigenvalue(comm, *matrix, ones, shift, iterations)
    seconds = watch.stop()
    per_row = nonzeros * (nonzeros + 1)
    operations = 2.0 * iterations * n * (3 + per_row + INNER * (5 + per_row) + 3)
    return Outcome(seconds, operations, agrees(zeta, expected, 1e-10), f"zeta {zeta!r}, residual {residual:.2e}")


@dc.jit
def find_eigenvalue(comm, indptr, indices, data, ones, shift, iterations):
    """The eigenvalue next to the shift, as it is after so many steps; and the last residual of the linear systems."""
    x, zeta, residual = ones.copy(), 0.0, 0.0
    for _ in range(iterations):
        z, residual = conjugate_gradients(comm, indptr, indices, data, x)
        zeta = shift + 1.0 / comm.allreduce(dot(x, z))
        x = z * (1.0 / math.sqrt(comm.allreduce(dot(z, z))))
    return zeta, residual


@dc.jit
def conjugate_gradients(comm, indptr, indices, data, x):
    """This rank's block of an approximation to the solution z of ``A z = x``, and ``|x - A z|``."""
    z, r, p, q = np.zeros_like(x), x.copy(), x.copy(), np.empty_like(x)
    rho = comm.allreduce(dot(r, r))
    for _ in range(INNER):
        csr_matvec_into(q, indptr, indices, data, comm.allgather(p))
        alpha = rho / comm.allreduce(dot(p, q))
        before, rho = rho, comm.allreduce(axpy_dot(r, -alpha, q))
        advance(z, p, alpha, r, rho / before)
    csr_matvec_into(q, indptr, indices, data, comm.allgather(z))
    return z, math.sqrt(comm.allreduce(((x - q) ** 2).sum()))
