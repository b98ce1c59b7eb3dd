"""Checkpoints as a program sees them."""

import atexit
import os
import threading
import warnings
import weakref
from contextlib import suppress
from operator import index
from typing import Any

import numpy as np
from mpi4py import MPI

from .. import _ends
from .._communicator import Communicator
from .._errors import CheckpointError, UsageError
from .._whole import agree
from .._world import world
from .folder import Folder, Saved
from .manifest import digest
from .restoring import Gone, Restoring, list_steps
from .saving import Saving
from .values import OtherRanks, Path, describe


class Checkpoint:
    """A folder in which a program saves its state, step by step, and from which it goes on at any number of ranks.

    Collective, as are all its methods: every rank of `comm` calls them, in the same order.

    Parameters
    ----------
    path : str or path      The same on every rank, on a file system that all ranks share. It is made if need be.
    keep : int >= 1         How many steps stay there; older ones are removed when a new one is in its place.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Raises
    ------
    TypeError, ValueError       If an argument is wrong, on this rank.
    CollectiveMismatchError     On every other rank then, and on every rank if `path` or `keep` differ.

    Notes
    -----
    Each step is a folder: an array is a ``.npy`` file, which `numpy.load` opens without dcomp, and ``manifest.json``
    has all else, and a checksum of every 4 MiB. The folder has another name until everything is on the disk (fsync),
    then it is renamed. So whenever the job is killed, or the machine stops, the last step that was saved is there as a
    whole. Nothing is pickled.

    Only one job at a time can save in a folder: the first `save` takes a lock there, and keeps it until `close` or the
    end of the job, whatever ends it. Any number may read meanwhile.

    After a `CheckpointError`, which is raised on every rank, the communicator can be used as before.

    Examples
    --------
    ::

        checkpoint = dc.Checkpoint("run")
        step, state = checkpoint.restore()
        if step is None:
            step, state = 0, {"u": np.zeros(len(range(n)[dc.block(n)]))}
        u = state["u"]
        while step < steps:
            advance(u)
            step += 1
            if step % 100 == 0:
                checkpoint.save(step, u=u)
    """

    def __init__(self, path: str | os.PathLike, *, keep: int = 2, comm: Communicator | None = None) -> None:
        self.comm = comm or world()
        fault: Exception | None = None
        place = ""
        try:
            place = os.path.abspath(os.fsdecode(path))
            if index(keep) < 1:
                raise ValueError(f"Checkpoint: keep must be at least 1; got {keep}")
        except TypeError:
            fault = TypeError(f"Checkpoint: path must be a path, and keep an integer; got {path!r} and {keep!r}")
        except ValueError as error:
            fault = error
        agree(self.comm, "Checkpoint", fault, path=place, keep=keep)
        _leave_lost()
        self._keep = index(keep)
        self._folder = Folder(place)
        self._private: Communicator | None = self.comm.dup()  # for threads behind the computation
        self._behind: _Behind | None = None
        _checkpoints.add(self)

    def __repr__(self) -> str:
        return f"<Checkpoint {self._folder.path}, on {self.comm!r}>"

    @property
    def path(self) -> str:
        """The folder."""
        return self._folder.path

    def save(self, step: int, /, *, wait: bool = True, **state: Any) -> None:
        """Save the state of a step, so that it is there whatever happens from now on; collective.

        Parameters
        ----------
        step : int >= 0     The same on every rank.
        wait : bool
            False: return when the state has been copied, and write it behind the computation. The next call on the
            checkpoint, and the end of the program, wait until it is there; what goes wrong, that call raises.
        state
            By name, arrays: this rank's block of an array that is cut along its first axis; `Cut` and `Replicated` say
            that it is otherwise. Blocks may differ in length. Numbers, strings and None, the same on every rank.
            Generators of random numbers, NumPy's and dcomp's. Dicts of such, with strings for keys.

        Raises
        ------
        TypeError, ValueError     If this rank's state cannot be saved; CollectiveMismatchError on the others.
        CollectiveMismatchError, ShapeMismatchError
            On every rank, if names, dtypes, scalars or what is replicated differ, or blocks do not fit together.
        CheckpointError     On every rank, if it cannot be written, or another job saves there. The steps that were
            there before are there as they were.

        Notes
        -----
        All ranks write, each its own part of every file. An array that is cut along another axis than the first is
        exchanged before, by an alltoall; that takes memory for two more blocks. Without `wait` there is a copy of every
        block until it is written, and MPI must have been started with MPI_THREAD_MULTIPLE, as mpi4py does.

        If a save or a restore takes more than 10 s, rank 0 tells on standard error how far it is.

        A step that was saved before may be saved again, as after a restart from an older one; it then is the last.

        Generators of dcomp and others that are the same on every rank can be restored at any number of ranks. If each
        rank has one of its own, as NumPy's seeded by the rank, all are saved, and restored on as many ranks only.
        """
        self._settle("save")
        fault: Exception | None = None
        number, node = 0, None
        arrays: dict[Path, np.ndarray] = {}
        try:
            if isinstance(step, bool) or not hasattr(step, "__index__") or index(step) < 0:
                raise ValueError(f"save: step must be an integer that is not negative; got {step!r}")
            number = index(step)
            node, arrays = describe(state, self.comm, digest)
        except (TypeError, ValueError) as error:
            fault = error
        if fault is None and not wait and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            fault = UsageError("save: wait=False needs MPI_THREAD_MULTIPLE; MPI was started without it")
        agree(self.comm, "save", fault, step=number, wait=bool(wait))
        saving = Saving(self._comm("save"), self._folder, number, self._keep)
        saving.begin(node, arrays, is_behind=not wait)
        if wait:
            saving.write()
            self._conclude(saving.finish())
        else:
            self._behind = _Behind(saving)

    def wait(self) -> None:
        """Wait until what is written behind the computation is on the disk and in its place.

        Raises
        ------
        CheckpointError     On every rank, if that has gone wrong.
        """
        self._settle("wait")

    def restore(self, step: int | None = None) -> tuple[int | None, dict[str, Any]]:
        """The last state that was saved, or that of a step; collective.

        Parameters
        ----------
        step : int, optional     One of `steps`.

        Returns
        -------
        int or None      The step; None, if nothing has been saved yet.
        dict
            The state, as it was saved. Of each array the rank gets its block, cut as `block` does, at any number of
            ranks; all of it, if it is replicated. Empty, if nothing has been saved yet.

        Raises
        ------
        CheckpointError     On every rank, if the step is not there or damaged; without `step`, if all are.

        Warns
        -----
        RuntimeWarning     On rank 0, without `step`: the last one is damaged, and an older one was taken.

        Notes
        -----
        All bytes are compared with their checksums as they are read. Each rank reads its own part of the files.
        """
        self._settle("restore")
        fault = None
        if step is not None and not hasattr(step, "__index__"):
            fault = TypeError(f"restore: step must be an integer; got {step!r}")
        agree(self.comm, "restore", fault, step=step if step is None or fault else index(step))
        private = self._comm("restore")
        while True:
            found = list_steps(private, self._folder)
            wanted = [saved for saved in reversed(found) if step is None or saved.step == step]
            if not wanted and step is None:
                return None, {}
            if not wanted:
                there = ", ".join(str(saved.step) for saved in found) or "none"
                raise CheckpointError(f"restore: step {step} is not in {self.path}; the steps there are: {there}.")
            try:
                return self._restore_one_of(wanted if step is None else wanted[:1])
            except Gone:
                continue

    def _restore_one_of(self, wanted: list[Saved]) -> tuple[int, dict[str, Any]]:
        """The first one that is whole."""
        faults: list[CheckpointError] = []
        for saved in wanted:
            try:
                state = Restoring(self._comm("restore"), self._folder, saved, "restore").restore(self.comm)
            except OtherRanks as error:
                raise CheckpointError(f"restore: step {saved.step} in {self.path}: {error}") from None
            except CheckpointError as error:
                faults.append(error)
                continue
            if faults and self.comm.rank == 0:
                told = "\n".join(map(str, faults))
                warnings.warn(
                    f"{told}\nrestore: step {saved.step}, which was saved before, is whole and was taken.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return saved.step, state
        if len(faults) == 1:
            raise faults[0]
        raise CheckpointError("\n".join(["restore: no step is whole.", *map(str, faults)]))

    def steps(self) -> list[int]:
        """The steps that are there, in the order in which they were saved; collective."""
        self._settle("steps")
        agree(self.comm, "steps")
        return [saved.step for saved in list_steps(self._comm("steps"), self._folder)]

    def verify(self) -> dict[int, str | None]:
        """Read all that is there, and compare it with its checksums; collective.

        Returns
        -------
        dict     By step, None if it is whole, else what is damaged. The same on every rank.
        """
        self._settle("verify")
        agree(self.comm, "verify")
        private = self._comm("verify")
        verdicts: dict[int, str | None] = {}
        for saved in list_steps(private, self._folder):
            try:
                Restoring(private, self._folder, saved, "verify").verify()
                verdicts[saved.step] = None
            except Gone:
                continue
            except CheckpointError as error:
                verdicts[saved.step] = str(error)
        return verdicts

    def close(self) -> None:
        """Wait for what is being written, let other jobs save here, and free what this took; collective."""
        if self._private is None:
            return
        try:
            self._settle("close")
        finally:
            agree(self.comm, "close")
            self._folder.let_go()
            self._private.free()
            self._private = None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error that other ranks may not have had, a collective call could hang.
        if kind is None:
            self.close()

    def _comm(self, function: str) -> Communicator:
        if self._private is None:
            raise UsageError(f"{function}: the checkpoint {self.path} has been closed. Make another one.")
        return self._private

    def _settle(self, function: str) -> None:
        """Wait for what is written behind the computation, and raise what has gone wrong with it."""
        self._comm(function)
        behind, self._behind = self._behind, None
        if behind is not None:
            self._conclude(behind.result())

    def _conclude(self, warning: str | None) -> None:
        if warning is not None and self.comm.rank == 0:
            warnings.warn(warning, RuntimeWarning, stacklevel=4)


class _Behind:
    """A save that goes on behind the computation."""

    def __init__(self, saving: Saving) -> None:
        self.saving = saving
        self._warning: str | None = None
        self._error: BaseException | None = None
        # Python waits for it at the end of the program, before MPI ends.
        self._thread = threading.Thread(target=self._run, name="dcomp checkpoint", daemon=False)
        _behind.add(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.saving.write()
            self._warning = self.saving.finish()
        except BaseException as error:
            self._error = error

    def result(self) -> str | None:
        """Wait for its end; a warning, if there is one."""
        self._thread.join()
        _behind.discard(self)
        if self._error is not None:
            raise self._error
        return self._warning


_behind: set[_Behind] = set()  # whose end no call has waited for yet
_checkpoints: "weakref.WeakSet[Checkpoint]" = weakref.WeakSet()


def _has_lost(comm: Communicator) -> bool:
    """Whether a rank of it has died."""
    return comm._channel.lost is not None


def _leave_lost() -> None:
    """Let go of what was begun on communicators that have lost ranks: it cannot come to its end, and the program, which
    has been told of the loss, goes on in the same folder.
    """
    for behind in list(_behind):
        if _has_lost(behind.saving.comm):
            with suppress(Exception):
                behind.result()
    for old in list(_checkpoints):
        if _has_lost(old.comm):
            old._folder.let_go()


def _end_all() -> None:
    """The program is over; if what was written behind it has failed, no call is left that could say so."""
    _leave_lost()
    for behind in list(_behind):
        try:
            behind.result()
        except Exception as error:
            _ends.fail_late(error)


atexit.register(_end_all)
