"""Calls set up once and made many times."""

from importlib import import_module
from typing import Any

import numpy as np
from mpi4py import MPI

from .._calls import Call
from .._errors import UsageError
from .._table import Shape
from .channel import Channel
from .mpi import Route
from .progress import start_all
from .requests import agree_on_route, run
from .waiting import wait


class Plan:
    """A call set up once and made many times: ``plan.start(); result = plan.wait()``, or ``plan()``.

    Not made by users: the functions whose names end in `_init` return it. Its arrays stay the user's to
    refill between calls; every call returns the same result array.
    """

    _started = _gives_back = False
    _freed = True  # until it is whole

    def __init__(self, function: str, rounds: Any, example: Any, *, gives_back: bool) -> None:
        """`example` is like the results; `gives_back` tells that it is freed if it is forgotten, too."""
        self._function, self._rounds, self._example = function, rounds, example
        self._gives_back, self._freed = gives_back, False

    @property
    def _numba_type_(self) -> Any:
        """What numba asks objects that it does not know for."""
        return import_module("dcomp._njit").type_of("plan", self._example)

    def start(self) -> None:
        """Begin the call with what is now in its array.

        Raises
        ------
        RuntimeError     If the call before has not been waited for, or the plan was freed.
        """
        if self._freed:
            raise UsageError(f"{self._function}: the plan has been freed.")
        if self._started:
            raise RuntimeError(f"{self._function}: start must follow the wait for the call before.")
        self._rounds.start()
        self._started = True

    def wait(self) -> Any:
        """Wait for the end of the call that was started and return its result.

        Raises
        ------
        RuntimeError     If none was started.
        """
        if not self._started:
            raise RuntimeError(f"{self._function}: wait must follow start.")
        self._started = False
        return self._rounds.wait()

    def __call__(self) -> Any:
        """Make the call: start and wait."""
        if self._started or self._freed:
            self.start()  # says what is wrong
        return self._rounds.play()

    def __del__(self) -> None:
        if not self._freed and self._gives_back:
            self.free()

    def free(self) -> None:
        """Give back what is kept for the plan; it cannot be started any more."""
        if not self._freed:
            self._freed = True
            self._rounds.free(self._started)


def make_plan(channel: Channel, call: Call) -> Plan:
    """The plan of a collective."""
    with channel.turn(call.function):
        route = run(channel, call.function, agree_on_route(channel, call))
        rounds: Any = None
        if channel.meeting is not None:
            from .rounds import shared_rounds  # where memory is shared numba has been started

            rounds = shared_rounds(channel, route, call.x, call.out)
        has_requests = rounds is None  # of MPI, which are not freed just anywhere
        rounds = rounds or _Persistent(channel, call, route)
        return Plan(call.function, rounds, _example(route, call), gives_back=not has_requests)


class _Persistent:
    """The rounds of a plan through MPI: a persistent request where there is one."""

    def __init__(self, channel: Channel, call: Call, route: Route) -> None:
        self._channel, self._function = channel, call.function
        self._transfer = route.bind(call.x, _result_array(route, call))
        self._persistent = self._transfer.prepare()
        self._requests: list[MPI.Request] = [] if self._persistent is None else [self._persistent]

    def start(self) -> None:
        channel = self._channel
        with channel.turn(self._function):
            if channel.unstarted:
                start_all(channel, self._function)
            if self._persistent is not None:
                if self._transfer.pack is not None:
                    self._transfer.pack()
                self._persistent.Start()
            else:
                self._requests = self._transfer.start()

    def wait(self) -> Any:
        channel, requests = self._channel, self._requests
        test = requests[0].Test if len(requests) == 1 else lambda: MPI.Request.Testall(requests)
        with channel.turn(self._function):
            wait(test, channel, self._function)
        return self._transfer.finish()

    def play(self) -> Any:
        self.start()
        return self.wait()

    def free(self, is_started: bool) -> None:
        if self._persistent is not None:
            self._persistent.Free()
            self._persistent = None
            self._requests = []


def _example(route: Route, call: Call) -> Any:
    """What is like the results: an array or a number, or None."""
    if route.terms.row.shape is Shape.BROADCAST and route.terms.is_root:
        return call.x if call.out is None else call.out
    if call.out is not None or route.shape is None:
        return call.out
    example = np.empty(route.shape, route.dtype)
    return example[()] if route.scalar else example


def _result_array(route: Route, call: Call) -> np.ndarray | None:
    """The array that holds every result: `out`, or a new one; a root that broadcasts keeps its x."""
    if call.out is not None or route.shape is None or route.scalar:
        return call.out
    sends_only = route.terms.row.shape is Shape.BROADCAST and route.terms.is_root
    return None if sends_only else np.empty(route.shape, route.dtype)
