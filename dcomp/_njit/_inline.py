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
from ._objects import ArrivedType, CommunicatorType, OpType, reduction
from ._rules import bare_of

_OF_NUMBERS = {"allreduce", "scan", "exscan", "reduce"}
_NAMES = {"barrier", "bcast", "scatter", "gather", "allgather", "alltoall", "reduce_scatter", "_combine", *_OF_NUMBERS}
_TEXTS = {"function", "told"}  # of `_combine`: the same at every call in one place
_COMPARED = {
    "op": w.SLOT_OP, "root": w.SLOT_ROOT,
    "axis": w.SLOT_AXIS, "split_axis": w.SLOT_AXIS, "concat_axis": w.SLOT_OTHER_AXIS,
}  # fmt: skip
_PYTHON_EVERY = 1024  # calls, a power of two
_NOWHERE = -1  # instead of an address
_BIT = ir.IntType(1)
_WORD = ir.IntType(64)
DONE, REFUSED, UNTRIED = w.DONE, w.REFUSED, -1  # what is said of an attempt


class Attempt:
    """One call in compiled code, and its slot.

    Attributes
    ----------
    slot : int64     Its address.
    """

    def __init__(self, context: Any, builder: Any, this: tuple, words: int) -> None:
        self._context, self._builder, self._this = context, builder, this
        of_slot = ir.ArrayType(_WORD, words)
        self._slot = cgutils.add_global_variable(builder.module, of_slot, _name(context))
        self._slot.initializer = ir.Constant(of_slot, None)
        self._slot.linkage = "internal"
        self.slot = builder.ptrtoint(self._slot, _WORD)
        self._number: Any = None  # where one is received

    def _of_slot(self, index: int) -> Any:
        return self._builder.load(cgutils.gep_inbounds(self._builder, self._slot, 0, index))

    def _is_mine(self, gil: Any, record: Any) -> Any:
        """Whether the slot is for this communicator, and Python is above: not in a thread of a parallel region, of
        which Python has to be told.
        """
        builder, (kind, comm) = self._builder, self._this
        is_mine = builder.icmp_unsigned("!=", record, _WORD(0))
        if isinstance(kind, CommunicatorType):
            mine = cgutils.create_struct_proxy(kind)(self._context, builder, value=comm).record
            is_mine = builder.and_(is_mine, builder.icmp_unsigned("==", record, mine))
        held = builder.load(gil)
        has = cgutils.alloca_once_value(builder, _BIT(1))
        with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", held, held.type(0))):
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(cgutils.voidptr_t, []), "PyEval_GetFrame"
            )
            builder.store(cgutils.is_not_null(builder, builder.call(function, [])), has)
        return builder.and_(is_mine, builder.load(has))

    def _is_in_force(self, record: Any) -> list:
        """Tests: the slot is good still, and it is not Python's turn."""
        builder = self._builder
        counter = builder.inttoptr(builder.add(record, _WORD(8 * w.RECORD_COUNT)), _WORD.as_pointer())
        number = builder.add(builder.load(counter), _WORD(1))
        builder.store(number, counter)
        return [
            # Now and then Python makes it: it lets signals and other threads in.
            builder.icmp_unsigned("!=", builder.and_(number, _WORD(_PYTHON_EVERY - 1)), _WORD(0)),
            builder.icmp_unsigned("==", load(builder, record, 8 * w.RECORD_NUMBER), self._of_slot(w.SLOT_NUMBER)),
        ]

    def _extents_of(self, kind: Any, value: Any, first: int) -> list:
        """Tests: an array's extents are those in the slot."""
        lengths = cgutils.unpack_tuple(
            self._builder, make_array(kind)(self._context, self._builder, value).shape, kind.ndim
        )
        return [self._builder.icmp_unsigned("==", one, self._of_slot(first + axis)) for axis, one in enumerate(lengths)]

    def _function(self, record: Any, index: int, arguments: int) -> Any:
        """One of the functions that the record knows."""
        kind = ir.FunctionType(_WORD, [_WORD] * arguments)
        return self._builder.inttoptr(load(self._builder, record, 8 * index), kind.as_pointer())

    def _keep_number(self, kind: types.Type, value: Any) -> Any:
        """The address of a number; room for another is at `_number`."""
        data = self._context.data_model_manager[kind].as_data(self._builder, value)
        self._number = cgutils.alloca_once(self._builder, data.type)
        return self._builder.ptrtoint(cgutils.alloca_once_value(self._builder, data), _WORD)


