"""Messages from rank to rank that bring their own description.

A message is a header -- what it is, dtype and shape -- with the data behind it where that is small (one
message of MPI's, sent at once), else followed by the data itself, uncopied, under a number that the header
names. Headers travel on the channel's `data` with the user's tag, so that MPI matches them as its own; large
data travels on `sync`.
"""

import bisect
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
from mpi4py import MPI

from .._buffers import check_out_layout
from .channel import LONGEST_META, Channel, Steps
from .pieces import spans

INLINE = 16384  # bytes of data that go with the header
_HEADER = struct.Struct("=4i")  # kind, number of the data, bytes of description, bytes of data behind it
ARRAY, SCALAR, OBJECT = 1, 2, 3
_BUFFER = _HEADER.size + LONGEST_META + INLINE
_FIRST_NUMBER, _NUMBERS = 1024, 16384  # MPI promises tags up to 32767 (MPI-4.1, 9.1.2)
EXCHANGE_TAG = 512


@dataclass(slots=True)
class Message:
    """A message that has arrived, and perhaps its data."""

    kind: int
    number: int  # of the data, if that comes by itself; else 0
    meta: bytes
    data: np.ndarray
    source: int
    tag: int
    fetch: Callable[[np.ndarray], bool] | None = None  # reads data that comes by itself; false: it comes through MPI
    arrival: int = field(default_factory=count().__next__)


def _arrived(buffer: np.ndarray, source: int, tag: int) -> Message:
    kind, number, meta, inline = _HEADER.unpack(buffer[: _HEADER.size].tobytes())
    start = _HEADER.size
    data = buffer[start + meta : start + meta + inline]
    return Message(kind, number, buffer[start : start + meta].tobytes(), data, source, tag)


