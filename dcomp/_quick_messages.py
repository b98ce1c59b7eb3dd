"""Messages between ranks that share a node: from Python in one step.

These take the place of a communicator's methods; see `engine/mail.py`. What they do not do goes the ordinary way.
"""

from typing import Any

import numpy as np

from ._point_to_point import ANY_SOURCE, ANY_TAG, LAST_TAG, PointToPoint, overlaps
from .engine.channel import abandon
from .engine.messages import INLINE


def use_shared_messages(comm: Any) -> None:
    """Put quick messages in the place of the methods of a communicator that has a mail."""
    # Only here, for where ranks share memory numba has been started.
    from .engine.mail import find_key, quick_receive, quick_send, quick_swap
    from .kernels.words import DONE, REFUSED, SPOILED, WAITING, WORKING

    channel, mail, ndarray = comm._channel, comm._channel.mail, np.ndarray
    address, size = mail.address, comm.size
    sent = received = 0  # addresses of the last forms

    def put(x: Any, dest: Any, tag: Any) -> int:
        """Send x, if that can be done at once; what `kernels.mail.send` says."""
        nonlocal sent
        if type(dest) is not int or type(tag) is not int:
            return REFUSED
        said = quick_send(sent, x, dest, tag)
        if said == REFUSED and type(x) is ndarray:
            form = mail.form(x.dtype, x.shape)
            if form is not None:
                sent = form.address
                said = quick_send(sent, x, dest, tag)
        return said

    def get(function: str, source: Any, tag: Any, out: Any) -> Any:
        """The message if it is there, or comes within a short wait; else None."""
        nonlocal received
        if type(source) is not int or type(tag) is not int:
            return None
        if type(out) is ndarray:
            said = quick_receive(received, out, source, tag)
            if said == DONE:
                return out
            if said == WAITING:
                return None
            form = mail.form(out.dtype, out.shape)
        else:
            form = mail.form_of(find_key(address, source, tag)) if out is None else None
        if form is None:
            return None
        received = form.address
        result = mail.empty(form) if out is None else out
        said = quick_receive(received, result, source, tag)
        if said == WORKING:
            said = mail.read_large(form, result, source, tag, function)
        if said != DONE:
            return None
        return result[()] if form.is_scalar and out is None else result

    def finish(function: str, said: int, x: Any, dest: Any, source: Any, recvtag: Any, out: Any) -> Any:
        """The rest of a call of which compiled code has `said` that x has been sent, or exposed."""
        cell, result, sending = said & ~1, out, None
        try:
            if said == cell or cell <= SPOILED:
                result = get(function, source, recvtag, out)
            is_received = result is not None or function == "send"
            if cell > SPOILED and not (is_received and mail.is_read(cell)):
                sending = mail.finishing(function, x, dest, cell)  # goes on while this rank waits
            if not is_received:
                result = comm._receive(function, source, recvtag, objects=False, out=out).wait()
            if sending is not None:
                sending.wait()
            return result
        except Exception:
            abandon(x)  # the receiver may read it later
            raise
        except BaseException:
            channel.interrupt(function)
            abandon(x)
            raise

    def send(x: Any, dest: int | None, *, tag: int = 0) -> None:
        said = put(x, dest, tag)
        if said == DONE:
            return
        if said > SPOILED:
            finish("send", said + 1, x, dest, None, None, None)
        else:
            PointToPoint.send(comm, x, dest, tag=tag)

    def recv(source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Any:
        result = get("recv", source, tag, out)
        return PointToPoint.recv(comm, source, tag=tag, out=out) if result is None else result

    def sendrecv(
        x: Any,
        dest: int | None,
        source: Any = ANY_SOURCE,
        *,
        sendtag: int = 0,
        recvtag: int = ANY_TAG,
        out: Any = None,
    ) -> Any:
        if not (type(dest) is type(source) is type(sendtag) is type(recvtag) is int and type(x) is ndarray):
            return PointToPoint.sendrecv(comm, x, dest, source, sendtag=sendtag, recvtag=recvtag, out=out)
        said = quick_swap(sent, x, dest, sendtag, received, out, source, recvtag)
        if said == DONE:
            return out
        if said == REFUSED:
            if can_receive(x, source, recvtag, out):
                said = put(x, dest, sendtag)
            if said in (REFUSED, WAITING):
                return PointToPoint.sendrecv(comm, x, dest, source, sendtag=sendtag, recvtag=recvtag, out=out)
        return finish("sendrecv", said, x, dest, source, recvtag, out)

    def can_receive(x: Any, source: int, tag: int, out: Any) -> bool:
        """Whether nothing is wrong with what is to be received, and x may leave before that is."""
        is_known = ANY_SOURCE <= source < size and ANY_TAG <= tag <= LAST_TAG
        takes = out is None or (type(out) is ndarray and out.flags.writeable)
        return is_known and takes and (x.nbytes <= INLINE or not overlaps(x, out))  # little data leaves at once

    comm.send, comm.recv, comm.sendrecv, comm._finish_message = send, recv, sendrecv, finish
