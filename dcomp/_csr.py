"""Sparse matrices by block rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._buffers import as_array, plain
from ._checks import dtype_text
from ._communicator import Communicator
from ._draws import integer
from ._entries import Entries, Move, Paths
from ._errors import ShapeMismatchError
from ._layout import block_counts
from ._ops import MAX
from ._whole import agree, agree_on_total
from ._world import or_world
from .engine.neighbours import Block
from .kernels import sparse

DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.complex128))
_LONGEST = 2**62 - 1  # so that sums of two lengths are integers of 64 bits
_made = 0  # matrices on this rank


class Part(NamedTuple):
    """Compressed rows of one rank, as kernels take them."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray

    def times(self, y: np.ndarray, x: np.ndarray) -> None:
        """``y = A x``, of a vector or of a block of them."""
        (sparse.csr_matvec_into if x.ndim == 1 else sparse.csr_matmat_into)(y, *self, x)

    def transposed_times(self, y: np.ndarray, x: np.ndarray) -> None:
        """``y = A^T x``."""
        (sparse.csr_matvec_transposed_into if x.ndim == 1 else sparse.csr_matmat_transposed_into)(y, *self, x)


class CSR:
    """A sparse matrix distributed by block rows, in compressed rows.

    Collective: every rank of `comm` makes it, and takes part in its products.

    Parameters
    ----------
    indptr : array of integers, shape (n + 1,)
        Of this rank's n rows: the entries of its row i are those from ``indptr[i]`` up to ``indptr[i + 1]``.
    indices : array of integers
        Columns of the entries in the whole matrix, in any order; entries at one place add up.
    data : array of float32, float64 or complex128     Values of the entries.
    shape : (int, int)     Of the whole matrix. The ranks' blocks follow each other; they may differ in length.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    comm : Communicator
    row_counts : tuple of int     Rows of each rank.
    column_counts : tuple of int
        How x is cut in ``A @ x``: as the rows, if the matrix is square, else as `dcomp.block` cuts.
    T : its transposed; only products with it, and its own ``.T``, can be computed.

    Raises
    ------
    TypeError, ValueError     On every rank, if a rank's arrays are no compressed rows.
    CollectiveMismatchError, ShapeMismatchError
        On every rank, if shape or dtype differ, or the blocks together do not have the rows that `shape` tells.

    Notes
    -----
    ``A @ x`` takes this rank's block of a distributed vector, shape ``(column_counts[rank],)``, or of vectors side by
    side, ``(column_counts[rank], k)``, and gives this rank's block of the product, ``row_counts[rank]`` rows. With
    ``A.T @ x`` it is the other way round. x is converted to the dtype of the matrix if that loses nothing.

    Which entries of x a rank needs from whom is worked out once, here, by all-to-alls of a number for each rank, and of
    the needed columns. A product sends each rank just the entries that it needs, once, and nothing to ranks that need
    none. Between nodes they are under way while the part of the matrix that needs none is multiplied; ranks that share
    a node write them into each other's memory. Before that all ranks compare their calls, as for every collective.

    The matrix is kept in two parts, columns of this rank's block and others, with indices of 4 bytes if they suffice.
    Where there are no others, `data` is kept as it is, not copied: do not write to it afterwards.

    The last bits of a product depend on where the matrix is cut, and on nothing else.

    Examples
    --------
    A of rank 0 ``CSR([0, 1], [1], [2.0], (2, 2))``, of rank 1 ``CSR([0, 2], [0, 1], [3.0, 4.0], (2, 2))``, together
    [[0 2] [3 4]]; x of rank 0 [1], rank 1 [10]  ->  ``A @ x`` of rank 0 [20], rank 1 [43]
    """

    __array_ufunc__ = None  # so that NumPy's arrays leave ``x @ A`` alone

    def __init__(
        self, indptr: Any, indices: Any, data: Any, shape: Sequence[int], *, comm: Communicator | None = None
    ) -> None:
        self.comm = comm = or_world(comm)
        part: Any = None
        fault = None
        try:
            self.shape = _checked_shape(shape)
            part = _checked_part(indptr, indices, data, self.shape[1])
        except (TypeError, ValueError) as error:
            fault = error
        facts = {} if part is None else {"shape": self.shape, "dtype": dtype_text(part.data.dtype)}
        agree(comm, "CSR", fault, **facts)
        self._set_up(part)

    @classmethod
    def from_scipy(cls, block: Any, *, comm: Communicator | None = None) -> "CSR":
        """The matrix of which this rank has a block of rows, as one of SciPy's sparse arrays; collective.

        Parameters
        ----------
        block     Anything with a method `tocsr` whose result has `indptr`, `indices`, `data` and `shape`.
        comm : Communicator, optional

        Raises
        ------
        TypeError     On every rank, if it is no such thing on one.
        """
        comm = or_world(comm)
        parts: Any = None
        n, columns, fault = 0, 0, None
        try:
            rows = block.tocsr()
            parts, (n, columns) = (rows.indptr, rows.indices, rows.data), rows.shape
        except (AttributeError, TypeError, ValueError):
            fault = TypeError(f"from_scipy: block must be a sparse array of SciPy; got {type(block).__name__}")
        shape = agree_on_total(comm, "from_scipy", n, fault, columns=columns), columns
        indptr, indices, data = parts
        return cls(indptr, indices, data, shape, comm=comm)

    def __repr__(self) -> str:
        return f"<CSR of shape {self.shape}, {self.dtype}, on {self.comm!r}>"

    def __matmul__(self, x: Any) -> np.ndarray:
        """This rank's block of the product with a distributed vector, or with a block of them; collective."""
        return self._times(x, None)

    def _times(self, x: Any, out: np.ndarray | None) -> np.ndarray:
        """The same, in `out` if there is one: fresh memory of this size would cost a page fault for every 4 KiB."""
        x, fault = self._checked("A @ x", x, self.column_counts)
        y = np.empty((self.row_counts[self.comm.rank], *x.shape[1:]), self.dtype) if out is None else out

        def fill(sent: np.ndarray) -> None:
            np.take(x, self._given, axis=0, out=sent, mode="clip")

        def meanwhile() -> None:
            self._local.times(y, x)

        ghosts = self._entries.exchange(Move("A @ x", False, self.dtype, x.shape[1:], fault, fill, meanwhile))
        if self._ghost_rows.size:
            more = np.empty((self._ghost_rows.size, *x.shape[1:]), self.dtype)
            self._ghost.times(more, ghosts)
            sparse.add_at(y, self._ghost_rows, more)
        return y

    def _transposed_times(self, x: Any) -> np.ndarray:
        x, fault = self._checked("A.T @ x", x, self.row_counts)
        y = np.empty((self.column_counts[self.comm.rank], *x.shape[1:]), self.dtype)

        def fill(sent: np.ndarray) -> None:
            self._ghost.transposed_times(sent, x[self._ghost_rows])

        def meanwhile() -> None:
            self._local.transposed_times(y, x)

        came = self._entries.exchange(Move("A.T @ x", True, self.dtype, x.shape[1:], fault, fill, meanwhile))
        if self._given.size:
            sparse.add_at(y, self._given, came)
        return y

    def _checked(self, function: str, x: Any, counts: Sequence[int]) -> tuple[np.ndarray, Exception | None]:
        """x as kernels take it, or what is wrong with it."""
        rows = counts[self.comm.rank]
        try:
            array, _ = as_array(x, function)
            if array.ndim not in (1, 2) or len(array) != rows:
                raise ShapeMismatchError(f"{function}: x must have shape ({rows},) or ({rows}, k); got {array.shape}")
            if not np.can_cast(array.dtype, self.dtype):
                raise TypeError(
                    f"{function}: x must be of the dtype of the matrix, {self.dtype}, or one that fits into it; got "
                    f"{dtype_text(array.dtype)}. Convert it"
                )
            return plain(array, self.dtype), None
        except (TypeError, ValueError) as error:
            return np.empty(0, self.dtype), error

    @property
    def T(self) -> "Transposed":
        """The transposed matrix, for products; nothing is copied."""
        return Transposed(self)

    def diagonal(self) -> np.ndarray:
        """This rank's block of the diagonal, shape ``(row_counts[rank],)``; nothing is communicated.

        Raises
        ------
        ValueError     If the matrix is not square.
        """
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"diagonal: the matrix must be square; got shape {self.shape}.")
        d = np.empty(self.row_counts[self.comm.rank], self.dtype)
        sparse.diagonal_into(d, *self._local, 0)
        return d

    # Set up

    def _set_up(self, part: Part) -> None:
        comm = self.comm
        rows, made = comm.allgather(np.array([[len(part.indptr) - 1, _made]])).T
        self._take_number(int(made.max()) + 1)
        self.dtype = part.data.dtype
        self.row_counts = tuple(rows.tolist())
        if sum(self.row_counts) != self.shape[0]:
            raise ShapeMismatchError(
                f"CSR: shape must tell the rows of all ranks, {sum(self.row_counts)}; got {self.shape} and blocks of "
                f"{', '.join(map(str, self.row_counts))} rows. No data was moved."
            )
        is_square = self.shape[0] == self.shape[1]
        self.column_counts = self.row_counts if is_square else block_counts(self.shape[1], comm.size)
        starts = np.concatenate([[0], np.cumsum(self.column_counts)])
        first, last = starts[comm.rank], starts[comm.rank + 1]
        is_ghost = (part.indices < first) | (part.indices >= last)
        ghosts = np.unique(part.indices[is_ghost])
        self._find_paths(ghosts, starts)
        if ghosts.size:
            self._split(part, is_ghost, first, ghosts)
        else:
            self._local = _narrow(part._replace(indices=part.indices - first))
            self._ghost_rows = np.empty(0, np.int64)
            self._ghost = _narrow(Part(np.zeros(1, np.int64), part.indices[:0], part.data[:0]))

    def _take_number(self, number: int) -> None:
        """By which the ranks tell the matrix from others."""
        global _made
        _made = self._number = number

    def _find_paths(self, ghosts: np.ndarray, starts: np.ndarray) -> None:
        """Find out who needs which entries of whom."""
        comm = self.comm
        needed = np.diff(np.searchsorted(ghosts, starts))
        to = np.cumsum(needed) - needed
        given, given_to = comm.alltoall(np.stack([needed, to], axis=1)).T
        given_from = np.cumsum(given) - given
        there = comm.alltoall(given_from)
        self._given = comm.alltoall(ghosts, send_counts=needed.tolist()) - starts[comm.rank]
        sends = {rank: Block(int(given_from[rank]), int(given_to[rank]), int(n)) for rank, n in enumerate(given) if n}
        receives = {rank: Block(int(to[rank]), int(there[rank]), int(n)) for rank, n in enumerate(needed) if n}
        most = comm.allreduce(np.array([given.sum(), needed.sum()]), MAX).tolist()
        self._entries = Entries(comm, self._number, Paths(sends, receives, *most))

    def _split(self, part: Part, is_ghost: np.ndarray, first: int, ghosts: np.ndarray) -> None:
        """Take the entries in columns of other ranks apart, and those of their rows that have any."""
        before = np.concatenate([[0], np.cumsum(is_ghost)])[part.indptr]
        is_local = ~is_ghost
        self._local = _narrow(Part(part.indptr - before, part.indices[is_local] - first, part.data[is_local]))
        self._ghost_rows = np.flatnonzero(np.diff(before))
        columns = np.searchsorted(ghosts, part.indices[is_ghost])
        self._ghost = _narrow(Part(np.append(before[self._ghost_rows], before[-1]), columns, part.data[is_ghost]))


