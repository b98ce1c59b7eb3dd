"""Linear algebra with distributed matrices and vectors.

>>> A = dc.linalg.CSR(indptr, indices, data, (n, n))    # this rank's rows of a sparse matrix
>>> x = dc.linalg.cg(A, b).x                            # this rank's block of the solution of A x = b

Matrices are cut into blocks of rows, one for each rank, in the order of the ranks; vectors alike. Blocks may differ in
length, and be empty.
"""

from dcomp import Communicator  # noqa: F401  before what needs MPI: it checks how the program was launched

from ._conjugate import Solution, cg
from ._csr import CSR
from ._dense import QR, SVD, matmul, qr, svd

__all__ = ["CSR", "QR", "SVD", "Solution", "cg", "matmul", "qr", "svd"]
