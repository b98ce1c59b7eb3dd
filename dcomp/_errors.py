"""The exceptions of dcomp.

::

    DcompError
    +-- CollectiveMismatchError             the ranks did not make the same call
    |   +-- ShapeMismatchError              ... because of a shape (also a ValueError)
    +-- DeadlockError (also TimeoutError)   a wait was longer than DCOMP_TIMEOUT
    +-- RankFailedError                     a rank has died
    +-- CheckpointError (also OSError)      a checkpoint cannot be written, or is damaged
    +-- LaunchError                         the program was started the wrong way
    +-- UsageError (also RuntimeError)      a communicator used where it cannot be
    +-- SettingError (also ValueError)      a bad DCOMP_ environment variable

Mistakes in the arguments of one rank raise Python's own `TypeError` and `ValueError` on that rank.
"""

from collections.abc import Iterable


class DcompError(Exception):
    """Root of all exceptions that only dcomp raises."""


class CollectiveMismatchError(DcompError):
    """The ranks of a communicator did not all make the same, correct call.

    Raised on every rank of the communicator, before any data has moved. The communicator stays usable.
    """


class ShapeMismatchError(CollectiveMismatchError, ValueError):
    """The ranks called the same collective on arrays whose shapes do not fit together."""


class DeadlockError(DcompError, TimeoutError):
    """A wait was longer than `DCOMP_TIMEOUT` seconds; the message says who is missing, and where."""


class RankFailedError(DcompError):
    """A rank of the communicator has died.

    Attributes
    ----------
    ranks : tuple of int     Who is known to have died, as ranks of COMM_WORLD, whatever communicator it was raised on.
    """

    def __init__(self, message: str, ranks: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.ranks = tuple(ranks)


class CheckpointError(DcompError, OSError):
    """A checkpoint cannot be written or read, or is damaged; the message names the file.

    Raised on every rank of the communicator, which stays usable. `errno` is the system's, if it was the system.
    """


class LaunchError(DcompError):
    """The program was started in a way that cannot work; the message has the command that does."""


class UsageError(DcompError, RuntimeError):
    """A communicator was used after `free`, after MPI ended, after a fork, or by two threads at once."""


class SettingError(DcompError, ValueError):
    """An environment variable that starts with `DCOMP_` is unknown or has a bad value."""


for _error in (
    DcompError, CollectiveMismatchError, ShapeMismatchError, DeadlockError, RankFailedError, LaunchError, UsageError,
    SettingError, CheckpointError,
):  # fmt: skip
    _error.__module__ = "dcomp"  # where users find it, and what a traceback calls it
