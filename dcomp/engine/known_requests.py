"""Non-blocking calls that have been made before on a communicator whose ranks share a node.

Such a call leaves its token with the others when it begins, and its data if that is little; then nothing is to be done
but to look whether all have come. More data goes through MPI then.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mpi4py import MPI

from .._buffers import is_in_place
from .._calls import Call, call_place, describe
from .._table import Shape
from ..kernels import exchange, ready
from ..kernels import words as w
from .channel import Steps
from .known import KnownCalls, Made
from .mpi import Transfer
from .progress import helper
from .requests import MISSED, CollectiveRequest, Request, agree_on_route, route_after, start
from .shared import SharedRoute

_begin, _sends = ready.entry_point(exchange.begin), ready.entry_point(exchange.sends)
_UNBEGUN = -1  # earlier calls come first
_FRAMES = 4  # of dcomp's around a new request: call_place, __init__, start_known, the communicator's method


class KnownRequest(Request):
    """A call that has been made before."""

    _ordinary: CollectiveRequest | None = None  # what it has become, if another call was made than before
    _transfer: Transfer | None = None  # of data that is not little
    _requests: list[MPI.Request] | None = None

    def __init__(self, known: KnownCalls, made: Made, arrays: tuple[Any, Any, Any], said: int) -> None:
        super().__init__(known.channel, made.route.terms.function, call_place(_FRAMES))
        self._known, self._made, self._arrays = known, made, arrays
        self._said = said

    def start_if_agreed(self) -> bool:
        """Begin, or look whether all have come; true when the result is there, or never will be."""
        if self._ordinary is None:
            if self._said == _UNBEGUN:
                self._said = _begin(self._made.entry, *self._arrays, True)
            elif self._said == w.WAITING:
                self._said = exchange.glance(self._known.meeting.state)
            if self._said == w.DONE:
                self.have_met()
            if self._said in (w.WAITING, w.DONE):
                return self._said == w.DONE
            self._ordinary = self._as_ordinary(has_met=self._said in (w.UNKNOWN, w.COLLIDING))
        return self._ordinary.start_if_agreed()

    def have_met(self) -> None:
        """All ranks make this call: little data is where it belongs, and other data goes on its way."""
        route = self._made.route
        if not route.is_small:
            x, _, out = self._arrays
            self._transfer = route.bind(out if is_in_place(x, out) else x, out)
            self._requests = self._transfer.start()

    def wait(self) -> Any:
        """Wait for the end of the call and return its result."""
        unstarted = self._channel.unstarted
        is_small = self._made.route.is_small
        if (
            is_small
            and self._said == w.WAITING
            and unstarted
            and unstarted[0] is self
            and exchange.settle(self._known.meeting.state) == w.DONE  # Python's lock is held there
        ):
            self._said = w.DONE
            with suppress(ValueError):  # the progress thread has seen it at the same time
                unstarted.remove(self)
        if is_small and self._said == w.DONE:
            return self._take()
        return super().wait()

    def _as_ordinary(self, has_met: bool) -> CollectiveRequest:
        """The same call, from the beginning or from where the ranks have met."""
        x, _, out = self._arrays
        call = _call_again(self._channel, self._made.route.terms, x, out)
        agreeing = self._after_meeting(call) if has_met else agree_on_route(self._channel, call)
        request = CollectiveRequest(self._channel, call, _learner(self._known, self._made.key), agreeing)
        request._place, call.site = self._place, self._site
        request._finished = True  # for no one else waits for it
        return request

    def _after_meeting(self, call: Call) -> Steps:
        meeting = self._known.meeting
        if meeting.verdict is None:
            yield meeting.show(call.claim.packed)
        return (yield from route_after(self._channel, call, meeting.verdict))

    def _done(self) -> bool:
        if self._channel.unstarted:  # also those made after this one, for which another rank may be waiting
            self._channel.advance()
        if self._ordinary is None:
            return self._said == w.DONE and (self._requests is None or MPI.Request.Testall(self._requests))
        is_done = self._ordinary._done()
        self._error = self._ordinary._error
        return is_done

    def _finish(self) -> Any:
        if self._ordinary is not None:
            return self._ordinary._finish()
        if self._transfer is not None:
            return self._transfer.finish()
        x, y, _ = self._arrays
        return x if self._made.returns_x else y

    def _buffers(self) -> Any:
        return self._arrays, self._ordinary, self._transfer, self._requests


def start_known(known: KnownCalls, made: Made | None, x: Any, out: Any) -> Request | object:
    """The request of a call that has been made before; MISSED if it has to go the ordinary way."""
    if made is None:
        return MISSED
    _, route, _, make, shape, dtype, *_ = made
    if make is None and out is not None:
        return MISSED
    channel, y = known.channel, out
    if out is None and make is not None and route.is_small:
        y = make(shape, dtype)
    arrays = x, y, out
    try:
        if channel.unstarted:
            said = _UNBEGUN if _sends(made.entry, x) else w.REFUSED
        else:
            said = _begin(made.entry, *arrays, False)
        if said == w.REFUSED:
            return MISSED
        request = KnownRequest(known, made, arrays, said)
        if said == w.DONE:
            request.have_met()
        else:
            channel.unstarted.append(request)
            helper.notice(channel)
    except BaseException:  # on this rank alone, as from a handler of a signal
        channel.interrupt("a call")
        raise
    return request


def start_the_ordinary_way(known: KnownCalls, key: tuple | None, call: Call) -> Request:
    """Begin a call; the next one like it is known."""
    return start(known.channel, call, _learner(known, key))


def _learner(known: KnownCalls, key: tuple | None) -> Callable[[Any], None]:
    def learn(route: Any) -> None:
        if isinstance(route, SharedRoute):
            route.note_tokens()
            known.remember(key, route)

    return learn


def _call_again(channel: Any, terms: Any, x: Any, out: Any) -> Call:
    """A call with the arguments of an earlier one."""
    return describe(
        channel, terms.row, x, out,
        form="i{}",
        op=terms.op,
        root=terms.root,
        axis=terms.axis_given if terms.row.shape is Shape.SPLIT else terms.axis,
        concat_axis=terms.concat_axis,
        counts=terms.counts if terms.counts_given else None,
        recv_counts=terms.recv_counts,
    )  # fmt: skip
