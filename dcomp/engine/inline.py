"""Small calls that have been made before, made again by compiled code without Python.

Each call in compiled code has a *slot*, which it looks at first: words that say for which communicator, reduction and
extents an entry is good. The call that Python makes for it the first time fills it.
"""

import ctypes
from itertools import count
from typing import Any

import numpy as np

from .._ops import SUM
from ..kernels import exchange
from ..kernels import words as w
from .known import CARRIED, KnownCalls, Made
from .segment import address_of

_KEPT = 1024  # entries that slots may name
_numbers = count(1)


class Inline:
    """A communicator, as compiled code sees it.

    Attributes
    ----------
    record : int     Address of its record.
    """

    def __init__(self, known: KnownCalls) -> None:
        self._known = known
        self._kept: dict[int, Made] = {}
        self._words = np.zeros(3, np.int64)
        self._words[w.RECORD_NUMBER] = next(_numbers)  # no two have the same, so a slot never takes one for another
        self._words[w.RECORD_CALL] = exchange.address_of_call()
        self._words[w.RECORD_UNSTARTED] = id(known.channel.unstarted)
        self.record = address_of(self._words)

    def fill(self, slot: int, name: str, given: dict[str, Any]) -> None:
        """After a call with these arguments: have the next one like it made without Python, if that can be."""
        known, x, op = self._known, given.get("x"), given.get("op", SUM)
        made: Made | None
        if x is None:
            made = known.made.get((name,))
        elif isinstance(x, np.ndarray):
            made = known.made.get((name, op, x.dtype, x.shape))
        else:
            made = known.number
            terms = None if made is None else made.route.terms
            if terms is None or (terms.row.name, terms.op, terms.x_dtype) != (name, op, x.dtype):
                return
        if made is None or not made.route.is_small:
            return
        if len(self._kept) >= _KEPT:
            self._kept.clear()
            self._words[w.RECORD_NUMBER] = next(_numbers)
        self._kept[made.entry] = made
        extents = getattr(x, "shape", ())
        words = (ctypes.c_int64 * (w.SLOT_EXTENTS + len(extents))).from_address(slot)
        words[w.SLOT_NUMBER], words[w.SLOT_ENTRY] = int(self._words[w.RECORD_NUMBER]), made.entry
        words[w.SLOT_OP] = id(op) if "op" in given else 0
        for axis, length in enumerate(extents):
            words[w.SLOT_EXTENTS + axis] = length
        words[w.SLOT_RECORD] = self.record

    def go_on(self, entry: int, said: int) -> bool:
        """Bring a call to its end that compiled code could not end; False: Python has to make it, and has the turn."""
        made, known = self._kept[entry], self._known
        try:
            return known.go_on(said, made, None, None) is CARRIED
        except BaseException:
            known.channel.interrupt(made.route.terms.function)
            raise
