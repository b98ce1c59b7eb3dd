"""Calls set up once and made many times."""

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

    def __init__(self, channel: Channel, call: Call) -> None:
        with channel.turn(call.function):
            route = run(channel, call.function, agree_on_route(channel, call))
            self._transfer = route.bind(call.x, _result_array(route, call))
            self._persistent = self._transfer.prepare()
        self._channel, self._call = channel, call
        self._requests: list[MPI.Request] = [] if self._persistent is None else [self._persistent]
        self._started = self._freed = False

    def start(self) -> None:
        """Begin the call with what is now in its array.

        Raises
        ------
        RuntimeError     If the call before has not been waited for, or the plan was freed.
        """
        if self._freed:
            raise UsageError(f"{self._call.function}: the plan has been freed.")
        if self._started:
            raise RuntimeError(f"{self._call.function}: start must follow the wait for the call before.")
        channel = self._channel
        with channel.turn(self._call.function):
            if channel.unstarted:
                start_all(channel, self._call.function)
            if self._persistent is not None:
                if self._transfer.pack is not None:
                    self._transfer.pack()
                self._persistent.Start()
            else:
                self._requests = self._transfer.start()
        self._started = True

    def wait(self) -> Any:
        """Wait for the end of the call that was started and return its result.

        Raises
        ------
        RuntimeError     If none was started.
        """
        if not self._started:
            raise RuntimeError(f"{self._call.function}: wait must follow start.")
        channel, requests = self._channel, self._requests
        test = requests[0].Test if len(requests) == 1 else lambda: MPI.Request.Testall(requests)
        with channel.turn(self._call.function):
            wait(test, channel, self._call.function)
        self._started = False
        return self._transfer.finish()

    def __call__(self) -> Any:
        """Make the call: start and wait."""
        self.start()
        return self.wait()

    def free(self) -> None:
        """Give back what MPI keeps for the plan; it cannot be started any more."""
        self._freed = True
        if self._persistent is not None:
            self._persistent.Free()
            self._persistent = None
            self._requests = []


def _result_array(route: Route, call: Call) -> np.ndarray | None:
    """The array that holds every result: `out`, or a new one; a root that broadcasts keeps its x."""
    if call.out is not None or route.shape is None or route.scalar:
        return call.out
    sends_only = route.terms.row.shape is Shape.BROADCAST and route.terms.is_root
    return None if sends_only else np.empty(route.shape, route.dtype)
