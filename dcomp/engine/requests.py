"""Calls in flight: blocking and non-blocking.

A non-blocking call has two stages: the ranks agree on it, then its data is on the way. Calls of one channel
reach the second stage in the order in which they were made, as MPI demands of all ranks alike. Whoever is in
a call on the channel moves the first stage on; a thread does so where no one is, so that a request makes
progress while the program computes, or waits elsewhere.
"""

import warnings
from collections.abc import Callable
from threading import get_ident
from types import CodeType
from typing import Any

from mpi4py import MPI

from .._calls import Call, call_place, located, place_text
from .agreement import agree, assume
from .channel import Channel, Steps, abandon
from .mpi import Transfer, make_route
from .progress import helper, start_all
from .waiting import wait

MISSED = object()  # instead of a result, or a request: the call has to go the ordinary way
_KEPT = 256  # routes of the same terms: of a broadcast, say, of which only the root knows the shape


def carry_out(channel: Channel, call: Call) -> Any:
    """A blocking call: agree, move, and return the result.

    What `agree_on_route` does, without a generator: a small call through MPI would take a tenth longer.
    """
    with channel.turn(call.function):
        terms = call.terms
        if call.fault is not None and not channel.is_checked:
            raise located(call.fault, channel)
        if channel.unstarted:
            start_all(channel, call.function)
        verdict = None
        if channel.is_checked or terms is None or terms.needs_layout:
            channel.count_call()
            channel.claims.put(call)
            wait(channel.claims.begin(call.claim.packed), channel, call.function)
            verdict = channel.claims.verdict
        elif channel.settings.timeout is not None:  # without a check, only a barrier tells who is missing
            wait(channel.sync.Ibarrier().Test, channel, call.function)
        return conclude(channel, call, verdict)


def conclude(channel: Channel, call: Call, verdict: bytes | None) -> Any:
    """Carry out a blocking call on which the ranks gave `verdict`; the caller has the turn."""
    terms = call.terms
    route = None if terms is None else terms.routes.get(verdict)
    if route is None:
        route = run(channel, call.function, find_route(channel, call, verdict))
    if terms is not None:
        call.route = terms.routes.get(verdict)
    return run_route(channel, route, call.x, call.out)


def run_route(channel: Channel, route: Any, x: Any, out: Any) -> Any:
    """Carry out an agreed call; `_watch` sees if it stays inside MPI, where no wait of ours can time out."""
    channel.inside = (route.terms.function, get_ident())
    try:
        return route.run(x, out)
    except MPI.Exception as error:
        raise channel.explain(route.terms.function, error) from None
    finally:
        channel.inside = None


def agree_on_route(channel: Channel, call: Call) -> Steps:
    """Exchange claims if need be, and find the route; steps."""
    if call.fault is not None and not channel.is_checked:
        raise located(call.fault, channel)
    terms, verdict = call.terms, None
    if channel.is_checked or terms is None or terms.needs_layout:
        channel.count_call()
        verdict = yield from channel.exchange(call.claim.packed)
    return (yield from route_after(channel, call, verdict))


def route_after(channel: Channel, call: Call, verdict: bytes | None) -> Steps:
    """The route of a call on which the ranks gave `verdict`; steps."""
    terms = call.terms
    route = None if terms is None else terms.routes.get(verdict)
    if route is None:
        route = yield from find_route(channel, call, verdict)
    if terms is not None:
        call.route = terms.routes.get(verdict)
    return route


def find_route(channel: Channel, call: Call, verdict: bytes | None) -> Steps:
    """The route of a call from what the ranks have said, or, unchecked, from what this rank knows."""
    terms: Any = call.terms
    if verdict is None:
        agreed, repeatable = assume(terms), True
    else:
        agreed, repeatable = yield from agree(channel, call, verdict)
    route: Any = make_route(channel, terms, agreed)
    if channel.meeting is not None:
        from .shared import share  # where memory is shared numba has been started

        route = share(channel, route) or route
    else:
        # Another exchange would have taken the place of the first, and of what has travelled with it.
        joint = channel.claims.share(route) if repeatable else None
        lanes = (
            channel.levels.spread(route, channel.rules.of(terms.row.name, terms.size))
            if channel.levels is not None
            else None
        )
        route = joint or lanes or route
    if repeatable:
        if len(terms.routes) >= _KEPT:
            terms.routes.clear()
        terms.routes[verdict] = route
    return route


def run(channel: Channel, function: str, steps: Steps, peers: tuple[int, ...] | None = None) -> Any:
    """Take steps to their end, waiting where they do; earlier non-blocking calls are started first.

    The caller has the turn.
    """
    if channel.unstarted:
        start_all(channel, function)
    try:
        while True:
            wait(next(steps), channel, function, peers)
    except StopIteration as end:
        return end.value
    except BaseException:
        abandon(steps)  # whose exchange may be under way
        raise


