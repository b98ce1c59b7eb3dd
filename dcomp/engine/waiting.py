"""The one loop in which a rank waits for others.

It spins a little, then gives way to the other ranks of the core, then sleeps; it lets signals in, since it
is Python; it knows when to report and when to give up.
"""

import os
import time
from collections.abc import Callable, Sequence, Set
from typing import Any

from .. import _watch
from .._errors import DeadlockError
from .channel import Channel, make_room, unhelped

_SPINS = 100  # some 30 us: longer than a small exchange between ranks that have a core each
_YIELDING = 2e-3  # seconds in which the core is given away but kept within reach
_LONGEST_SLEEP = 5e-4


def wait(test: Callable[[], Any], channel: Channel, function: str, peers: tuple[int, ...] | None = None) -> None:
    """Call `test` until it is true.

    `peers` are the ranks waited for; None: all of the communicator.

    Raises
    ------
    DeadlockError       After `DCOMP_TIMEOUT` seconds.
    RankFailedError     If a rank of the communicator has died.
    """
    try:
        for _ in range(channel.spins):
            if test():
                return
        with _watch.waiting(channel, function, peers) as this_wait:
            _wait_long(test, channel, this_wait)
    except BaseException as error:  # on this rank alone, as from a handler of a signal: the others do not know of it
        known = channel.explain(function, error)
        channel.interrupt(function)
        if known is not error:
            raise known from None
        raise


def _wait_long(test: Callable[[], Any], channel: Channel, this_wait: "_watch.Wait") -> None:
    timeout = channel.settings.timeout
    start = time.monotonic()
    report_at = start + (timeout or _watch.REPORT_AFTER)
    sleep = 2e-5
    while not test():
        if channel.lost is not None:
            raise channel.failure(this_wait.function)
        if channel.moving:
            channel.move_messages()
        if channel.unstarted:  # of a message alone, for which no one waits until calls made before have begun
            channel.advance()
        for other in list(unhelped):
            if other is not channel:
                other.help()
        make_room(channel)
        now = time.monotonic()
        if now - start < _YIELDING:
            os.sched_yield()
            continue
        if now > report_at:
            report = _watch.report(this_wait)
            if timeout is not None:
                channel.close(f"a wait in it has timed out ({this_wait.function})", DeadlockError)
                raise DeadlockError(f"{report}\nThe wait was longer than DCOMP_TIMEOUT={timeout:g} s.")
            _watch.publish(report)
            report_at = float("inf")
        time.sleep(sleep)
        sleep = min(2 * sleep, _LONGEST_SLEEP)


def spins_for(cores_of_ranks: Sequence[Set[int]]) -> int:
    """How often to look before giving way: seldom where the ranks of a node outnumber the cores they may use."""
    return _SPINS if len(cores_of_ranks) <= len(set().union(*cores_of_ranks)) else 2
