"""The collectives, persistent: each returns a `Plan`, which makes the same call many times.

Arguments are those of the blocking call, checked once, here. Refill `x` between calls; the result is the same
array every time. A plan costs its check once; each call is one exchange in shared memory, or, between nodes, what
MPI's persistent collectives cost.
"""

from typing import Any

from . import _table as table
from ._calls import describe
from ._ops import SUM
from .engine.channel import Channel
from .engine.plans import Plan, make_plan


class Persistent:
    """Persistent collectives: plans are made, and started, by all ranks in the same order.

    Arguments are those of the blocking calls; each use of the plan returns what they do.
    """

    _channel: Channel
    rank: int
    size: int

    def barrier_init(self) -> Plan:
        """`barrier` as a plan."""
        return make_plan(self._channel, describe(self._channel, table.BARRIER, form="{}_init"))

    def bcast_init(self, x: Any = None, *, root: int = 0, out: Any = None) -> Plan:
        """`bcast` as a plan."""
        call = describe(self._channel, table.BCAST, x, out, form="{}_init", root=root)
        return make_plan(self._channel, call)

    def scatter_init(self, x: Any = None, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Plan:
        """`scatter` as a plan."""
        call = describe(self._channel, table.SCATTER, x, out, form="{}_init", axis=axis, counts=counts, root=root)
        return make_plan(self._channel, call)

    def gather_init(self, x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None) -> Plan:
        """`gather` as a plan."""
        call = describe(self._channel, table.GATHER, x, out, form="{}_init", axis=axis, counts=counts, root=root)
        return make_plan(self._channel, call)

    def allgather_init(self, x: Any, *, axis: int = 0, counts: Any = None, out: Any = None) -> Plan:
        """`allgather` as a plan."""
        call = describe(self._channel, table.ALLGATHER, x, out, form="{}_init", axis=axis, counts=counts)
        return make_plan(self._channel, call)

    def alltoall_init(
        self,
        x: Any,
        *,
        split_axis: int = 0,
        concat_axis: int = 0,
        send_counts: Any = None,
        recv_counts: Any = None,
        out: Any = None,
    ) -> Plan:
        """`alltoall` as a plan."""
        call = describe(
            self._channel, table.ALLTOALL, x, out, form="{}_init",
            axis=split_axis, concat_axis=concat_axis, counts=send_counts, recv_counts=recv_counts,
        )  # fmt: skip
        return make_plan(self._channel, call)

    def reduce_init(self, x: Any, op: Any = SUM, *, root: int = 0, out: Any = None) -> Plan:
        """`reduce` as a plan."""
        call = describe(self._channel, table.REDUCE, x, out, form="{}_init", op=op, root=root)
        return make_plan(self._channel, call)

    def allreduce_init(self, x: Any, op: Any = SUM, *, out: Any = None) -> Plan:
        """`allreduce` as a plan."""
        return make_plan(self._channel, describe(self._channel, table.ALLREDUCE, x, out, form="{}_init", op=op))

    def reduce_scatter_init(self, x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None) -> Plan:
        """`reduce_scatter` as a plan."""
        call = describe(self._channel, table.REDUCE_SCATTER, x, out, form="{}_init", op=op, axis=axis, counts=counts)
        return make_plan(self._channel, call)

    def scan_init(self, x: Any, op: Any = SUM, *, out: Any = None) -> Plan:
        """`scan` as a plan."""
        return make_plan(self._channel, describe(self._channel, table.SCAN, x, out, form="{}_init", op=op))

    def exscan_init(self, x: Any, op: Any = SUM, *, out: Any = None) -> Plan:
        """`exscan` as a plan."""
        return make_plan(self._channel, describe(self._channel, table.EXSCAN, x, out, form="{}_init", op=op))