class Transposed:
    """The transposed of a `CSR`, for products; made by its ``T``."""

    __array_ufunc__ = None

    def __init__(self, matrix: CSR) -> None:
        self._matrix = matrix
        self.shape, self.dtype, self.comm = matrix.shape[::-1], matrix.dtype, matrix.comm

    def __repr__(self) -> str:
        return f"<transposed of {self._matrix!r}>"

    def __matmul__(self, x: Any) -> np.ndarray:
        """This rank's block of the product with a distributed vector, or with a block of them; collective."""
        return self._matrix._transposed_times(x)

    @property
    def T(self) -> CSR:
        """The matrix itself."""
        return self._matrix


def _narrow(part: Part) -> Part:
    """The same with indices that take no more room than they must; `indptr` and `indices` of one dtype."""
    is_small = max(part.data.size, part.indices.max(initial=0)) < 2**31
    index = np.dtype(np.int32 if is_small else np.int64)
    return Part(plain(part.indptr, index), plain(part.indices, index), plain(part.data, part.data.dtype))


def _checked_shape(shape: Any) -> tuple[int, int]:
    try:
        rows, columns = shape
    except (TypeError, ValueError):
        raise ValueError(f"CSR: shape must be two integers; got {shape!r}") from None
    checked = integer("CSR", "shape", rows, 0), integer("CSR", "shape", columns, 0)
    if max(checked) > _LONGEST:
        raise ValueError(f"CSR: shape must be of integers below 2**62; got {shape!r}")
    return checked