class Inline(Attempt):
    """A collective.

    Attributes
    ----------
    result : int64     After an attempt: the address of what receives, or 0.
    """

    def __init__(self, context: Any, builder: Any, result: types.Type, this: tuple, given: dict) -> None:
        self._result, self._given = result, given
        kind, value = given.get("x", (types.none, None))
        self._kind = bare_of(kind)
        self._has_x: Any = _BIT(kind is not types.none)
        self._x = value
        if isinstance(kind, types.Optional):
            optional = context.make_helper(builder, kind, value=value)
            self._has_x, self._x = cgutils.as_bool_bit(builder, optional.valid), optional.data
        self._array = make_array(self._kind)(context, builder, self._x) if isinstance(self._kind, types.Array) else None
        self._ndim = self._kind.ndim if isinstance(self._kind, types.Array) else 0
        bare = bare_of(result)
        extents = self._ndim + (bare.ndim if isinstance(bare, types.Array) else 0)
        super().__init__(context, builder, this, w.SLOT_EXTENTS + extents)

    def attempt(self, gil: Any, place: Any) -> tuple[Any, Any]:
        """Make the call, the GIL held, with its result in `place`: what was said, and the entry."""
        builder = self._builder
        said = cgutils.alloca_once_value(builder, _WORD(UNTRIED))
        result = cgutils.alloca_once_value(builder, _WORD(0))
        # Read once: while this waits, another thread may have the place for another communicator.
        record, entry, where = (self._of_slot(one) for one in (w.SLOT_RECORD, w.SLOT_ENTRY, w.SLOT_PLACE))
        self._what, self._maker = self._of_slot(w.SLOT_GIVES), self._of_slot(w.SLOT_MAKER)
        with builder.if_then(self._is_mine(gil, record)):
            with builder.if_then(self._is_known(record), likely=True):
                x, y = self._sent(), self._received(place)
                builder.store(y, result)
                # There may be no array for the result: then Python makes the call, or has raised an exception.
                with builder.if_then(builder.icmp_signed("!=", y, _WORD(_NOWHERE)), likely=True):
                    call = self._function(record, w.RECORD_CALL, 4)
                    builder.store(builder.call(call, [entry, x, where, y]), said)
        self.result = builder.load(result)
        return builder.load(said), entry

    def take_number(self, place: Any) -> None:
        """After the call: put a number that has been received into `place`."""
        context, builder = self._context, self._builder
        if self._number is not None:
            with builder.if_then(self._gives(w.GIVES_RESULT)):
                data = builder.load(self._number)
                self._give(place, context.data_model_manager[self._kind].from_data(builder, data))

    def _gives(self, what: int) -> Any:
        return self._builder.icmp_unsigned("==", self._what, _WORD(what))

    def _is_known(self, record: Any) -> Any:
        """Whether the slot is of this call: communicator, arguments, and extents."""
        builder = self._builder
        unstarted = load(builder, load(builder, record, 8 * w.RECORD_UNSTARTED), w.OBJECT_LENGTH)
        tests = [
            *self._is_in_force(record),
            builder.icmp_unsigned("==", unstarted, _WORD(0)),
            builder.icmp_unsigned("==", builder.zext(self._has_x, _WORD), self._of_slot(w.SLOT_HAS_X)),
        ]
        for argument, index in _COMPARED.items():
            if argument in self._given:
                tests.append(builder.icmp_unsigned("==", self._word_of(argument), self._of_slot(index)))
        if self._array is not None:
            fits = all_of(builder, self._extents_of(self._kind, self._x, w.SLOT_EXTENTS))
            tests.append(builder.or_(fits, builder.not_(self._has_x)))
        if "out" in self._given:
            kind, out = self._given["out"]
            tests += self._extents_of(kind, out, w.SLOT_EXTENTS + self._ndim)
            tests.append(self._gives(w.GIVES_RESULT))
        return all_of(builder, tests)

    def _word_of(self, argument: str) -> Any:
        kind, value = self._given[argument]
        if isinstance(kind, OpType):
            held = cgutils.create_struct_proxy(kind)(self._context, self._builder, value=value).object
            return self._builder.ptrtoint(held, _WORD)
        return self._context.cast(self._builder, value, kind, types.int64)

    def _sent(self) -> Any:
        """The address of what is sent."""
        builder = self._builder
        if self._kind is types.none:
            return _WORD(0)
        if self._array is None:
            return self._keep_number(self._kind, self._x)
        return builder.select(self._has_x, builder.ptrtoint(self._array.data, _WORD), _WORD(0))

    def _received(self, place: Any) -> Any:
        """The address of what receives: of an array, which is put into `place`, or of `_number`."""
        context, builder = self._context, self._builder
        bare: Any = bare_of(self._result)
        if bare is types.none:
            return _WORD(0)
        if self._number is not None:
            return builder.select(self._gives(w.GIVES_RESULT), builder.ptrtoint(self._number, _WORD), _WORD(0))
        if "out" in self._given:
            kind, out = self._given["out"]
            context.nrt.incref(builder, kind, out)
            self._give(place, out)
            return builder.ptrtoint(make_array(kind)(context, builder, out).data, _WORD)
        y = cgutils.alloca_once_value(builder, _WORD(0))
        with builder.if_then(self._gives(w.GIVES_RESULT), likely=True):
            has_maker = builder.icmp_unsigned("!=", self._maker, _WORD(0))
            with builder.if_else(has_maker, likely=False) as (large, little):
                with large:
                    builder.store(self._made_by_python(self._maker, bare, place), y)
                with little:
                    first = w.SLOT_EXTENTS + self._ndim
                    lengths = [self._of_slot(first + axis) for axis in range(bare.ndim)]
                    new = _empty_nd_impl(context, builder, bare, lengths)
                    self._give(place, new._getvalue())
                    builder.store(builder.ptrtoint(new.data, _WORD), y)
        if self._kind == bare:
            with builder.if_then(self._gives(w.GIVES_X)):
                context.nrt.incref(builder, bare, self._x)
                self._give(place, self._x)
        return builder.load(y)

    def _made_by_python(self, maker: Any, bare: Any, place: Any) -> Any:
        """The address of an array that `maker` has made in the heap; _NOWHERE if it has raised."""
        context, builder = self._context, self._builder
        pyapi = context.get_python_api(builder)
        y = cgutils.alloca_once_value(builder, _WORD(_NOWHERE))
        made = pyapi.call_function_objargs(builder.inttoptr(maker, pyapi.pyobj), ())
        with builder.if_then(cgutils.is_not_null(builder, made), likely=True):
            native = pyapi.to_native_value(bare, made)
            pyapi.decref(made)
            with builder.if_then(builder.not_(native.is_error), likely=True):
                self._give(place, native.value)
                array = make_array(bare)(context, builder, native.value)
                builder.store(builder.ptrtoint(array.data, _WORD), y)
        return builder.load(y)

    def _give(self, place: Any, native: Any) -> None:
        if isinstance(self._result, types.Optional):
            native = self._context.make_optional_value(self._builder, self._result.type, native)
        self._builder.store(native, place)


