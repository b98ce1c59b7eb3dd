"""Checkpoints as a program sees them."""

import atexit
import os
import threading
import warnings
import weakref
from typing import Any

import numpy as np
from mpi4py import MPI

from .. import _ends
from .._communicator import Communicator
from .._draws import flag, integer
from .._errors import CheckpointError, UsageError
from .._whole import agree
from .._world import or_world
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
    keep : int, 1 to 2**63 - 1     How many steps stay there; older ones are removed when a new one is in its place.
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
        self.comm = or_world(comm)
        fault: Exception | None = None
        place, count = "", 0
        try:
            place, count = _place_of(path), _integer("Checkpoint", "keep", keep, 1)
        except (TypeError, ValueError) as error:
            fault = error
        agree(self.comm, "Checkpoint", fault, path=repr(place), keep=count)
        _leave_lost()
        self._keep = count
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
        step : int, 0 to 2**63 - 1     The same on every rank.
        wait : bool
            False: return when the state has been copied, and write it behind the computation. The next call on the
            checkpoint, and the end of the program, wait until it is there; what goes wrong, that call raises.
        state
            By name, arrays: this rank's block of an array that is cut along its first axis; `Cut` and `Replicated` say
            that it is otherwise. Blocks may differ in length. Numbers, strings and None, the same on every rank.
            Generators of random numbers, NumPy's and dcomp's. Dicts of such, with strings for keys, in each other up
            to 100 times. Integers have up to 4000 digits.

        Raises
        ------
        TypeError, ValueError     If this rank's state cannot be saved; CollectiveMismatchError on the others.
        CollectiveMismatchError, ShapeMismatchError
            On every rank, if names, dtypes, scalars or what is replicated differ, or blocks do not fit together.
        CheckpointError     On every rank, if it cannot be written, or another job saves there. The steps that were
            there before are there as they were.

        Warns
        -----
        RuntimeWarning
            On rank 0: older steps cannot be removed; or the file system has no locks, so that nothing keeps another
            job from saving there at the same time.

        Notes
        -----
        All ranks write, each its own part of every file. Arrays that are cut along another axis than the first are
        exchanged before, by an alltoall each; that takes memory for all of them once more, and for a block. Without
        `wait` there is a copy of every block until it is written, and MPI must have been started with
        MPI_THREAD_MULTIPLE, as mpi4py does.

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
            number, wait = _integer("save", "step", step, 0), flag("save", "wait", wait)
            node, arrays = describe(state, self.comm, digest)
        except (TypeError, ValueError, MemoryError) as error:
            fault = error
        if fault is None and not wait and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            fault = UsageError("save: wait=False needs MPI_THREAD_MULTIPLE; MPI was started without it")
        agree(self.comm, "save", fault, step=number, wait=wait)
        saving = Saving(self._comm("save"), self._folder, number, self._keep)
        saving.begin(node, arrays, is_behind=not wait)
        if wait:
            saving.write()
            self._conclude(saving.finish(), stacklevel=3)
        else:
            self._behind = _Behind(self, saving)

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
        step : int, optional     One of `steps`; of one that was saved again, the last is taken.

        Returns
        -------
        int or None      The step; None, if nothing has been saved yet.
        dict
            The state, as it was saved. Of each array the rank gets its block, cut as `block` does, at any number of
            ranks; all of it, if it is replicated. Empty, if nothing has been saved yet.

        Raises
        ------
        TypeError, ValueError     If `step` is no integer, on this rank; CollectiveMismatchError on the others.
        CollectiveMismatchError     On every rank, if `step` differs.
        CheckpointError     On every rank, if the step is not there or damaged; without `step`, if all are.

        Warns
        -----
        RuntimeWarning     On rank 0, without `step`: the last one is damaged, and an older one was taken.

        Notes
        -----
        All bytes are compared with their checksums as they are read. Each rank reads its own part of the files.
        """
        self._settle("restore")
        fault: Exception | None = None
        try:
            step = None if step is None else _integer("restore", "step", step, 0)
        except (TypeError, ValueError) as error:
            fault = error
        agree(self.comm, "restore", fault, step=step)
        private = self._comm("restore")
        while True:
            found = list_steps(private, self._folder, "restore")
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
        """The steps that are there, in the order in which they were saved; collective.

        Raises
        ------
        CheckpointError     On every rank, if the folder cannot be read.
        """
        self._settle("steps")
        agree(self.comm, "steps")
        return [saved.step for saved in list_steps(self._comm("steps"), self._folder, "steps")]

    def verify(self) -> dict[int, str | None]:
        """Read all that is there, and compare it with its checksums; collective.

        Returns
        -------
        dict
            By step, None if it is whole, else what is damaged; where it was saved twice, in either. The same on every
            rank.

        Raises
        ------
        CheckpointError     On every rank, if the folder cannot be read.

        Notes
        -----
        Each rank reads its part of the files, and keeps one piece of 4 MiB at a time.
        """
        self._settle("verify")
        agree(self.comm, "verify")
        private = self._comm("verify")
        verdicts: dict[int, str | None] = {}
        for saved in list_steps(private, self._folder, "verify"):
            try:
                Restoring(private, self._folder, saved, "verify").verify()
                verdicts.setdefault(saved.step, None)
            except Gone:
                continue
            except CheckpointError as error:
                before = verdicts.get(saved.step)  # of the same step, saved before
                verdicts[saved.step] = f"{before}\n{error}" if before else str(error)
        return verdicts

    def close(self) -> None:
        """Wait for what is being written, let other jobs save here, and free what this took; collective.

        A second time it does nothing.

        Raises
        ------
        CheckpointError     On every rank, if what was written behind the computation has gone wrong.
        """
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
        if self._behind is not None:
            self._behind.join()  # if that is interrupted, the next call waits again
            behind, self._behind = self._behind, None
            self._conclude(behind.result(), stacklevel=4)

    def _conclude(self, warning: str | None, stacklevel: int) -> None:
        if warning is not None and self.comm.rank == 0:
            warnings.warn(warning, RuntimeWarning, stacklevel=stacklevel)


def _place_of(path: Any) -> str:
    """The path of a folder, given by the user, checked."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"Checkpoint: path must be a path; got {path!r}")
    place = os.fsdecode(path)
    try:
        is_possible = place and b"\0" not in os.fsencode(place)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise ValueError(f"Checkpoint: path must be the path of a folder; got {path!r}")
    return os.path.abspath(place)


