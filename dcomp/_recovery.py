"""To lose ranks and go on."""

from collections.abc import Callable
from typing import TypeVar

from ._communicator import Communicator
from ._errors import RankFailedError
from ._world import or_world
from .engine import losses

_Result = TypeVar("_Result")


def recover(run: Callable[[Communicator], _Result], *, comm: Communicator | None = None) -> _Result:
    """Call ``run(comm)``; whenever ranks have died, call it again with a communicator of those that live.

    Collective. `run` begins where it finds the program, say at a checkpoint, and communicates on the communicator that
    it is given, and on those made of it.

    Parameters
    ----------
    run : function of a Communicator
    comm : Communicator, optional     COMM_WORLD.

    Returns
    -------
    What `run` has returned when it came to its end on all ranks that live.

    Raises
    ------
    RankFailedError     If `run` has used a communicator of which it was not given the ranks, or if MPI has not noticed
        that a rank is dead. Whatever else `run` raises.

    Notes
    -----
    Ranks die at other moments than others notice it: some may have returned from `run` already. So they agree at the
    end whether all have (MPI_Comm_agree, some microseconds), and if not, `run` is called again on all. After a loss
    those that are in `run` have `RankFailedError` there at their next call; `Communicator.shrink` makes the next
    communicator. With p ranks there are p calls at most.

    Only Open MPI's ``mpirun --with-ft ulfm`` keeps the other ranks alive. Elsewhere `run` is called once, and the job
    ends with the rank that dies: ``python -m dcomp run --restarts 3`` starts it again.

    Examples
    --------
    >>> def run(comm):
    ...     return comm.allreduce(1)
    >>> dc.recover(run)     # doctest: +SKIP
    """
    comm = or_world(comm)
    if not losses.is_tolerant:
        return run(comm)
    while True:
        failure: Exception | None = None
        try:
            result = run(comm)
        except Exception as error:
            if not isinstance(error, RankFailedError) and not losses.is_loss(error):
                raise
            failure = error
        if comm._is_over("recover", failure is None):
            return result
        rest = comm.shrink()
        if rest.size == comm.size:
            raise failure or RankFailedError("recover: a rank has died that was not in the communicator of run.")
        comm = rest
