"""Ranks that have died, in a job that can go on without them: under ``mpirun --with-ft ulfm`` of Open MPI.

MPI tells the ranks that talk with a dead one, some of them and each in its time. The guard sees every death at once and
tells all. Whoever hears of it first *revokes* the communicators that have the dead rank, so that no one goes on to wait
in them inside of MPI (User Level Failure Mitigation, MPI-5 proposal).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from mpi4py import MPI

from .._errors import RankFailedError
from .._layout import format_ranks

#: What MPI's calls say after a loss; of several requests they say no more than that one has failed.
_CLASSES = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED, MPI.ERR_IN_STATUS)

_NEWS = 1.0  # seconds in which a death is known, if an error of MPI's comes of one
_NAMES = 10.0  # seconds for the names of the dead where another rank has revoked, which knows them
_ENABLED = "OMPI_MCA_mpi_ft_enable"  # in the environment of ranks, by mpirun's --with-ft ulfm

#: Whether the job goes on when a rank dies. The launcher has to keep the others alive, and it tells MPI so.
is_tolerant = (
    MPI.get_vendor()[0] == "Open MPI"
    and "PRTE_LAUNCHED" in os.environ
    and os.environ.get(_ENABLED, "").lower() in ("1", "t", "true", "y", "yes", "enabled")
)

lost: set[int] = set()  # ranks of COMM_WORLD
_in_the_making: list[tuple[MPI.Intracomm, tuple[int, ...]]] = []  # no channel knows of them yet; and their ranks


def is_loss(error: BaseException | None) -> bool:
    """Whether it may be MPI's error after the death of a rank."""
    return is_tolerant and isinstance(error, MPI.Exception) and error.Get_error_class() in _CLASSES


def may_come_of_loss(error: BaseException | None) -> bool:
    """Whether the death of a rank may be behind an error. A collective of Open MPI's that cannot begin its next round
    says no more than that something has failed, so whoever asks looks for other signs of a death, too.
    """
    return is_loss(error) or (
        is_tolerant and isinstance(error, MPI.Exception) and error.Get_error_class() == MPI.ERR_OTHER
    )


def find_lost(comm: MPI.Intracomm) -> list[int]:
    """The ranks in COMM_WORLD of those members that MPI knows to be dead, and it looks for news."""
    MPI.COMM_SELF.Iprobe()  # it does so in its calls only, and the guard may be late on a busy machine
    failed, world = comm.Get_failed(), MPI.COMM_WORLD.Get_group()
    ranks = MPI.Group.Translate_ranks(failed, range(failed.size), world)
    failed.Free()
    world.Free()
    return list(ranks)


def revoke(comms: Iterable[MPI.Intracomm], *, in_thread: bool = False) -> None:
    """Have every call of MPI on these communicators raise, on every rank, also those under way.

    `in_thread`: another thread may be inside of MPI, and not every MPI allows that.
    """
    if not in_thread or MPI.Query_thread() == MPI.THREAD_MULTIPLE:
        for comm in comms:
            with suppress(MPI.Exception):  # freed meanwhile
                if comm and not comm.Is_revoked():
                    comm.Revoke()


@contextmanager
def in_the_making(comm: MPI.Intracomm, name: str, ranks: tuple[int, ...]) -> Iterator[None]:
    """While a communicator of these ranks of COMM_WORLD is set up: have it revoked if one of them dies."""
    if not is_tolerant:
        yield
        return
    one = (comm, ranks)
    _in_the_making.append(one)
    try:
        yield
    except MPI.Exception as error:
        if not may_come_of_loss(error):
            raise
        revoke([comm])
        dead = wait_for_names(comm, ranks)
        if not dead and not is_loss(error):
            raise
        who = f"{format_ranks(dead)} of {MPI.COMM_WORLD.size}" if dead else "a rank"
        raise RankFailedError(
            f"{name}: {who} {'have' if len(dead) > 1 else 'has'} died while it was made.", dead
        ) from error
    finally:
        _in_the_making.remove(one)


def wait_for_names(
    comm: MPI.Intracomm, ranks: Sequence[int], is_over: Callable[[], bool] = lambda: False
) -> tuple[int, ...]:
    """Those of these ranks of COMM_WORLD, members of a communicator, that have died; the guard knows more than MPI.

    `is_over`: whether they are not wanted any more.
    """
    start = time.monotonic()
    while not (dead := lost.intersection(ranks).union(find_lost(comm))):
        if is_over() or time.monotonic() > start + (_NAMES if comm.Is_revoked() else _NEWS):
            break
        time.sleep(1e-3)
    return tuple(sorted(dead))


def learn(ranks: Sequence[int]) -> None:
    """These ranks of the job have died."""
    lost.update(ranks)
    # The news may be late: who has heard of it from MPI makes a communicator without them already.
    revoke([comm for comm, members in list(_in_the_making) if lost.intersection(members)], in_thread=True)