def _integer(function: str, name: str, value: Any, least: int) -> int:
    """An integer given by the user, checked."""
    number = integer(function, name, value, least)
    if number >= 2**63:
        raise ValueError(f"{function}: {name} must be less than 2**63; got an integer of {number.bit_length()} bits")
    return number


class _Behind:
    """A save that goes on behind the computation."""

    def __init__(self, checkpoint: Checkpoint, saving: Saving) -> None:
        self._checkpoint = checkpoint  # which must not go before its end is known
        self._saving = saving
        self._warning: str | None = None
        self._error: BaseException | None = None
        self._has_ended = threading.Event()  # since `Thread.join`, when interrupted once, waits no more (bpo-45274)
        atexit.register(self._end)
        # Python waits for it at the end of the program, before MPI ends.
        threading.Thread(target=self._run, name="dcomp checkpoint", daemon=False).start()

    def _run(self) -> None:
        try:
            self._saving.write()
            self._warning = self._saving.finish()
        except BaseException as error:
            self._error = error
        finally:
            self._has_ended.set()

    def join(self) -> None:
        """Wait for its end."""
        self._has_ended.wait()

    def result(self) -> str | None:
        """What came of it when it has ended: a warning, if there is one."""
        atexit.unregister(self._end)
        if self._error is not None:
            raise self._error
        return self._warning

    def _end(self) -> None:
        """The program is over; if this has failed, no call is left that could say so."""
        self.join()
        if self._error is not None and not _has_lost(self._checkpoint.comm):
            _ends.fail_late(self._error)


_checkpoints: "weakref.WeakSet[Checkpoint]" = weakref.WeakSet()


def _has_lost(comm: Communicator) -> bool:
    """Whether a rank of it has died."""
    return comm._channel.lost is not None


def _leave_lost() -> None:
    """Let go of what was begun on communicators that have lost ranks: it cannot come to its end, and the program, which
    has been told of the loss, goes on in the same folder.
    """
    for old in list(_checkpoints):
        if _has_lost(old.comm):
            if old._behind is not None:
                old._behind.join()
            old._folder.let_go()
