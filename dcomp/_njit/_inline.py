"""Small calls that have been made before, in compiled code itself: see `dcomp.engine.inline`.

Each place of a call keeps a slot for the last call that was made there. If the next is like it, the slot has the entry
that one compiled function needs; Python is asked only where that cannot end the call.
"""

from itertools import count
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import _empty_nd_impl, make_array

from ..kernels import words as w
from ._objects import CommunicatorType, OpType, omitted

_NAMES = {"barrier", "allreduce", "scan", "exscan"}
_WORD = ir.IntType(64)
DONE, REFUSED, UNTRIED = w.DONE, w.REFUSED, -1  # what is said of an attempt
_LENGTH = 16  # where a Python object that has a length keeps it


class Inline:
    """One call in compiled code."""

    def __init__(self, context: Any, builder: Any, result: types.Type, this: tuple, given: dict) -> None:
        self.context, self.builder, self.result = context, builder, result
        self.this, self.given, self._number = this, given, None
        x = given.get("x", (types.none, None))[0]
        self.ndim = x.ndim if isinstance(x, types.Array) else 0
        slot = cgutils.add_global_variable(
            builder.module, ir.ArrayType(_WORD, w.SLOT_EXTENTS + self.ndim), _name(context)
        )
        slot.initializer = ir.Constant(slot.type.pointee, None)
        slot.linkage = "internal"
        self._slot = slot
        self.slot = builder.ptrtoint(slot, _WORD)

    def attempt(self, place: Any) -> tuple[Any, Any]:
        """Make the call, the GIL held, with its result in `place`: what was said, and the entry."""
        context, builder = self.context, self.builder
        said = cgutils.alloca_once_value(builder, _WORD(UNTRIED))
        kind, comm = self.this
        record = self._of_slot(w.SLOT_RECORD)
        is_mine = builder.icmp_unsigned("!=", record, _WORD(0))
        if isinstance(kind, CommunicatorType):
            mine = cgutils.create_struct_proxy(kind)(context, builder, value=comm).record
            is_mine = builder.and_(is_mine, builder.icmp_unsigned("==", record, mine))
        with builder.if_then(is_mine):
            with builder.if_then(self._is_known(record), likely=True):
                x, y = self._arrays(place)
                call = builder.inttoptr(_load(builder, record, 8 * w.RECORD_CALL), _FUNCTION.as_pointer())
                builder.store(builder.call(call, [self._of_slot(w.SLOT_ENTRY), x, y]), said)
        return builder.load(said), self._of_slot(w.SLOT_ENTRY)

    def _of_slot(self, index: int) -> Any:
        return self.builder.load(cgutils.gep_inbounds(self.builder, self._slot, 0, index))

    def _is_known(self, record: Any) -> Any:
        """Whether the slot is of this call: communicator, reduction, and extents."""
        builder = self.builder
        unstarted = _load(builder, _load(builder, record, 8 * w.RECORD_UNSTARTED), _LENGTH)
        tests = [
            builder.icmp_unsigned("==", _load(builder, record, 8 * w.RECORD_NUMBER), self._of_slot(w.SLOT_NUMBER)),
            builder.icmp_unsigned("==", unstarted, _WORD(0)),
        ]
        op_kind, op = self.given.get("op", (omitted, None))
        if isinstance(op_kind, OpType):
            held = cgutils.create_struct_proxy(op_kind)(self.context, builder, value=op).object
            tests.append(builder.icmp_unsigned("==", builder.ptrtoint(held, _WORD), self._of_slot(w.SLOT_OP)))
        for argument in ("x", "out"):
            kind, value = self.given.get(argument, (omitted, None))
            if isinstance(kind, types.Array):
                shape = cgutils.unpack_tuple(builder, make_array(kind)(self.context, builder, value).shape, kind.ndim)
                for axis, length in enumerate(shape):
                    tests.append(builder.icmp_unsigned("==", length, self._of_slot(w.SLOT_EXTENTS + axis)))
        known = tests[0]
        for test in tests[1:]:
            known = builder.and_(known, test)
        return known

    def _arrays(self, place: Any) -> tuple[Any, Any]:
        """Addresses of what is sent and of what receives, which is put into `place`, or is `place`."""
        context, builder = self.context, self.builder
        if "x" not in self.given:
            return _WORD(0), _WORD(0)
        kind, value = self.given["x"]
        if not isinstance(kind, types.Array):
            data = context.data_model_manager[kind].as_data(builder, value)
            number, self._number = cgutils.alloca_once_value(builder, data), cgutils.alloca_once(builder, data.type)
            return builder.ptrtoint(number, _WORD), builder.ptrtoint(self._number, _WORD)
        array = make_array(kind)(context, builder, value)
        x = builder.ptrtoint(array.data, _WORD)
        if "out" in self.given:
            out_kind, out = self.given["out"]
            context.nrt.incref(builder, out_kind, out)
            builder.store(out, place)
            return x, builder.ptrtoint(make_array(out_kind)(context, builder, out).data, _WORD)
        new = _empty_nd_impl(context, builder, self.result, cgutils.unpack_tuple(builder, array.shape, kind.ndim))
        builder.store(new._getvalue(), place)
        return x, builder.ptrtoint(new.data, _WORD)

    def take_number(self, place: Any) -> None:
        """Put a number that has been received into `place`."""
        if self._number is not None:
            data = self.builder.load(self._number)
            self.builder.store(self.context.data_model_manager[self.result].from_data(self.builder, data), place)


_names = count()


def _name(context: Any) -> str:
    return f"{context.fndesc.mangled_name}.dcomp.{next(_names)}"


def _load(builder: Any, address: Any, offset: int) -> Any:
    return builder.load(builder.inttoptr(builder.add(address, _WORD(offset)), _WORD.as_pointer()))


_FUNCTION = ir.FunctionType(_WORD, [_WORD] * 3)


def can_be_inline(name: str, result: types.Type, this: tuple, given: dict) -> bool:
    """Whether the types of a call allow it."""
    if name not in _NAMES or not (this[0] is types.none or isinstance(this[0], CommunicatorType)):
        return False
    if name == "barrier":
        return True
    kind = given["x"][0]
    if isinstance(kind, types.Array):
        return (
            kind.layout == "C"
            and isinstance(result, types.Array)
            and result.layout == "C"
            and ("out" not in given or (given["out"][0] == result and result.mutable))
        )
    return kind == result and "out" not in given
