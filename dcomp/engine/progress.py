"""What moves non-blocking calls on: whoever is in a call on their channel, and a thread where no one is."""

import threading
import time

from mpi4py import MPI

from .channel import Channel, unhelped
from .waiting import wait


def start_all(channel: Channel, function: str) -> None:
    """Wait until the data of all non-blocking calls made before is under way, as the order of calls demands."""

    def started() -> bool:
        channel.advance()
        if channel.unstarted:
            channel.make_progress()  # what is under way here may be what the others wait for
            return False
        return True

    wait(started, channel, function)


class _Helper:
    """A thread that moves on what no one waits for; it sleeps while there is nothing to do."""

    _SHORTEST, _LONGEST = 1e-3, 16e-3  # seconds between looks; longer when nothing happens

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._channels: set[Channel] = set()
        self._thread: threading.Thread | None = None

    def notice(self, channel: Channel) -> None:
        """`channel` has requests that need more than MPI's own progress."""
        if channel in self._channels:
            if not self._wake.is_set():
                self._wake.set()
            return
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            unhelped.add(channel)  # then requests make progress in calls only
            return
        self._channels.add(channel)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="dcomp progress", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            period = self._SHORTEST
            while self._channels:
                time.sleep(period)
                period = self._SHORTEST if self._wake.is_set() else min(2 * period, self._LONGEST)
                self._wake.clear()
                for channel in list(self._channels):
                    self._help(channel)

    def _help(self, channel: Channel) -> None:
        if not channel.is_open:  # closed since
            self._channels.discard(channel)
        elif channel.try_enter():
            try:
                channel.advance()
                channel.move_messages()
                self._channels.discard(channel)
                if channel.unstarted or channel.moving:  # asked after that, for a quick request comes without the turn
                    self._channels.add(channel)
            except MPI.Exception as error:
                if channel.explain("a request", error) is error:  # else whoever waits for one has been told
                    raise
            finally:
                channel.leave_help()


helper = _Helper()