def all_of(builder: Any, tests: list) -> Any:
    known = _BIT(1)
    for test in tests:
        known = builder.and_(known, test)
    return known


_names = count()


def _name(context: Any) -> str:
    return f"{context.fndesc.mangled_name}.dcomp.{next(_names)}"


def load(builder: Any, address: Any, offset: int) -> Any:
    return builder.load(builder.inttoptr(builder.add(address, _WORD(offset)), _WORD.as_pointer()))


def can_be_inline(name: str, result: types.Type, this: tuple, given: dict) -> bool:
    """Whether the types of a call allow it."""
    if (
        name not in _NAMES
        or isinstance(result, ArrivedType)
        or not (this[0] is types.none or isinstance(this[0], CommunicatorType))
    ):
        return False
    kinds = {argument: kind for argument, (kind, _) in given.items()}
    if not kinds.keys() <= {"x", "out", *_TEXTS, *_COMPARED} or not isinstance(kinds.get("op", reduction), OpType):
        return False
    if not all(isinstance(kinds[one], types.Integer) for one in _COMPARED.keys() - {"op"} & kinds.keys()):
        return False
    if not all(isinstance(kinds[one], types.StringLiteral) for one in _TEXTS & kinds.keys()):
        return False
    bare, x, out = bare_of(result), bare_of(kinds.get("x", types.none)), kinds.get("out")
    for one in (bare, x):
        if isinstance(one, types.Array) and one.layout != "C":
            return False
    if isinstance(bare, types.Array) and not bare.mutable:
        return False
    if isinstance(x, types.Array) or x is types.none:
        if name == "bcast" and x is not types.none:  # the root gets it back
            return out is None and x == bare
        return out is None or out == bare
    return x == bare == kinds["x"] and out is None and name in _OF_NUMBERS