def _checked_part(indptr: Any, indices: Any, data: Any, columns: int) -> Part:
    """The arrays of compressed rows.

    Raises
    ------
    TypeError, ValueError     If they are none.
    """
    given = {"indptr": indptr, "indices": indices, "data": data}
    part = Part(*(as_array(one, "CSR", name)[0] for name, one in given.items()))
    for name, array in zip(given, part):
        if array.ndim != 1:
            raise ValueError(f"CSR: {name} must have one dimension; got shape {array.shape}")
        if name != "data" and array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"CSR: {name} must be of integers; got {dtype_text(array.dtype)}")
    if part.data.dtype not in DTYPES:
        raise TypeError(f"CSR: data must be of float32, float64 or complex128; got {dtype_text(part.data.dtype)}")
    if part.indptr.size == 0 or part.indptr[0] != 0 or (np.diff(part.indptr.astype(np.int64)) < 0).any():
        raise ValueError("CSR: indptr must begin with 0 and not decrease")
    if not part.indptr[-1] == part.indices.size == part.data.size:
        raise ValueError(
            f"CSR: indices and data must have as many entries as indptr tells, {part.indptr[-1]}; got "
            f"{part.indices.size} and {part.data.size}"
        )
    wrong = (part.indices < 0) | (part.indices >= columns)
    if wrong.any():
        raise ValueError(f"CSR: indices must be at least 0 and below {columns}; got {part.indices[wrong][0]}")
    return Part(part.indptr.astype(np.int64, copy=False), part.indices.astype(np.int64, copy=False), part.data)
