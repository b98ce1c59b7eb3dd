"""What the ranks that live can do together after others have died: agree, and make a communicator of their own.

Both go through MPI, which keeps them in step whoever dies meanwhile (User Level Failure Mitigation).
"""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mpi4py import MPI

from .. import _mpirun
from .._errors import RankFailedError
from .._layout import format_ranks
from . import losses
from .channel import Channel

_NOTICED = 1.0  # seconds within which MPI notices a death


def agree(channel: Channel, function: str, said: bool) -> bool:
    """Whether all who live say so, the same on all of them; False, too, if one dies meanwhile. Collective over them."""
    with _inside(channel, function):
        try:
            channel.sync.Ack_failed(channel.size)
            return bool(channel.sync.Agree(int(said)))
        except MPI.Exception as error:
            if not losses.is_loss(error):
                raise
            return False


def shrink(channel: Channel, function: str) -> MPI.Intracomm:
    """A communicator of those who live. Collective over them.

    Raises
    ------
    RankFailedError     If MPI has not noticed a death of which the guard has told: it would wait for that rank.
    """
    end = time.monotonic() + _NOTICED
    with _inside(channel, function):
        while missed := losses.lost.intersection(channel.members).difference(losses.find_lost(channel.sync)):
            if time.monotonic() > end:
                raise RankFailedError(
                    f"{function}: MPI has not noticed that {format_ranks(sorted(missed))} of {MPI.COMM_WORLD.size} "
                    "died, and would wait for it. Open MPI notices no os._exit with another status than 0.",
                    sorted(missed),
                )
            time.sleep(1e-3)
        made: Any = channel.sync.Shrink()
        return made


def prepare_finalize(channel: Channel) -> None:
    """After a loss: wait until all who live have come to the end of their programs. Collective over them.

    MPI_Finalize of Open MPI waits for all ranks of the job at its end, and in about a third of the jobs that have lost
    one for that one, too, without end (ompi #11404). The ranks wait for each other here and let it do without.
    """
    agree(channel, "the end", True)
    library = _mpirun.library_path()
    with suppress(OSError, ValueError):  # not there, or it has no such switch
        ctypes.c_bool.in_dll(ctypes.CDLL(library), "ompi_async_mpi_finalize").value = True


@contextmanager
def _inside(channel: Channel, function: str) -> Iterator[None]:
    """A call that counts, and of which reports tell."""
    channel.recoveries += 1
    channel.inside = (function, threading.get_ident())
    try:
        yield
    finally:
        channel.inside = None
