"""Small calls that have been made before, made again by compiled code without Python.

Each call in compiled code has a *slot*, which it looks at first: words that say for which communicator, reduction and
extents an entry is good. The call that Python makes for it the first time fills it.
"""

import ctypes
from collections import deque
from functools import cache, partial
from itertools import count
from typing import Any

import numpy as np

from .._ops import SUM
from ..kernels import exchange, ready
from ..kernels import mail as mail_kernels
from ..kernels import words as w
from .known import CARRIED, KnownCalls, Made
from .requests import MISSED
from .segment import address_of

_KEPT = 1024  # entries that slots may name
_TRIES = 16  # calls in one place, before most are left to Python at once
_MOST = 16 << 10  # bytes of a result that are copied sooner than Python makes an array
_WORDS = 8
_numbers = count(1)


@cache
def _knows_lengths() -> bool:
    """Whether a deque has its length where compiled code looks for it."""
    return ctypes.c_ssize_t.from_address(id(probe := deque(range(3))) + w.OBJECT_LENGTH).value == len(probe)


class _Kept:
    """What slots say of a call.

    Attributes
    ----------
    place, address     Where the result comes that is to be in ordinary memory; 0 if it can come there at once.
    maker              Makes an array for the result in the heap; None if there is none.
    """

    def __init__(self, made: Made, gives_result: bool) -> None:
        self.made, self.address = made, 0
        self.place: Any = None
        self.maker: Any = None
        if gives_result and not made.route.is_small:
            self.maker = partial(made.make, made.shape, made.dtype)

    def make_place(self) -> None:
        """For a result in memory of the program's: a block of the heap, which lasts as long as the call is kept."""
        if self.place is None and self.maker is not None and self.made.copies:
            self.place = self.maker()
            self.address = address_of(self.place)


