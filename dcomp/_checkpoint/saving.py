"""One save, from its beginning to its end."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._communicator import Communicator
from .._errors import CheckpointError, CollectiveMismatchError, ShapeMismatchError
from . import files, lines
from .folder import Folder, Saved
from .manifest import Array, Manifest, Mismatch, digest, merge
from .talk import fault_of, gather, raise_if_any, spread
from .values import Path, as_bytes

_STILL_THERE = "What was saved before is still there."


class Saving:
    """A step on its way to the disk; `begin`, `write` and `finish`, each on all ranks.

    Parameters
    ----------
    comm : Communicator     That no one else uses meanwhile.
    """

    def __init__(self, comm: Communicator, folder: Folder, step: int, keep: int) -> None:
        self.comm, self._folder, self._step, self._keep = comm, folder, step, keep
        self._progress = files.Progress(f"saving step {step} in {folder.path}", 0, False)
        self._blocks: list[tuple[Array, np.ndarray]] = []
        self._fault: Exception | None = None
        self._checksums: list[list[str]] = []

    def begin(self, node: Any, arrays: dict[Path, np.ndarray], is_behind: bool) -> None:
        """Agree on what is saved, make the files, and have this rank's part of them; collective.

        `is_behind`: the arrays may change while they are written, so they are copied.

        Raises
        ------
        CollectiveMismatchError, CheckpointError     On every rank.
        """
        plan = spread(self.comm, self._plan(gather(self.comm, node, _quietly)), _quietly)
        if "mismatch" in plan:
            raise (ShapeMismatchError if plan["is_shape"] else CollectiveMismatchError)(plan["mismatch"])
        if "fault" in plan:
            raise_if_any("save", [plan["fault"]], self.comm.size, _STILL_THERE)
        self._saved, self._manifest = Saved(plan["number"], self._step), Manifest(self._step, plan["state"])
        try:
            for array in self._manifest.arrays:
                self._blocks.append((array, self._part(array, arrays[array.path], is_behind)))
        except MemoryError as error:
            self._fault = error
        total = sum(block.nbytes for _, block in self._blocks)
        title = f"saving step {self._step} in {self._folder.path}"
        self._progress = files.Progress(title, total, self.comm.rank == 0)

    def _plan(self, nodes: list[Any]) -> Any:
        """What all ranks are to do, once rank 0 has made the files."""
        if self.comm.rank != 0:
            return None
        try:
            manifest = Manifest(self._step, merge(nodes))
            saved = self._folder.begin(self._step)
        except Mismatch as error:
            return {"mismatch": str(error), "is_shape": error.is_shape}
        except CheckpointError as error:
            return {"fault": fault_of(error)}
        try:
            for array in manifest.arrays:
                files.create_file(self._path(saved, array), array.header, array.size)
                array.checksums.append(digest(array.header))
        except CheckpointError as error:
            self._folder.give_up(saved)
            return {"fault": fault_of(error)}
        return {"number": saved.number, "state": manifest.state}

    def _part(self, array: Array, x: np.ndarray, is_behind: bool) -> np.ndarray:
        """The bytes of an array's file that this rank writes."""
        data = as_bytes(x)
        if array.axis:
            counts = self.comm.allgather(x.shape[array.axis]).tolist()
            return lines.to_file(self.comm, data, array.lines, counts)
        if array.axis is None:
            start = sum(array.blocks[: self.comm.rank])
            data = data[start : start + array.blocks[self.comm.rank]]
        return data.copy() if is_behind else data

    def write(self) -> None:
        """Bring this rank's part to the disk; no communication. A fault is kept for `finish`."""
        try:
            for array, block in self._blocks:
                path, offset = self._path(self._saved, array), array.start + sum(array.blocks[: self.comm.rank])
                self._checksums.append(files.write_block(path, block, offset, array.piece, self._progress.add))
        except (CheckpointError, MemoryError) as error:
            self._fault = self._fault or error
        self._blocks = []

    def finish(self) -> str | None:
        """Put the step into its place, when all ranks have written their parts; collective.

        Returns
        -------
        A warning, if old steps cannot be removed.

        Raises
        ------
        CheckpointError     On every rank.
        """
        tell: Callable[[int], None] = self._progress.add
        told = gather(self.comm, {"fault": fault_of(self._fault), "checksums": self._checksums}, tell)
        verdict = spread(self.comm, self._conclude(told), tell)
        raise_if_any("save", verdict["faults"], self.comm.size, _STILL_THERE)
        return verdict["warning"]

    def _conclude(self, told: list[Any]) -> Any:
        if self.comm.rank != 0:
            return None
        faults, warning = [one["fault"] for one in told], self._folder.complaint and f"save: {self._folder.complaint}."
        self._folder.complaint = None  # it has been told
        try:
            if not any(faults):
                for i, array in enumerate(self._manifest.arrays):
                    array.checksums.extend(checksum for one in told for checksum in one["checksums"][i])
                self._folder.commit(self._saved, self._manifest)
        except CheckpointError as error:
            faults[0] = fault_of(error)
        if any(faults):
            self._folder.give_up(self._saved)
        else:
            try:
                self._folder.keep(self._keep)
            except CheckpointError as error:
                warning = f"save: step {self._step} is saved, but older ones cannot be removed: {error}"
        return {"faults": faults, "warning": warning}

    def _path(self, saved: Saved, array: Array) -> str:
        return f"{self._folder.draft(saved)}/{array.name}"


def _quietly(_: int) -> None:
    pass
