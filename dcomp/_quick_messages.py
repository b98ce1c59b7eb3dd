"""Messages of little data between ranks that share a node: from Python in one step.

These take the place of a communicator's methods; see `engine/mail.py`. What they do not do goes the ordinary way.
"""

from typing import Any

import numpy as np

from ._point_to_point import ANY_SOURCE, ANY_TAG, PointToPoint


def use_shared_messages(comm: Any) -> None:
    """Put quick messages in the place of the methods of a communicator that has a mail."""
    # Only here, for where ranks share memory numba has been started.
    from .engine.mail import find_key, quick_receive, quick_send
    from .kernels.words import DONE, REFUSED

    mail, ndarray, empty = comm._channel.mail, np.ndarray, np.empty
    address = mail.address
    sent = received = 0  # addresses of the last forms

    def put(x: Any, dest: Any, tag: Any) -> bool:
        """Send x, if that can be done at once: whether it was."""
        nonlocal sent
        if type(dest) is not int or type(tag) is not int:
            return False
        said = quick_send(sent, x, dest, tag)
        if said == REFUSED and type(x) is ndarray:
            form = mail.form(x.dtype, x.shape)
            if form is not None:
                sent = form.address
                said = quick_send(sent, x, dest, tag)
        return said == DONE

    def get(source: Any, tag: Any, out: Any) -> Any:
        """The message if it is there, or comes within a short wait; else None."""
        nonlocal received
        if type(source) is not int or type(tag) is not int:
            return None
        if type(out) is ndarray:
            said = quick_receive(received, out, source, tag)
            if said == REFUSED:
                form = mail.form(out.dtype, out.shape)
                if form is not None:
                    received = form.address
                    said = quick_receive(received, out, source, tag)
            return out if said == DONE else None
        form = mail.form_of(find_key(address, source, tag)) if out is None else None
        if form is None:
            return None
        result = empty(form.shape, form.dtype)
        if quick_receive(form.address, result, source, tag) != DONE:
            return None
        return result[()] if form.is_scalar else result

    def send(x: Any, dest: int | None, *, tag: int = 0) -> None:
        if not put(x, dest, tag):
            PointToPoint.send(comm, x, dest, tag=tag)

    def recv(source: int | None = ANY_SOURCE, *, tag: int = ANY_TAG, out: Any = None) -> Any:
        result = get(source, tag, out)
        return PointToPoint.recv(comm, source, tag=tag, out=out) if result is None else result

    def sendrecv(
        x: Any,
        dest: int | None,
        source: int | None = ANY_SOURCE,
        *,
        sendtag: int = 0,
        recvtag: int = ANY_TAG,
        out: Any = None,
    ) -> Any:
        if not put(x, dest, sendtag):
            return PointToPoint.sendrecv(comm, x, dest, source, sendtag=sendtag, recvtag=recvtag, out=out)
        result = get(source, recvtag, out)
        if result is None:
            return comm._receive("sendrecv", source, recvtag, objects=False, out=out).wait()
        return result

    comm.send, comm.recv, comm.sendrecv = send, recv, sendrecv
