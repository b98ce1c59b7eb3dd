"""Messages from one rank to another: the methods of a communicator.

`engine/messages.py` carries them, `engine/mail.py` those between ranks that share memory.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ._buffers import as_array, check_out
from ._checks import normalise_rank
from .engine import messages
from .engine.agreement import agree_simply
from .engine.channel import Channel, Steps
from .engine.requests import Request, run, start_message
from .engine.waiting import wait

ANY_SOURCE = -1  #: receive from whichever rank
ANY_TAG = -1  #: receive whatever tag
LAST_TAG = 32767  # MPI promises tags up to it (MPI-4.1, 9.1.2)


class Envelope(NamedTuple):
    """Where a message comes from."""

    source: int
    tag: int


class PointToPoint:
    """Send and receive. Ranks that are None stand for no one: nothing is sent, nothing received."""

    _channel: Channel
    rank: int
    size: int

    def send(self, x: Any, dest: int | None, *, tag: int = 0) -> None:
        """Send an array to one rank.

        Parameters
        ----------
        x : array, any shape and dtype
        dest : int      The rank that receives it; None: no one.
        tag : int       From 0 to 32767.

        Raises
        ------
        TypeError       For Python objects; see `send_object`.
        ValueError      If `dest` is no rank.

        Notes
        -----
        To a rank that shares this one's memory: up to 32 KiB are copied to where the receiver finds them, which is all
        this waits for; more is read by the receiver where it is, so this may wait for the receive. To another:
        MPI_Isend and a wait; up to 16 KiB one message, sent at once, more a small message and the array, sent from
        where it is.
        """
        self._send_array("send", x, dest, tag).wait()

    def isend(self, x: Any, dest: int | None, *, tag: int = 0) -> Request:
        """`send`, non-blocking; `x` must not be changed until the wait."""
        return self._send_array("isend", x, dest, tag)

    def recv(self, source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Any:
        """Receive an array; its shape and dtype come with it.

        Parameters
        ----------
        source : int     The rank that sends; ANY_SOURCE: whichever; None: no one, and `out` is returned.
        tag : int        The tag sent; ANY_TAG: whichever.
        out : array, shape and dtype of what is sent, optional

        Returns
        -------
        array as it was sent, in C order

        Raises
        ------
        TypeError, ValueError     If the message does not fit `out`, or is a Python object. It is kept, and the
                                  next `recv` that fits gets it.
        DeadlockError             After DCOMP_TIMEOUT.
        """
        return self._receive("recv", source, tag, objects=False, out=out).wait()

    def irecv(self, source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Request:
        """`recv`, non-blocking; `out` must not be touched until the wait."""
        return self._receive("irecv", source, tag, objects=False, out=out)

    def sendrecv(
        self,
        x: Any,
        dest: int | None,
        source: int | None = ANY_SOURCE,
        *,
        sendtag: int = 0,
        recvtag: int = ANY_TAG,
        out: Any = None,
    ) -> Any:
        """Send an array to one rank and receive one from another, without deadlock.

        Parameters
        ----------
        x, dest, sendtag : as `send`
        source, recvtag, out : as `recv`

        Returns
        -------
        array received

        Notes
        -----
        `out` may be `x`, or overlap it. Between ranks that share memory see `send`; else MPI_Irecv, posted first, and
        MPI_Isend.
        """
        array, scalar = as_array(x, "sendrecv")
        if overlaps(array, out):
            array = array.copy()
        self._check_target("sendrecv", dest, sendtag)  # before a receive is posted that would take a later message
        packed = messages.pack_array(array, scalar)
        self._check_description("sendrecv", packed)
        receive = self._receive("sendrecv", source, recvtag, objects=False, out=out)
        send = self._send("sendrecv", packed, dest, sendtag)
        try:
            result = receive.wait()
        except Exception:
            send.leave()
            raise
        send.wait()
        return result

    def probe(self, source: int = ANY_SOURCE, *, tag: int = ANY_TAG) -> Envelope:
        """Wait until a message can be received, and say from whom and with which tag.

        Returns
        -------
        (source, tag)     To be given to `recv`.
        """
        source, tag = self._source(source, "probe"), _tag(tag, "probe", ANY_TAG)
        channel, status = self._channel, MPI.Status()
        found: list[Envelope] = []

        def arrived() -> bool:
            if channel.mail is not None:
                channel.mail.sort(is_patient=True)
            for message in channel.held:
                if messages.fits(message, source, tag):
                    found.append(Envelope(message.source, message.tag))
                    return True
            if channel.mail is None and channel.data.Iprobe(source, tag, status):
                found.append(Envelope(status.Get_source(), status.Get_tag()))
            return bool(found)

        with channel.turn("probe"):
            wait(arrived, channel, "probe", messages.peers_of(source))
        return found[0]

    def exchange(self, parts: Mapping[int, Any]) -> dict[int, Any]:
        """Send an array to each of some ranks, and get what others send here: a sparse all-to-all.

        Collective: every rank of the communicator calls it, those with nothing to send with ``{}``.

        Parameters
        ----------
        parts : dict from rank to array, of any shapes and dtypes

        Returns
        -------
        dict from rank to array, of those ranks that have sent here, in the order of ranks

        Raises
        ------
        CollectiveMismatchError     On every rank, if another rank calls another collective or passes bad arguments.

        Notes
        -----
        Costs as many messages as there are partners, and one barrier; no rank needs to know who sends to it.

        References
        ----------
        Hoefler, Siebert, Lumsdaine, PPoPP 2010, algorithm NBX.

        Examples
        --------
        rank 0 {1: [1 2]}, rank 1 {}  ->  rank 0 {}, rank 1 {0: [1 2]}
        """
        channel = self._channel
        packed, fault = {}, None
        try:
            if not isinstance(parts, Mapping):
                raise TypeError(f"exchange: parts must be a dict from rank to array; got {type(parts).__name__}")
            for dest, x in parts.items():
                array, scalar = as_array(x, "exchange", f"the array for rank {dest}")
                packed[normalise_rank(dest, self.size, "exchange", "a key")] = messages.pack_array(array, scalar)
        except (TypeError, ValueError) as error:
            fault = error
        with channel.turn("exchange"):
            run(channel, "exchange", agree_simply(channel, "exchange", fault))
            return run(channel, "exchange", messages.exchange(channel, packed))

    def send_object(self, x: Any, dest: int | None, *, tag: int = 0) -> None:
        """Send a Python object, pickled (protocol 5; the buffers of arrays in it are not copied)."""
        self._send("send_object", messages.pack_object(x, self._channel), dest, tag).wait()

    def recv_object(self, source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG) -> Any:
        """Receive a Python object. Unpickling runs code of the sender's choice: it is of the same job."""
        return self._receive("recv_object", source, tag, objects=True, out=None).wait()

    def _send_array(self, function: str, x: Any, dest: int | None, tag: int) -> Request:
        array, scalar = as_array(x, function)
        return self._send(function, messages.pack_array(array, scalar), dest, tag)

    def _send(self, function: str, packed: Any, dest: int | None, tag: int) -> Request:
        channel = self._channel
        target, tag = self._check_target(function, dest, tag)
        self._check_description(function, packed)

        def steps() -> Steps:
            if target is None:
                return
            if channel.mail is not None:
                yield from channel.mail.send(packed, target, tag)
                return
            requests = messages.send(channel, packed, target, tag)
            yield lambda: MPI.Request.Testall(requests)

        with channel.turn(function):
            return start_message(channel, function, steps(), None if target is None else (target,))

    def _check_description(self, function: str, packed: Any) -> None:
        _, meta, _ = packed
        most = self._channel.longest_meta
        if len(meta) > most:
            raise TypeError(
                f"{function}: the dtype of x must have a description of at most {most} bytes (with so many ranks on a "
                f"node); got {len(meta)}. Use send_object."
            )

    def _check_target(self, function: str, dest: int | None, tag: int) -> tuple[int | None, int]:
        target = None if dest is None else normalise_rank(dest, self.size, function, "dest")
        return target, _tag(tag, function, 0)

    def _receive(self, function: str, source: int | None, tag: int, *, objects: bool, out: Any) -> Request:
        channel = self._channel
        if out is not None:
            check_out(out, None, function)
        tag = _tag(tag, function, ANY_TAG)
        where = None if source is None else self._source(source, function)

        def steps() -> Steps:
            if where is None:
                return out
            return (yield from messages.receive(channel, where, tag, objects=objects, out=out, function=function))

        with channel.turn(function):
            if channel.mail is not None and where is not None:
                from .engine.receives import Receive  # only here, for where memory is shared numba has been started

                return Receive(channel.mail, function, where, tag, objects, out)
            return start_message(channel, function, steps(), None if where is None else messages.peers_of(where))

    def _source(self, source: int, function: str) -> int:
        if source in (ANY_SOURCE, MPI.ANY_SOURCE):
            return MPI.ANY_SOURCE
        return normalise_rank(source, self.size, function, "source")


def overlaps(x: Any, out: Any) -> bool:
    """Whether what arrives might fall on what has not left yet."""
    return isinstance(out, np.ndarray) and np.may_share_memory(x, out)


def _tag(tag: int, function: str, least: int) -> int:
    try:
        value = tag.__index__()
    except AttributeError:
        raise TypeError(f"{function}: tag must be an integer; got {tag!r}.") from None
    if least == ANY_TAG and value in (ANY_TAG, MPI.ANY_TAG):
        return MPI.ANY_TAG
    if not 0 <= value <= LAST_TAG:
        raise ValueError(f"{function}: tag must lie between 0 and {LAST_TAG}; got {value}.")
    return value
