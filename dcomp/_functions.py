"""The methods of a communicator as functions; an omitted `comm` means COMM_WORLD."""

import sys
from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import Any, TypeVar

from . import _njit
from ._communicator import Communicator
from ._ops import SUM
from ._point_to_point import ANY_SOURCE, ANY_TAG, Envelope
from ._world import or_world
from .engine.plans import Plan
from .engine.requests import Request, wait_all

__all__ = ["ANY_SOURCE", "ANY_TAG", "Envelope", "Plan", "Request", "wait_all"]  # and all functions below

_F = TypeVar("_F", bound=Callable)


def _documented(function: _F) -> _F:
    """Take over the words of the method of the same name."""
    method = getattr(Communicator, function.__name__)
    function.__doc__ = f"{cleandoc(method.__doc__ or '')}\n\n`comm`: the communicator; omitted, COMM_WORLD.\n"
    return function


def block(n: int, *, comm: Communicator | None = None) -> slice:
    """This rank's part of ``range(n)``, as `scatter` cuts it."""
    return or_world(comm).block(n)


@_documented
def stop_requested(*, comm: Communicator | None = None) -> bool:
    return or_world(comm).stop_requested()


@_documented
def time_left(*, comm: Communicator | None = None) -> float:
    return or_world(comm).time_left()


# Blocking


@_documented
def barrier(*, comm: Communicator | None = None) -> None:
    return or_world(comm).barrier()


@_documented
def bcast(x: Any = None, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).bcast(x, root=root, out=out)


