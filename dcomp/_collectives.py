"""The collectives, blocking: signatures and words. What they do is in `engine`.

These are the methods of a communicator; `_functions` has the same names as functions.
"""

from typing import Any

from . import _table as table
from ._calls import describe
from ._ops import SUM
from .engine.channel import Channel
from .engine.requests import carry_out


class Collectives:
    """Blocking collectives: every rank of the communicator calls them, in the same order.

    With `DCOMP_TIMEOUT` set, each raises `DeadlockError` if a rank does not come in time.
    """

    _channel: Channel
    rank: int
    size: int

    def barrier(self) -> None:
        """Wait until every rank has called it.

        Raises
        ------
        CollectiveMismatchError     On every rank, if another rank calls another collective.

        Notes
        -----
        Through shared memory on one node, else MPI_Barrier.
        """
        return carry_out(self._channel, describe(self._channel, table.BARRIER))

    def bcast(self, x: Any = None, *, root: int = 0, out: Any = None) -> Any:
        """Give every rank the root's array.

        Parameters
        ----------
        x : array, any shape     On the root only; shape and dtype travel with it.
        root : int               The rank that gives.
        out : array, shape and dtype of the root's `x`, optional

        Returns
        -------
        array, shape and dtype of the root's `x`; on the root `x` itself where it is in C order. A NumPy scalar
        if `x` is a scalar.

        Raises
        ------
        CollectiveMismatchError     On every rank, if `root` or the dtype of an `out` differs.
        ShapeMismatchError          On every rank, if the shape of an `out` differs.

        Notes
        -----
        Through shared memory on one node, else MPI_Bcast. Shape and dtype travel in the check's exchange; more
        than five dimensions or a structured dtype cost two small broadcasts. With ``DCOMP_CHECK=off`` or ``local``
        an `out` on every rank, the root included, saves the exchange between nodes; then it must be given on all
        ranks or on none.

        Examples
        --------
        rank 0 [1 2], rank 1 None  ->  both [1 2]
        """
        return carry_out(self._channel, describe(self._channel, table.BCAST, x, out, root=root))

    def scatter(self, x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        """Cut the root's array along an axis and give every rank its block.

        Parameters
        ----------
        x : array, shape (n, ...)     On the root only.
        axis : int                    The axis that is cut.
        counts : p integers, optional
            Lengths of the blocks. Omitted: as `numpy.array_split` cuts. They matter on the root and travel;
            elsewhere they are omitted or equal.
        root : int                    The rank that gives.
        out : array, shape of this rank's block, optional

        Returns
        -------
        array, shape (n_rank, ...), dtype of the root's `x`

        Raises
        ------
        ValueError                  From counts that are negative or do not add up to n.
        CollectiveMismatchError     On every rank, if root, axis, counts or the dtype of an `out` differ.
        ShapeMismatchError          On every rank, if an `out` has another shape than the block.

        Notes
        -----
        Through shared memory on one node, else MPI_Scatter, MPI_Scatterv for uneven blocks. Counts given on the
        root cost a second exchange of 16 bytes per rank. Another axis than the first costs a packed copy of `x` on
        the root, and one of every block.

        Examples
        --------
        rank 0 [1 2 3], rank 1 None  ->  rank 0 [1 2], rank 1 [3]
        """
        call = describe(self._channel, table.SCATTER, x, out, axis=axis, counts=counts, root=root)
        return carry_out(self._channel, call)

    def gather(self, x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Any:
        """Join the arrays of all ranks along an axis, on the root.

        Parameters
        ----------
        x : array, shape (n_rank, ...)     Lengths along `axis` may differ. A scalar counts as one element.
        axis : int                         The axis along which they are joined.
        counts : p integers, optional      The lengths of all ranks, on every rank.
        root : int                         The rank that receives.
        out : array, shape (sum of n_rank, ...), optional     On the root only.

        Returns
        -------
        array, shape (sum of n_rank, ...), dtype of `x`, on the root; None elsewhere

        Raises
        ------
        ValueError                  From counts that are negative or not those of the blocks.
        CollectiveMismatchError     On every rank, if root, axis, counts or dtypes differ.
        ShapeMismatchError          On every rank, if shapes differ beside `axis`, or an `out` does not fit.

        Notes
        -----
        Through shared memory on one node, else MPI_Gather, MPI_Gatherv for uneven blocks. Uneven blocks without
        `counts` cost a second exchange of 8 bytes per rank. Another axis than the first costs a packed copy of `x`,
        and one of the result.

        Examples
        --------
        rank 0 [1 2], rank 1 [3]  ->  rank 0 [1 2 3], rank 1 None
        """
        call = describe(self._channel, table.GATHER, x, out, axis=axis, counts=counts, root=root)
        return carry_out(self._channel, call)

    def allgather(self, x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        """Join the arrays of all ranks along an axis, on every rank.

        Parameters
        ----------
        x : array, shape (n_rank, ...)     Lengths along `axis` may differ. A scalar counts as one element.
        axis : int                         The axis along which they are joined.
        counts : p integers, optional      The lengths of all ranks, on every rank.
        out : array, shape (sum of n_rank, ...), optional

        Returns
        -------
        array, shape (sum of n_rank, ...), dtype of `x`; identical on every rank

        Raises
        ------
        ValueError                  From counts that are negative or not those of the blocks.
        CollectiveMismatchError     On every rank, if axis, counts or dtypes differ.
        ShapeMismatchError          On every rank, if shapes differ beside `axis`, or an `out` does not fit.

        Notes
        -----
        Through shared memory on one node, else MPI_Allgather, MPI_Allgatherv for uneven blocks. Uneven blocks
        without `counts` cost a second exchange of 8 bytes per rank. Another axis than the first costs a packed copy
        of `x`, and one of the result.

        Examples
        --------
        rank 0 [1 2], rank 1 [3]  ->  both [1 2 3]
        """
        call = describe(self._channel, table.ALLGATHER, x, out, axis=axis, counts=counts)
        return carry_out(self._channel, call)

    def alltoall(
        self,
        x: Any,
        *,
        split_axis: int = 0,
        concat_axis: int = 0,
        send_counts: Any = None,
        recv_counts: Any = None,
        out: Any = None,
    ) -> Any:
        """Cut every rank's array into a block per rank, and join the blocks meant for each rank there.

        Parameters
        ----------
        x : array, shape (n, ...)
        split_axis : int       The axis that is cut.
        concat_axis : int      The axis along which the blocks that arrive are joined, in the order of the ranks.
        send_counts : p integers, optional
            Lengths along `split_axis` of the blocks for each rank. Omitted: as `numpy.array_split` cuts.
        recv_counts : p integers, optional
            Lengths along `concat_axis` of the blocks that arrive; checked.
        out : array, shape of the result, optional

        Returns
        -------
        array: along `split_axis` this rank's block, along `concat_axis` the sum of what arrives

        Raises
        ------
        ValueError                  From counts that are negative or do not add up.
        CollectiveMismatchError     On every rank, if axes or dtypes differ.
        ShapeMismatchError          On every rank, if blocks do not fit together.

        Notes
        -----
        Even blocks along one axis through shared memory on one node, else MPI_Alltoall, MPI_Alltoallv. Where
        shapes differ between ranks or counts are given, two more small exchanges: of 8 bytes per rank, and of 128
        bytes to agree on the outcome. Two different axes cost a packed copy of `x` and one of the result.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  rank 0 [1 3], rank 1 [2 4]
        """
        call = describe(
            self._channel, table.ALLTOALL, x, out,
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return carry_out(self._channel, call)

    def reduce(self, x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Any:
        """Combine the arrays of all ranks elementwise, on the root.

        Parameters
        ----------
        x : array, shape (n, ...)     Same shape and dtype on every rank.
        op : reduction                SUM, PROD, MIN, MAX, ... or an `Op`.
        root : int                    The rank that receives.
        out : array, shape (n, ...), optional     On the root only; may be `x` itself.

        Returns
        -------
        array, shape (n, ...), dtype of `x`, on the root; None elsewhere

        Raises
        ------
        TypeError                   If `op` is not defined for the dtype.
        CollectiveMismatchError     On every rank, if root, op or dtype differ.
        ShapeMismatchError          On every rank, if shapes differ.

        Notes
        -----
        Through shared memory on one node, else MPI_Reduce.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  rank 0 [4 6], rank 1 None
        """
        return carry_out(self._channel, describe(self._channel, table.REDUCE, x, out, op=op, root=root))

    def allreduce(self, x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        """Combine the arrays of all ranks elementwise; every rank gets the result.

        Parameters
        ----------
        x : array, shape (n, ...)     Same shape and dtype on every rank.
        op : reduction                SUM, PROD, MIN, MAX, ... or an `Op`.
        out : array, shape (n, ...), optional     May be `x` itself.

        Returns
        -------
        array, shape (n, ...), dtype of `x`; identical on every rank

        Raises
        ------
        TypeError                   If `op` is not defined for the dtype.
        CollectiveMismatchError     On every rank, if op or dtype differ.
        ShapeMismatchError          On every rank, if shapes differ.

        Notes
        -----
        Through shared memory on one node, else MPI_Allreduce. In shared memory floating-point numbers are added in
        the order of the ranks, else in MPI's.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  both [4 6]
        """
        return carry_out(self._channel, describe(self._channel, table.ALLREDUCE, x, out, op=op))

    def reduce_scatter(self, x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Any:
        """Combine the arrays of all ranks elementwise, and give every rank its block of the result.

        Parameters
        ----------
        x : array, shape (n, ...)     Same shape and dtype on every rank.
        op : reduction                SUM, PROD, MIN, MAX, ... or an `Op`.
        axis : int                    The axis that is cut.
        counts : p integers, optional     Lengths of the blocks. Omitted: as `numpy.array_split` cuts.
        out : array, shape of this rank's block, optional

        Returns
        -------
        array, shape (n_rank, ...), dtype of `x`

        Raises
        ------
        TypeError                   If `op` is not defined for the dtype.
        ValueError                  From counts that are negative or do not add up to n.
        CollectiveMismatchError     On every rank, if op, axis, counts or dtype differ.
        ShapeMismatchError          On every rank, if shapes differ.

        Notes
        -----
        Through shared memory on one node, else MPI_Reduce_scatter, for equal blocks as well. Another axis than
        the first costs a packed copy of `x`, and one of the block.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  rank 0 [4], rank 1 [6]
        """
        call = describe(self._channel, table.REDUCE_SCATTER, x, out, op=op, axis=axis, counts=counts)
        return carry_out(self._channel, call)

    def scan(self, x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        """Combine the arrays of rank 0 up to this rank, elementwise.

        Parameters
        ----------
        x : array, shape (n, ...)     Same shape and dtype on every rank.
        op : reduction                SUM, PROD, MIN, MAX, ... or an `Op`.
        out : array, shape (n, ...), optional     May be `x` itself.

        Returns
        -------
        array, shape (n, ...), dtype of `x`

        Raises
        ------
        As `allreduce`.

        Notes
        -----
        Through shared memory on one node, else MPI_Scan.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  rank 0 [1 2], rank 1 [4 6]
        """
        return carry_out(self._channel, describe(self._channel, table.SCAN, x, out, op=op))

    def exscan(self, x: Any, op: Any = SUM, *, out: Any = None) -> Any:
        """Combine the arrays of the ranks before this one, elementwise.

        Parameters
        ----------
        x : array, shape (n, ...)     Same shape and dtype on every rank.
        op : reduction                SUM, PROD, MIN, MAX, ... or an `Op` that has an identity.
        out : array, shape (n, ...), optional     May be `x` itself.

        Returns
        -------
        array, shape (n, ...), dtype of `x`; on rank 0 the identity of `op`

        Raises
        ------
        As `allreduce`; ValueError if `op` has no identity.

        Notes
        -----
        Through shared memory on one node, else MPI_Exscan.

        Examples
        --------
        rank 0 [1 2], rank 1 [3 4]  ->  rank 0 [0 0], rank 1 [1 2]
        """
        return carry_out(self._channel, describe(self._channel, table.EXSCAN, x, out, op=op))