class Inline:
    """A communicator, as compiled code sees it.

    Attributes
    ----------
    record : int     Address of its record.
    """

    def __init__(self, known: KnownCalls) -> None:
        self._known = known
        self._kept: dict[int, _Kept] = {}  # by entry
        self._kept_before: dict[int, _Kept] = {}  # a call with one of these may be under way
        self._misses: dict[int, int] = {}  # by slot, since it was filled
        self._words = np.zeros(_WORDS, np.int64)
        self._words[w.RECORD_NUMBER] = next(_numbers)  # no two have the same, so a slot never takes one for another
        self._words[w.RECORD_UNSTARTED] = id(known.channel.unstarted)
        self.record = address_of(self._words) if _knows_lengths() else 0

    def fill(self, slot: int, name: str, given: dict[str, Any], ndim: int, result: tuple | None) -> None:
        """After a call with these arguments: have the next one like it made without Python, if that can be.

        `ndim` is of x, in the compiled code: on this rank there may be none. `result` has dtype and dimensions of the
        result there, -1 for a number.
        """
        misses = self._misses[slot] = self._misses.get(slot, 0) + 1
        if misses > _TRIES and misses % _TRIES:
            return  # it hardly ever can be
        x, op = given.get("x"), given.get("op", SUM)
        made = self._find(name, x, op, given)
        if made is None or not self.record:
            return
        gives = w.GIVES_X if made.returns_x else w.GIVES_RESULT if made.route.makes else w.GIVES_NOTHING
        if gives == w.GIVES_RESULT and result != (made.dtype, -1 if made.route.scalar else len(made.shape)):
            return  # of an earlier call, or one that the code is not for: it would take what does not fit
        if len(self._kept) >= _KEPT:
            self._kept_before, self._kept = self._kept, {}
            self._words[w.RECORD_NUMBER] = next(_numbers)
        if not self._words[w.RECORD_CALL]:  # not before: most programs have no such code
            self._words[w.RECORD_CALL] = ready.c_address(exchange.call_by_address)
        kept = self._kept.get(made.entry)
        if kept is None or kept.made.route is not made.route:
            kept = self._kept[made.entry] = _Kept(made, gives == w.GIVES_RESULT)
        # Memory that compiled code has of its own would have to be copied to.
        has_maker = given.get("out") is None and made.route.result_bytes > _MOST and kept.maker is not None
        if not has_maker:
            kept.make_place()
        self._misses.pop(slot, None)
        words = [
            self.record, int(self._words[w.RECORD_NUMBER]), made.entry, id(op) if "op" in given else 0,
            given.get("root", 0), given.get("axis", given.get("split_axis", 0)), given.get("concat_axis", 0),
            int(x is not None), gives, 0 if has_maker else kept.address, id(kept.maker) if has_maker else 0,
            *(getattr(x, "shape", ()) if x is not None else (0,) * ndim),
            *(made.shape if gives == w.GIVES_RESULT and not made.route.scalar else ()),
        ]  # fmt: skip
        (ctypes.c_int64 * len(words)).from_address(slot)[:] = words

    def fill_for_message(self, slot: int, given: dict[str, Any]) -> None:
        """The same after a message, whose forms last as long as the communicator."""
        mail = self._known.channel.mail
        if mail is None or not self.record:
            return
        x, out = given.get("x"), given.get("out")
        forms = [None if one is None else mail.form_of_value(one) for one in (x, x if out is None else out)]
        if any(one is not None and form is None for one, form in zip((x, out), forms, strict=True)):
            return
        if not self._words[w.RECORD_SEND]:
            functions = (mail_kernels.send_by_address, mail_kernels.receive_by_address, mail_kernels.swap_by_address)
            self._words[w.RECORD_SEND : w.RECORD_SWAP + 1] = [ready.c_address(one) for one in functions]
        addresses = [0 if form is None else form.address for form in forms]
        extents = [*getattr(x, "shape", ()), *getattr(out, "shape", ())]
        words = [self.record, int(self._words[w.RECORD_NUMBER]), *addresses, *extents]
        (ctypes.c_int64 * len(words)).from_address(slot)[:] = words

    def _find(self, name: str, x: Any, op: Any, given: dict[str, Any]) -> Made | None:
        """The call, as Python has just made it."""
        known, root, axis, is_new = self._known, given.get("root", 0), given.get("axis", 0), given.get("out") is None
        if isinstance(x, np.generic):
            made = known.number
            terms = None if made is None else made.route.terms
            told = name, op, x.dtype, root
            return made if terms and (terms.row.name, terms.op, terms.x_dtype, terms.root) == told else None
        out = () if is_new else ((given["out"].dtype, given["out"].shape),)
        kind = () if x is None else (x.dtype, x.shape)
        on_root = (*kind, "root") if x is not None else out
        key: tuple
        match name:
            case "barrier":
                key = (name,)
            case "bcast":
                key = name, root, *on_root
            case "scatter":
                key = name, axis, root, *on_root
            case "gather":
                key = name, axis, root, *kind, is_new
            case "allgather":
                key = name, axis, *kind, is_new
            case "alltoall":
                key = name, given.get("split_axis", 0), given.get("concat_axis", 0), *kind
            case "reduce":
                key = name, op, root, *kind
            case "_combine":
                key = name, given["function"], given["told"], *kind
            case "reduce_scatter":
                key = name, op, axis, *kind
            case _:
                key = name, op, *kind
        return known.made.get(key)

    def go_on(self, entry: int, said: int, y: int, x: Any, out: Any) -> bool:
        """Bring a call to its end that compiled code could not end, with its result at the address y; False: Python has
        to make it, and has the turn.

        The caller closes the channel after an exception.
        """
        known, kept = self._known, self._kept.get(entry) or self._kept_before[entry]
        uses_place = kept.address != 0 and known.meeting.receives_at(kept.address)
        result = known.go_on(said, kept.made, x, out)
        if result is CARRIED:
            result = kept.place if uses_place else out
        if isinstance(result, np.ndarray) and result is not out and y:
            ctypes.memmove(y, address_of(result), result.nbytes)
        return result is not MISSED
