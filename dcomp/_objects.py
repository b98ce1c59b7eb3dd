"""Python objects, pickled, through collectives; only these functions pickle.

An object is pickled before the ranks agree on the call, so that one that cannot be pickled is everyone's clear
error; its bytes then travel as an array.
"""

import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import _table as table
from ._calls import Call, describe
from .engine.channel import Channel
from .engine.requests import carry_out


class Objects:
    """Collectives of Python objects. Unpickling runs code of the sender's choice: it is of the same job."""

    _channel: Channel
    rank: int
    size: int

    def bcast_object(self, x: Any = None, *, root: int = 0) -> Any:
        """Give every rank the root's Python object; the root gets its own back."""
        call = self._describe(table.BCAST, x if self.rank == root else None, self.rank == root, root=root)
        received = carry_out(self._channel, call)
        return x if self.rank == root else _load(received)[0]

    def scatter_object(self, x: Any = None, *, root: int = 0) -> Any:
        """Give every rank one of the root's `size` Python objects."""
        if self.rank != root:
            return _load(carry_out(self._channel, self._describe(table.SCATTER, None, False, root=root)))[0]
        fault: Exception | None = None
        parts: list[np.ndarray] = []
        try:
            if not isinstance(x, Iterable):
                raise TypeError(f"scatter_object: x must be a sequence of {self.size} objects; got {x!r}")
            parts = [_dump(one) for one in x]
            if len(parts) != self.size:
                raise ValueError(f"scatter_object: x must hold {self.size} objects; got {len(parts)}")
        except Exception as error:  # whatever pickling raises concerns all ranks
            fault = error
        data = np.concatenate(parts) if fault is None else np.empty(0, np.uint8)
        counts = [part.size for part in parts] if fault is None else None
        call = describe(self._channel, table.SCATTER, data, form="{}_object", root=root, counts=counts)
        return _load(carry_out(self._channel, _with_fault(call, fault)))[0]

    def gather_object(self, x: Any, *, root: int = 0) -> list | None:
        """The Python objects of all ranks, in a list on the root; None elsewhere."""
        return self._gather(table.GATHER, x, root)

    def allgather_object(self, x: Any) -> list:
        """The Python objects of all ranks, in a list on every rank."""
        return self._gather(table.ALLGATHER, x) or []

    def _describe(self, row: table.Collective, x: Any, gives: bool, root: int = 0) -> Call:
        data, fault = None, None
        if gives:
            try:
                data = _dump(x)
            except Exception as error:  # whatever pickling raises concerns all ranks
                data, fault = np.empty(0, np.uint8), error
        return _with_fault(describe(self._channel, row, data, form="{}_object", root=root), fault)

    def _gather(self, row: table.Collective, x: Any, root: int = 0) -> list | None:
        data = carry_out(self._channel, self._describe(row, x, True, root=root))
        if data is None:
            return None
        objects, start = [], 0
        for _ in range(self.size):
            one, start = _load(data, start)
            objects.append(one)
        return objects


def _with_fault(call: Call, fault: Exception | None) -> Call:
    if fault is not None:
        call.fault, call.terms = fault, None
    return call


def _dump(x: Any) -> np.ndarray:
    """Pickle of `x` and its buffers, after their number and lengths."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    parts = [np.frombuffer(text, np.uint8), *(np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers)]
    sizes = np.array([len(parts), *(part.size for part in parts)], np.int64)
    return np.concatenate([sizes.view(np.uint8), *parts])


def _load(data: np.ndarray, start: int = 0) -> tuple[Any, int]:
    """The object that `_dump` put at `start`, and where the next one is; its arrays are copies of its own."""
    number = int.from_bytes(data[start : start + 8].tobytes(), "little")
    start += 8
    sizes = np.frombuffer(data[start : start + 8 * number].tobytes(), np.int64).tolist()
    start += 8 * number
    parts = []
    for size in sizes:
        parts.append(bytearray(data[start : start + size]))
        start += size
    return pickle.loads(parts[0], buffers=parts[1:]), start