class Request:
    """A non-blocking call in flight; it keeps the call's buffers alive.

    Not made by users: the functions whose names begin with `i` return it.
    """

    _peers: tuple[int, ...] | None = None
    _error: Exception | None = None
    _result: Any = None
    _finished = True  # until it is whole

    def __init__(self, channel: Channel, function: str, place: tuple[CodeType, int]) -> None:
        self._channel = channel
        self._function = function
        self._place = place
        self._finished = False

    @property
    def _site(self) -> str:
        return place_text(self._place)

    def __repr__(self) -> str:
        return f"<Request of {self._function} at {self._site}, {'done' if self._finished else 'in flight'}>"

    def _done(self) -> bool:
        """Whether the call has ended; the caller has the turn."""
        raise NotImplementedError

    def _buffers(self) -> Any:
        """What MPI may still read and write."""
        raise NotImplementedError

    def _finish(self) -> Any:
        """The result of a call that has ended."""
        return self._result

    def _take(self) -> Any:
        if not self._finished:
            self._finished = True
            if self._error is None:
                self._result = self._finish()
        if self._error is not None:
            raise self._channel.explain(self._function, self._error)
        return self._result

    def wait(self) -> Any:
        """Wait for the end of the call and return its result.

        Raises
        ------
        Whatever the blocking call raises; for a collective, on every rank alike.
        """
        if not self._finished:
            with self._channel.turn(self._function):
                wait(self._done, self._channel, self._function, self._peers)
        return self._take()

    def test(self) -> tuple[bool, Any]:
        """``(True, result)`` if the call has ended, else ``(False, None)``; does not wait."""
        if not self._finished:
            with self._channel.turn(self._function):
                if not self._done():
                    self._channel.move_messages()  # who asks all the time may leave the progress thread no turn
                    return False, None
        return True, self._take()

    def leave(self) -> None:
        """Whoever asked for it has an error instead, and no use for the result."""
        self._finished = True
        abandon(self._buffers())

    def __del__(self) -> None:
        if not self._finished and self._channel.lost is None:
            warnings.warn(
                f"{self._function} at {self._site}: its Request was dropped without a wait, so its result is lost on "
                f"rank {self._channel.rank}. Keep it and call wait().",
                RuntimeWarning,
                stacklevel=2,
            )
        if not self._finished:
            abandon(self._buffers())


class CollectiveRequest(Request):
    """A non-blocking collective.

    `learnt` is called, at the end of the ranks' exchange, with the route of a call that goes the same way when it is
    made again.
    """

    def __init__(
        self, channel: Channel, call: Call, learnt: Callable[[Any], None] | None = None, agreeing: Steps | None = None
    ) -> None:
        super().__init__(channel, call.function, call_place())
        self._call = call
        self._steps: Steps | None = self._start(agreeing or agree_on_route(channel, call))
        self._test: Any = None
        self._learnt = learnt
        self._transfer: Transfer | None = None
        self._requests: list[MPI.Request] = []
        call.site = self._site

    def _start(self, agreeing: Steps) -> Steps:
        """Agree, and have the data under way, or, if it is little, at its end."""
        call, route = self._call, (yield from agreeing)
        if self._learnt is not None and call.route is not None:
            self._learnt(call.route)
        if route.is_small:
            self._result = yield from route.move(call.x, call.out)
        else:
            self._transfer = route.bind(call.x, call.out)
            self._requests = self._transfer.start()

    def start_if_agreed(self) -> bool:
        """Move the first stage on; true when the data is under way, or never will be."""
        if self._test is not None and not self._test():
            return False
        if self._steps is None:
            return True
        try:
            self._test = next(self._steps)
            return False
        except StopIteration:
            pass
        except Exception as error:  # belongs to whoever waits for this request
            self._error = error
        self._steps = self._test = None
        return True

    def _done(self) -> bool:
        if self._channel.unstarted:  # also those made after this one, for which another rank may be waiting
            self._channel.advance()
        if self._steps is not None:
            return False
        return self._error is not None or MPI.Request.Testall(self._requests)

    def _finish(self) -> Any:
        moving, self._transfer = self._transfer, None
        return moving.finish() if moving is not None else self._result

    def _buffers(self) -> Any:
        return self._requests, self._transfer, self._call


class Moving:
    """A send or a receive on its way; the channel moves it on, whoever holds its request."""

    def __init__(self, channel: Channel, steps: Steps) -> None:
        self._channel = channel
        self._steps = steps
        self._test: Any = None
        self.ended = False
        self.result: Any = None
        self.error: Exception | None = None
        channel.moving[self] = None
        self.move()

    def move(self) -> None:
        """Take the steps that can be taken."""
        if self.ended:
            return
        try:
            while self._test is None or self._test():
                self._test = next(self._steps)
            return
        except StopIteration as end:
            self.result = end.value
        except Exception as error:  # belongs to whoever waits for the request
            self.error = error
        self.ended = True
        self._channel.moving.pop(self, None)


class MessageRequest(Request):
    """A send or a receive; it needs no agreement with other calls."""

    def __init__(self, channel: Channel, function: str, steps: Steps, peers: tuple[int, ...] | None) -> None:
        super().__init__(channel, function, call_place())
        self._peers = peers
        self._moving = Moving(channel, steps)

    def _done(self) -> bool:
        self._moving.move()
        self._error = self._moving.error
        return self._moving.ended

    def _finish(self) -> Any:
        return self._moving.result

    def _buffers(self) -> Any:
        return self._moving


def start(channel: Channel, call: Call, learnt: Callable[[Any], None] | None = None) -> Request:
    """A non-blocking call: its request, whose data moves when all ranks have agreed."""
    with channel.turn(call.function):
        request = CollectiveRequest(channel, call, learnt)
        channel.unstarted.append(request)
        channel.advance()
        if channel.unstarted:
            helper.notice(channel)
    return request


def start_message(channel: Channel, function: str, steps: Steps, peers: tuple[int, ...] | None) -> Request:
    """A non-blocking send or receive; the caller has the turn."""
    request = MessageRequest(channel, function, steps, peers)
    if channel.moving:
        helper.notice(channel)
    return request


def wait_all(requests: Any) -> list:
    """Wait for several requests; their results in the same order.

    Raises
    ------
    The first error of theirs, after all have ended.
    """
    results, errors = [], []
    for request in requests:
        try:
            results.append(request.wait())
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results
