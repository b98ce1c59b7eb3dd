"""Messages between ranks of a node, in compiled code itself: see `dcomp.engine.mail`."""

from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import make_array

from ..kernels import words as w
from ._inline import Attempt, all_of
from ._objects import NUMBERS, CommunicatorType
from ._rules import bare_of

_WORD = ir.IntType(64)
_FUNCTIONS = {"send": w.RECORD_SEND, "recv": w.RECORD_RECEIVE, "sendrecv": w.RECORD_SWAP}
REFUSED = w.REFUSED


class Message(Attempt):
    """A `send`, `recv` or `sendrecv`."""

    def __init__(self, context: Any, builder: Any, name: str, result: types.Type, this: tuple, given: dict) -> None:
        self._name, self._result, self._given = name, result, given
        extents = sum(given[one][0].ndim for one in ("x", "out") if self._is_array(one))
        super().__init__(context, builder, this, w.SLOT_FORM_EXTENTS + extents)

    def _is_array(self, name: str) -> bool:
        return name in self._given and isinstance(self._given[name][0], types.Array)

    def attempt(self, gil: Any, place: Any) -> Any:
        """Make the call, the GIL held, with its result in `place`: DONE; REFUSED, and nothing has happened; else what
        Python has to be told, to finish it.
        """
        builder = self._builder
        said = cgutils.alloca_once_value(builder, _WORD(REFUSED))
        record = self._of_slot(w.SLOT_RECORD)
        with builder.if_then(self._is_mine(gil, record)):
            with builder.if_then(all_of(builder, [*self._is_in_force(record), *self._fit()]), likely=True):
                values = self._values()
                function = self._function(record, _FUNCTIONS[self._name], len(values))
                builder.store(builder.call(function, values), said)
                nothing = [w.WAITING, *([w.WORKING] if self._name == "recv" else [])]  # much data: without the GIL
                told = [builder.icmp_signed("==", builder.load(said), _WORD(one)) for one in nothing]
                is_nothing = reduce(builder.or_, told)
                with builder.if_then(is_nothing):
                    builder.store(_WORD(REFUSED), said)
                with builder.if_then(builder.icmp_signed("==", builder.load(said), _WORD(w.DONE))):
                    self._give(place)
        return builder.load(said)

    def _fit(self) -> list:
        """Tests: the arrays are of the forms."""
        tests, first = [], w.SLOT_FORM_EXTENTS
        for name in ("x", "out"):
            if self._is_array(name):
                kind, value = self._given[name]
                tests += self._extents_of(kind, value, first)
                first += kind.ndim
        return tests

    def _values(self) -> list:
        """What the compiled function is given."""
        sends = [self._of_slot(w.SLOT_FORM), self._address_of("x"), self._rank("dest")] if "x" in self._given else []
        if self._name == "send":
            return [*sends, self._tag("tag", 0)]
        if "out" in self._given:
            y = self._address_of("out")
        else:  # a number, as is sent
            y = self._builder.ptrtoint(self._number, _WORD)
        receives = [self._of_slot(w.SLOT_FORM_OF_OUT), y, self._rank("source")]
        if self._name == "recv":
            return [*receives, self._tag("tag", w.ANY_TAG)]
        return [*sends, self._tag("sendtag", 0), *receives, self._tag("recvtag", w.ANY_TAG)]

    def _address_of(self, name: str) -> Any:
        kind, value = self._given[name]
        if not isinstance(kind, types.Array):
            return self._keep_number(kind, value)
        return self._builder.ptrtoint(make_array(kind)(self._context, self._builder, value).data, _WORD)

    def _rank(self, name: str) -> Any:
        """A rank, or that it is no one."""
        builder = self._builder
        if name not in self._given:
            return _WORD(w.ANYONE)
        kind, value = self._given[name]
        if kind is types.none:
            return _WORD(w.NO_ONE)
        if isinstance(kind, types.Optional):
            optional = self._context.make_helper(builder, kind, value=value)
            rank = self._context.cast(builder, optional.data, kind.type, types.int64)
            return builder.select(cgutils.as_bool_bit(builder, optional.valid), rank, _WORD(w.NO_ONE))
        return self._context.cast(builder, value, kind, types.int64)

    def _tag(self, name: str, default: int) -> Any:
        if name not in self._given:
            return _WORD(default)
        kind, value = self._given[name]
        return self._context.cast(self._builder, value, kind, types.int64)

    def _give(self, place: Any) -> None:
        context, builder = self._context, self._builder
        if "out" in self._given:
            kind, out = self._given["out"]
            context.nrt.incref(builder, kind, out)
            builder.store(out, place)
        elif self._number is not None and self._name == "sendrecv":
            kind, _ = self._given["x"]
            value = context.data_model_manager[kind].from_data(builder, builder.load(self._number))
            if isinstance(self._result, types.Optional):
                some, none = (
                    context.make_optional_value(builder, kind, value),
                    context.make_optional_none(builder, kind),
                )
                is_no_one = builder.icmp_signed("==", self._rank("source"), _WORD(w.NO_ONE))
                value = builder.select(is_no_one, none, some)
            builder.store(value, place)


def can_be_message(name: str, result: types.Type, this: tuple, given: dict) -> bool:
    """Whether the types of a call allow it."""
    if name not in _FUNCTIONS or not (this[0] is types.none or isinstance(this[0], CommunicatorType)):
        return False
    kinds = {argument: kind for argument, (kind, _) in given.items()}
    for one in ("dest", "source"):
        kind = kinds.get(one, types.none)
        bare = kind.type if isinstance(kind, types.Optional) else kind
        if not (bare is types.none or isinstance(bare, types.Integer)):
            return False
    if not all(isinstance(kinds.get(one, types.int64), types.Integer) for one in ("tag", "sendtag", "recvtag")):
        return False
    x, out = kinds.get("x"), kinds.get("out")
    if any(isinstance(kind, types.Array) and kind.layout != "C" for kind in (x, out)):
        return False
    if not (x is None or isinstance(x, (types.Array, *NUMBERS))):
        return False
    if out is None:
        return name == "send" or (name == "sendrecv" and isinstance(x, NUMBERS) and bare_of(result) == x)
    return isinstance(out, types.Array) and out.mutable and result == out
