"""Messages between ranks that share a node: from Python in one step.

These take the place of a communicator's methods; see `engine/mail.py`. What they do not do goes the ordinary way.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
from mpi4py import MPI

from ._buffers import as_array
from ._errors import DcompError
from ._point_to_point import ANY_SOURCE, ANY_TAG, LAST_TAG, PointToPoint, overlaps
from .engine.channel import abandon
from .engine.requests import Request


class _Sent(Request):
    """A send that was done at once."""

    def __init__(self) -> None:
        pass

    def __repr__(self) -> str:
        return "<Request of isend, done>"


def use_shared_messages(comm: Any) -> None:
    """Put quick messages in the place of the methods of a communicator that has a mail."""
    # Only here, for where ranks share memory numba has been started.
    from .engine.mail import find_key, quick_receive, quick_send, quick_swap
    from .engine.receives import Receive
    from .kernels.words import DONE, REFUSED, SPOILED, WAITING, WORKING

    channel, mail, ndarray = comm._channel, comm._channel.mail, np.ndarray
    address, size = mail.address, comm.size
    sent = received = 0  # addresses of the last forms
    nothing_left = _Sent()

    def put(function: str, x: Any, dest: Any, tag: Any) -> int:
        """Send x, if that can be done at once; what `kernels.mail.send` says."""
        nonlocal sent
        if type(dest) is not int or type(tag) is not int:
            is_to_no_one = dest is None and type(x) is ndarray and type(tag) is int and 0 <= tag <= LAST_TAG
            return DONE if is_to_no_one else REFUSED
        said = quick_send(sent, x, dest, tag)
        if said != REFUSED:
            return said
        if type(x) is ndarray:
            form = mail.form(x.dtype, x.shape)
            if form is None:
                return REFUSED
            sent = form.address
            return quick_send(sent, x, dest, tag)
        array, scalar = as_array(x, function)
        form = mail.form(array.dtype, array.shape, scalar=scalar)
        return REFUSED if form is None or form.is_remote else quick_send(form.address, array, dest, tag)

    def get(function: str, source: Any, tag: Any, out: Any, has_turn: bool = False) -> Any:
        """The message if it is there, or comes within a short wait; else None."""
        nonlocal received
        if type(source) is not int or type(tag) is not int:
            return None
        if type(out) is ndarray:
            said = quick_receive(received, out, source, tag, has_turn)
            if said == DONE:
                return out
            if said == WAITING:
                return None
            form = mail.form(out.dtype, out.shape)
        else:
            form = mail.form_of(find_key(address, source, tag, has_turn)) if out is None else None
        if form is None:
            return None
        received = form.address
        result = mail.empty(form) if out is None else out
        said = quick_receive(received, result, source, tag, has_turn)
        if said == WORKING:
            with nullcontext() if has_turn else channel.turn(function):
                said = mail.read_large(form, result, source, tag)
        if said != DONE:
            return None
        return result[()] if form.is_scalar and out is None else result

    def is_cell(said: int) -> bool:
        """Whether compiled code has said where the receiver of what is exposed tells that it has been read."""
        return said > SPOILED

    def finish(
        function: str, said: int, x: Any, dest: Any, source: Any = ANY_SOURCE, recvtag: int = ANY_TAG, out: Any = None
    ) -> Any:
        """The rest of a call of which compiled code has `said` that x has been sent, or the cell of what is exposed, to
        which 1 is added if nothing is to be received any more.
        """
        cell, result = said & ~1, out
        sending = None
        try:
            is_received = (is_cell(said) and said != cell) or source is None
            if not is_received:
                result = get(function, source, recvtag, out)
                is_received = result is not None
            if is_cell(cell) and not (is_received and mail.is_read(cell)):
                sending = mail.finishing(function, x, dest, cell)  # goes on while this rank waits
            if not is_received:
                result = comm._receive(function, source, recvtag, objects=False, out=out).wait()
            if sending is not None:
                sending.wait()
            return result
        except BaseException as error:
            if sending is not None:
                sending.leave()
            left(function, error, x)
            raise

    def left(function: str, error: BaseException, *arrays: Any) -> None:
        """A call is left by an exception: if it is none of the call's own, whether a message has come or gone is not
        known. Others may read or write the arrays later.
        """
        abandon(*arrays)
        if not isinstance(error, (DcompError, TypeError, ValueError)):
            channel.interrupt(function)

    def send(x: Any, dest: int | None, *, tag: int = 0) -> None:
        try:
            said = put("send", x, dest, tag)
            if said == DONE:
                return
        except BaseException as error:
            left("send", error, x)
            raise
        if is_cell(said):
            finish("send", said + 1, x, dest)
        else:
            PointToPoint.send(comm, x, dest, tag=tag)

    def isend(x: Any, dest: int | None, *, tag: int = 0) -> Request:
        try:
            said = put("isend", x, dest, tag)
            if said == DONE:
                return nothing_left
            if is_cell(said):
                return mail.finishing("isend", x, dest, said)
        except BaseException as error:
            left("isend", error, x)
            raise
        return PointToPoint.isend(comm, x, dest, tag=tag)

    def irecv(source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Request:
        if source is not None and can_receive(None, source, tag, out):
            source, tag = MPI.ANY_SOURCE if source < 0 else source, MPI.ANY_TAG if tag < 0 else tag
            with channel.turn("irecv"):
                return Receive(mail, "irecv", source, tag, False, out)
        return PointToPoint.irecv(comm, source, tag=tag, out=out)

    def recv(source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Any:
        try:
            result = get("recv", source, tag, out)
        except BaseException as error:
            left("recv", error, out)
            raise
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
        said = REFUSED
        try:
            if type(dest) is type(source) is type(sendtag) is type(recvtag) is int:
                said = quick_swap(sent, x, dest, sendtag, received, out, source, recvtag)
                if said == DONE:
                    return out
            if said == REFUSED and can_receive(x, source, recvtag, out):
                said = put("sendrecv", x, dest, sendtag)
        except BaseException as error:
            left("sendrecv", error, x, out)
            raise
        if said in (REFUSED, WAITING):
            return PointToPoint.sendrecv(comm, x, dest, source, sendtag=sendtag, recvtag=recvtag, out=out)
        return finish("sendrecv", said, x, dest, source, recvtag, out)

    def can_receive(x: Any, source: Any, tag: Any, out: Any) -> bool:
        """Whether nothing is wrong with what is to be received, and x may leave before that is."""
        if type(tag) is not int or not ANY_TAG <= tag <= LAST_TAG:
            return False
        if source is not None and (type(source) is not int or not ANY_SOURCE <= source < size):
            return False
        if out is not None and not (type(out) is ndarray and out.flags.writeable):
            return False
        if type(x) is not ndarray or not overlaps(x, out):
            return True
        form = mail.form(x.dtype, x.shape)
        return form is not None and not form.is_remote  # it leaves at once

    comm.send, comm.recv, comm.sendrecv, comm.isend, comm.irecv = send, recv, sendrecv, isend, irecv
    comm._finish_message, mail.get = finish, get