@_documented
def scatter(
    x: Any = None,
    *,
    axis: int = 0,
    counts: Any = None,
    root: int = 0,
    out: Any = None,
    comm: Communicator | None = None,
) -> Any:
    return or_world(comm).scatter(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def gather(
    x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None, comm: Communicator | None = None
) -> Any:
    return or_world(comm).gather(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def allgather(x: Any, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).allgather(x, axis=axis, counts=counts, out=out)


@_documented
def alltoall(
    x: Any,
    *,
    split_axis: int = 0,
    concat_axis: int = 0,
    send_counts: Any = None,
    recv_counts: Any = None,
    out: Any = None,
    comm: Communicator | None = None,
) -> Any:
    return or_world(comm).alltoall(
        x, split_axis=split_axis, concat_axis=concat_axis, send_counts=send_counts, recv_counts=recv_counts, out=out
    )


@_documented
def reduce(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).reduce(x, op, root=root, out=out)


@_documented
def allreduce(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).allreduce(x, op, out=out)


@_documented
def reduce_scatter(
    x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None
) -> Any:
    return or_world(comm).reduce_scatter(x, op, axis=axis, counts=counts, out=out)


@_documented
def scan(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).scan(x, op, out=out)


@_documented
def exscan(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Any:
    return or_world(comm).exscan(x, op, out=out)


def _combine(x: Any, function: str, told: str, *, comm: Communicator | None = None) -> Any:
    """`Communicator._combine`, for compiled code where no communicator is named."""
    return or_world(comm)._combine(x, function, told)


# Non-blocking


@_documented
def ibarrier(*, comm: Communicator | None = None) -> Request:
    return or_world(comm).ibarrier()


@_documented
def ibcast(x: Any = None, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Request:
    return or_world(comm).ibcast(x, root=root, out=out)


@_documented
def iscatter(
    x: Any = None,
    *,
    axis: int = 0,
    counts: Any = None,
    root: int = 0,
    out: Any = None,
    comm: Communicator | None = None,
) -> Request:
    return or_world(comm).iscatter(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def igather(
    x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None, comm: Communicator | None = None
) -> Request:
    return or_world(comm).igather(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def iallgather(
    x: Any, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None
) -> Request:
    return or_world(comm).iallgather(x, axis=axis, counts=counts, out=out)


@_documented
def ialltoall(
    x: Any,
    *,
    split_axis: int = 0,
    concat_axis: int = 0,
    send_counts: Any = None,
    recv_counts: Any = None,
    out: Any = None,
    comm: Communicator | None = None,
) -> Request:
    return or_world(comm).ialltoall(
        x, split_axis=split_axis, concat_axis=concat_axis, send_counts=send_counts, recv_counts=recv_counts, out=out
    )


@_documented
def ireduce(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Request:
    return or_world(comm).ireduce(x, op, root=root, out=out)


@_documented
def iallreduce(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Request:
    return or_world(comm).iallreduce(x, op, out=out)


@_documented
def ireduce_scatter(
    x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None
) -> Request:
    return or_world(comm).ireduce_scatter(x, op, axis=axis, counts=counts, out=out)


@_documented
def iscan(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Request:
    return or_world(comm).iscan(x, op, out=out)


@_documented
def iexscan(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Request:
    return or_world(comm).iexscan(x, op, out=out)


# Persistent


@_documented
def barrier_init(*, comm: Communicator | None = None) -> Plan:
    return or_world(comm).barrier_init()


@_documented
def bcast_init(x: Any = None, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Plan:
    return or_world(comm).bcast_init(x, root=root, out=out)


@_documented
def scatter_init(
    x: Any = None,
    *,
    axis: int = 0,
    counts: Any = None,
    root: int = 0,
    out: Any = None,
    comm: Communicator | None = None,
) -> Plan:
    return or_world(comm).scatter_init(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def gather_init(
    x: Any, *, axis: int = 0, counts: Any = None, root: int = 0, out: Any = None, comm: Communicator | None = None
) -> Plan:
    return or_world(comm).gather_init(x, axis=axis, counts=counts, root=root, out=out)


@_documented
def allgather_init(
    x: Any, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None
) -> Plan:
    return or_world(comm).allgather_init(x, axis=axis, counts=counts, out=out)


@_documented
def alltoall_init(
    x: Any,
    *,
    split_axis: int = 0,
    concat_axis: int = 0,
    send_counts: Any = None,
    recv_counts: Any = None,
    out: Any = None,
    comm: Communicator | None = None,
) -> Plan:
    return or_world(comm).alltoall_init(
        x, split_axis=split_axis, concat_axis=concat_axis, send_counts=send_counts, recv_counts=recv_counts, out=out
    )


@_documented
def reduce_init(x: Any, op: Any = SUM, *, root: int = 0, out: Any = None, comm: Communicator | None = None) -> Plan:
    return or_world(comm).reduce_init(x, op, root=root, out=out)


@_documented
def allreduce_init(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Plan:
    return or_world(comm).allreduce_init(x, op, out=out)


@_documented
def reduce_scatter_init(
    x: Any, op: Any = SUM, *, axis: int = 0, counts: Any = None, out: Any = None, comm: Communicator | None = None
) -> Plan:
    return or_world(comm).reduce_scatter_init(x, op, axis=axis, counts=counts, out=out)


@_documented
def scan_init(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Plan:
    return or_world(comm).scan_init(x, op, out=out)


@_documented
def exscan_init(x: Any, op: Any = SUM, *, out: Any = None, comm: Communicator | None = None) -> Plan:
    return or_world(comm).exscan_init(x, op, out=out)


# Messages


@_documented
def send(x: Any, dest: int | None, *, tag: int = 0, comm: Communicator | None = None) -> None:
    return or_world(comm).send(x, dest, tag=tag)


@_documented
def isend(x: Any, dest: int | None, *, tag: int = 0, comm: Communicator | None = None) -> Request:
    return or_world(comm).isend(x, dest, tag=tag)


@_documented
def recv(
    source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None, comm: Communicator | None = None
) -> Any:
    return or_world(comm).recv(source, tag=tag, out=out)


@_documented
def irecv(
    source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None, comm: Communicator | None = None
) -> Request:
    return or_world(comm).irecv(source, tag=tag, out=out)


@_documented
def sendrecv(
    x: Any,
    dest: int | None,
    source: int | None = ANY_SOURCE,
    *,
    sendtag: int = 0,
    recvtag: int = ANY_TAG,
    out: Any = None,
    comm: Communicator | None = None,
) -> Any:
    return or_world(comm).sendrecv(x, dest, source, sendtag=sendtag, recvtag=recvtag, out=out)


@_documented
def probe(source: int = ANY_SOURCE, *, tag: int = ANY_TAG, comm: Communicator | None = None) -> Envelope:
    return or_world(comm).probe(source, tag=tag)


@_documented
def exchange(parts: Mapping[int, Any], *, comm: Communicator | None = None) -> dict[int, Any]:
    return or_world(comm).exchange(parts)


@_documented
def send_object(x: Any, dest: int | None, *, tag: int = 0, comm: Communicator | None = None) -> None:
    return or_world(comm).send_object(x, dest, tag=tag)


@_documented
def recv_object(source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, comm: Communicator | None = None) -> Any:
    return or_world(comm).recv_object(source, tag=tag)


# Python objects


@_documented
def bcast_object(x: Any = None, *, root: int = 0, comm: Communicator | None = None) -> Any:
    return or_world(comm).bcast_object(x, root=root)


@_documented
def scatter_object(x: Any = None, *, root: int = 0, comm: Communicator | None = None) -> Any:
    return or_world(comm).scatter_object(x, root=root)


@_documented
def gather_object(x: Any, *, root: int = 0, comm: Communicator | None = None) -> list | None:
    return or_world(comm).gather_object(x, root=root)


@_documented
def allgather_object(x: Any, *, comm: Communicator | None = None) -> list:
    return or_world(comm).allgather_object(x)


if "numba" in sys.modules:  # else numba will ask, by its entry point
    _njit.register()
