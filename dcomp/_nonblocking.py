"""The collectives, non-blocking: each returns a `Request`, whose `wait` returns what the blocking call does.

Arguments are those of the blocking call. The array `x` must not be changed, nor `out` read, until the wait.
"""

from typing import Any

from . import _table as table
from ._calls import describe
from ._ops import SUM
from .engine.channel import Channel
from .engine.requests import Request, start


class NonBlocking:
    """Non-blocking collectives; all ranks make them in the same order, as MPI demands.

    Arguments are those of the blocking calls; the returned request's `wait` returns, or raises, what they do.
    """

    _channel: Channel
    rank: int
    size: int

    def ibarrier(self) -> Request:
        """`barrier`, non-blocking."""
        return start(self._channel, describe(self._channel, table.BARRIER, form="i{}"))

    def ibcast(self, x: Any = None, *, root: int = 0, out: Any = None) -> Request:
        """`bcast`, non-blocking."""
        call = describe(self._channel, table.BCAST, x, out, form="i{}", root=root)
        return start(self._channel, call)

    def iscatter(self, x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Request:
        """`scatter`, non-blocking."""
        call = describe(self._channel, table.SCATTER, x, out, form="i{}", axis=axis, counts=counts, root=root)
        return start(self._channel, call)

    def igather(self, x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Request:
        """`gather`, non-blocking."""
        call = describe(self._channel, table.GATHER, x, out, form="i{}", axis=axis, counts=counts, root=root)
        return start(self._channel, call)

    def iallgather(self, x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Request:
        """`allgather`, non-blocking."""
        call = describe(self._channel, table.ALLGATHER, x, out, form="i{}", axis=axis, counts=counts)
        return start(self._channel, call)

    def ialltoall(
        self,
        x: Any,
        *,
        split_axis: int = 0,
        concat_axis: int = 0,
        send_counts: Any = None,
        recv_counts: Any = None,
        out: Any = None,
    ) -> Request:
        """`alltoall`, non-blocking."""
        call = describe(
            self._channel, table.ALLTOALL, x, out, form="i{}",
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return start(self._channel, call)

    def ireduce(self, x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Request:
        """`reduce`, non-blocking."""
        call = describe(self._channel, table.REDUCE, x, out, form="i{}", op=op, root=root)
        return start(self._channel, call)

    def iallreduce(self, x: Any, op: Any = SUM, *, out: Any = None) -> Request:
        """`allreduce`, non-blocking."""
        return start(self._channel, describe(self._channel, table.ALLREDUCE, x, out, form="i{}", op=op))

    def ireduce_scatter(self, x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Request:
        """`reduce_scatter`, non-blocking."""
        call = describe(self._channel, table.REDUCE_SCATTER, x, out, form="i{}", op=op, axis=axis, counts=counts)
        return start(self._channel, call)

    def iscan(self, x: Any, op: Any = SUM, *, out: Any = None) -> Request:
        """`scan`, non-blocking."""
        return start(self._channel, describe(self._channel, table.SCAN, x, out, form="i{}", op=op))

    def iexscan(self, x: Any, op: Any = SUM, *, out: Any = None) -> Request:
        """`exscan`, non-blocking."""
        return start(self._channel, describe(self._channel, table.EXSCAN, x, out, form="i{}", op=op))