@lru_cache(1024)
def describe(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return pickle.dumps((dtype, shape))


@lru_cache(1024)
def described(meta: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    return pickle.loads(meta)


def pack_array(x: np.ndarray, scalar: bool) -> tuple[int, bytes, list[np.ndarray]]:
    """Kind, description and data of an array."""
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8) if x.itemsize and x.size else np.empty(0, np.uint8)
    return (SCALAR if scalar else ARRAY), describe(x.dtype, x.shape), [flat]


def pack_object(x: Any, channel: Channel) -> tuple[int, bytes, list[np.ndarray]]:
    """Kind, description and data of a Python object: its pickle and out-of-band buffers (PEP 574)."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    if len(buffers) > channel.longest_meta // 8 - 1:
        text, buffers = pickle.dumps(x, protocol=5), []
    data = [np.frombuffer(text, np.uint8), *(np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers)]
    return OBJECT, np.array([part.size for part in data], np.int64).tobytes(), data


def send(
    channel: Channel, packed: tuple[int, bytes, list[np.ndarray]], dest: int, tag: int, *, exchange: bool = False
) -> list[MPI.Request]:
    """Start to send a message; the requests, which keep its buffers."""
    kind, meta, data = packed
    total = sum(part.size for part in data)
    number = 0
    if total > INLINE:
        number = new_number(channel)
    inline = [] if number else data
    header = np.frombuffer(
        b"".join([_HEADER.pack(kind, number, len(meta), 0 if number else total), meta, *(p.tobytes() for p in inline)]),
        np.uint8,
    )
    start = channel.sync.Issend if exchange else channel.data.Isend
    requests = [start([header, MPI.BYTE], dest, tag)]
    return requests + send_data(channel, data, dest, number) if number else requests


def new_number(channel: Channel) -> int:
    """A number for data that comes by itself, by which the receiver tells it apart."""
    channel.messages += 1
    return _FIRST_NUMBER + channel.messages % _NUMBERS


def send_data(channel: Channel, data: list[np.ndarray], dest: int, number: int) -> list[MPI.Request]:
    """Start to send what comes by itself."""
    return [channel.sync.Isend([piece, MPI.BYTE], dest, number) for part in data for piece in _pieces(part)]


def _pieces(part: np.ndarray) -> Iterator[np.ndarray]:
    for start, length in spans(part.size):
        yield part[start : start + length]


def receive(channel: Channel, source: int, tag: int, *, objects: bool, out: np.ndarray | None, function: str) -> Steps:
    """Receive one message; steps. The receive is posted at once, so that messages are matched in order."""
    message = take_held(channel, source, tag)
    if message is None:
        buffer = np.empty(_BUFFER, np.uint8)
        status = MPI.Status()
        request = channel.data.Irecv([buffer, MPI.BYTE], source, tag)
        yield lambda: request.Test(status)
        message = _arrived(buffer, status.Get_source(), status.Get_tag())
    return (yield from accept(channel, message, objects=objects, out=out, function=function))


def accept(channel: Channel, message: Message, *, objects: bool, out: np.ndarray | None, function: str) -> Steps:
    """The content of a message, if it is what this call receives; else it is held for another call."""
    try:
        _check(message, objects, out, function)
    except (TypeError, ValueError):
        hold(channel, message)  # not lost: a right call can still receive it
        raise
    result = yield from take(channel, message, out)
    return result


def hold(channel: Channel, message: Message) -> None:
    """Keep a message until it is asked for."""
    bisect.insort(channel.held, message, key=lambda one: one.arrival)


def peers_of(source: int) -> tuple[int, ...] | None:
    """The ranks that a receive waits for; None: any."""
    return None if source == MPI.ANY_SOURCE else (source,)


def fits(message: Message, source: int, tag: int) -> bool:
    """Whether a receive from this source and with this tag gets the message."""
    return source in (MPI.ANY_SOURCE, message.source) and tag in (MPI.ANY_TAG, message.tag)


def take_held(channel: Channel, source: int, tag: int) -> Message | None:
    """A message that has come before it was asked for, or that an earlier, wrong call did not accept."""
    for i, message in enumerate(channel.held):
        if fits(message, source, tag):
            return channel.held.pop(i)
    return None


def _check(message: Message, objects: bool, out: np.ndarray | None, function: str) -> None:
    what = "a Python object" if message.kind == OBJECT else "an array"
    if objects != (message.kind == OBJECT):
        right = "recv_object" if message.kind == OBJECT else "recv"
        raise TypeError(
            f"{function}: the message from rank {message.source} with tag {message.tag} is {what}; use {right}. "
            "It was kept."
        )
    if out is not None:
        dtype, shape = described(message.meta)
        where = f"{function} from rank {message.source}, whose message was kept"
        check_out_layout(out.shape, out.dtype, shape, dtype, where)


def take(channel: Channel, message: Message, out: np.ndarray | None = None) -> Steps:
    """The content of a message whose header has arrived; steps."""
    if message.kind == OBJECT:
        return (yield from _take_object(channel, message))
    dtype, shape = described(message.meta)
    direct = out is not None and out.flags.c_contiguous
    array = out if out is not None and direct else np.empty(shape, dtype)
    flat = array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    yield from _fill(channel, message, [flat])
    if out is not None:
        if not direct:
            out[...] = array
        return out
    return array[()] if message.kind == SCALAR else array


def _take_object(channel: Channel, message: Message) -> Steps:
    sizes = np.frombuffer(message.meta, np.int64)
    parts = [np.empty(n, np.uint8) for n in sizes.tolist()]
    yield from _fill(channel, message, parts)
    return pickle.loads(parts[0].tobytes(), buffers=parts[1:])


def _fill(channel: Channel, message: Message, parts: list[np.ndarray]) -> Steps:
    """Put the data of a message into its parts; steps."""
    if message.number == 0:
        start = 0
        for part in parts:
            part[:] = message.data[start : start + part.size]
            start += part.size
        return
    if message.fetch is not None and message.fetch(parts[0]):
        return
    requests = [
        channel.sync.Irecv([piece, MPI.BYTE], message.source, message.number)
        for part in parts
        for piece in _pieces(part)
    ]
    yield lambda: MPI.Request.Testall(requests)


def exchange(channel: Channel, packed: dict[int, tuple[int, bytes, list[np.ndarray]]]) -> Steps:
    """Send to some ranks, receive from those that send here; steps.

    References
    ----------
    Hoefler, Siebert, Lumsdaine, Scalable communication protocols for dynamic sparse data exchange, PPoPP 2010
    (algorithm NBX): synchronous sends; who has been received from everywhere enters a non-blocking barrier;
    when that ends, no message is under way.
    """
    channel.exchanges += 1
    tag = EXCHANGE_TAG + channel.exchanges % 2  # a neighbour may be one exchange ahead, not two
    requests: list[MPI.Request] = []
    for dest, message in packed.items():
        requests += send(channel, message, dest, tag, exchange=True)
    received: dict[int, Any] = {}
    takers: list[tuple[int, Steps, Any]] = []
    status = MPI.Status()
    barrier: MPI.Request | None = None
    sent = len(requests) == 0

    def look() -> None:
        arrived = channel.sync.Improbe(MPI.ANY_SOURCE, tag, status)
        while arrived is not None:
            buffer = np.empty(status.Get_count(MPI.BYTE), np.uint8)
            source = status.Get_source()
            arrived.Recv([buffer, MPI.BYTE])
            steps = take(channel, _arrived(buffer, source, tag))
            takers.append((source, steps, None))
            arrived = channel.sync.Improbe(MPI.ANY_SOURCE, tag, status)

    def move() -> bool:
        """Look for messages and move their data on; whether all of it is here."""
        look()
        waiting = []
        for source, steps, test in takers:
            try:
                while test is None or test():
                    test = next(steps)
                waiting.append((source, steps, test))
            except StopIteration as end:
                received[source] = end.value
        takers[:] = waiting
        return not waiting

    def ended() -> bool:
        nonlocal barrier, sent
        here = move()
        sent = sent or MPI.Request.Testall(requests)
        if not (sent and here):
            return False
        if barrier is None:
            barrier = channel.sync.Ibarrier()
        return barrier.Test() and move()

    yield ended
    return dict(sorted(received.items()))
