"""Steps read back, on any number of ranks."""

import os
from typing import Any

import numpy as np

from .._communicator import Communicator
from .._errors import CheckpointError
from .._layout import block_counts, block_slice
from . import files, lines
from .folder import Folder, Saved
from .manifest import NAME, NONSENSE, Array, Manifest, parse
from .talk import fault_of, raise_if_any, share, spread
from .values import revive

_OTHERWISE = "Restore another of steps(), and remove this one."


class Gone(Exception):
    """A step that was there has been removed meanwhile, by the job that saves."""


def list_steps(comm: Communicator, folder: Folder, function: str) -> list[Saved]:
    """The steps that are there, on every rank; collective."""
    told: Any = None
    if comm.rank == 0:
        try:
            told = {"saved": folder.saved(), "fault": None}
        except CheckpointError as error:
            told = {"saved": [], "fault": fault_of(error)}
    told = spread(comm, told, _quietly)
    raise_if_any(function, [told["fault"]], comm.size, "")
    return [Saved(*one) for one in told["saved"]]


class Restoring:
    """A step on its way from the disk; collective.

    Parameters
    ----------
    comm : Communicator     That no one else uses meanwhile.
    """

    def __init__(self, comm: Communicator, folder: Folder, saved: Saved, function: str) -> None:
        self._comm, self._folder, self._saved, self._function = comm, folder, saved, function

    def restore(self, owner: Communicator) -> dict[str, Any]:
        """The state, each rank's block of its arrays; generators are on the communicator `owner`, of the same ranks.

        Raises
        ------
        Gone, OtherRanks, CheckpointError     On every rank.
        """
        manifest = self._manifest()
        parts = self._read(manifest, is_kept=True)
        arrays = [self._distribute(array, part) for array, part in zip(manifest.arrays, parts, strict=True)]
        try:
            return revive(manifest.state, iter(arrays), owner)
        except NONSENSE as error:
            raise CheckpointError(
                f"{self._function}: {self._folder.file(self._saved, NAME)} cannot be understood: {error}. {_OTHERWISE}"
            ) from None

    def verify(self) -> None:
        """Read all of it, and keep nothing.

        Raises
        ------
        Gone, CheckpointError     On every rank.
        """
        self._read(self._manifest(), is_kept=False)

    def _manifest(self) -> Manifest:
        path = self._folder.file(self._saved, NAME)
        told: Any = None
        if self._comm.rank == 0:
            try:
                data = files.read_whole(path)
                step = parse(data).step
                if step != self._saved.step:
                    raise files.damaged(path, f"it is of step {step}")
                told = {"data": data.decode("ascii"), "fault": None}
            except CheckpointError as error:
                told = {"fault": fault_of(error)}
            except (ValueError, MemoryError) as error:
                told = {"fault": fault_of(files.damaged(path, str(error)))}
        told = spread(self._comm, told, _quietly)
        self._raise([told["fault"]])
        return parse(told["data"].encode("ascii"))

    def _read(self, manifest: Manifest, is_kept: bool) -> list[np.ndarray]:
        """This rank's part of the files of all arrays; all bytes of them are looked at by some rank."""
        total = sum(array.nbytes for array in manifest.arrays) // self._comm.size
        title = f"reading step {self._saved.step} in {self._folder.path}"
        progress = files.Progress(title, total, self._comm.rank == 0)
        parts: list[np.ndarray] = []
        fault: Exception | None = None
        try:
            for array in manifest.arrays:
                path = self._folder.file(self._saved, array.name)
                parts.append(files.read_part(path, array, *self._range(array), is_kept, progress.add))
        except (CheckpointError, MemoryError) as error:
            fault = error
        self._raise(share(self._comm, fault_of(fault), progress.add))
        return parts

    def _range(self, array: Array) -> tuple[int, int]:
        """This rank's part of the elements, in bytes: so many whole elements, or lines."""
        unit = array.dtype.itemsize if array.axis is None else array.lines[2]
        part = block_slice(array.nbytes // unit if unit else 0, self._comm.size, self._comm.rank)
        return part.start * unit, part.stop * unit

    def _distribute(self, array: Array, part: np.ndarray) -> np.ndarray:
        """This rank's block, from the parts of the file that the ranks have read."""
        comm, shape = self._comm, list(array.shape)
        if array.axis is None:
            unit = array.dtype.itemsize
            counts = [unit * count for count in block_counts(array.nbytes // unit, comm.size)]
            part = comm.allgather(part, counts=counts)
        else:
            shape[array.axis] = len(range(array.shape[array.axis])[comm.block(array.shape[array.axis])])
            if array.axis:
                part = lines.to_block(comm, part, array.lines)
        return part.view(array.dtype).reshape(shape)

    def _raise(self, faults: list[list | None]) -> None:
        if not any(faults):
            return
        is_there = self._comm.rank != 0 or os.path.isdir(self._folder.file(self._saved, ""))
        if not spread(self._comm, is_there, _quietly):
            raise Gone
        raise_if_any(self._function, faults, self._comm.size, _OTHERWISE)


def _quietly(_: int) -> None:
    pass
