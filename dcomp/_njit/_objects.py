"""Communicators, requests, reductions and generators as numba's types.

They are Python objects, whose references compiled code counts.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import RETCODE_USEREXC
from numba.core.imputils import lower_builtin, lower_constant, lower_getattr
from numba.core.typing.templates import Signature, signature
from numba.extending import NativeValue, box, models, register_model, unbox
from numba.np import numpy_support

from ._bridge import Reraised
from ._stamp import SOURCES, revive_type, stamp


class Held(types.Type):
    """A Python object that compiled code passes on."""

    arguments: tuple = ()  # of `__init__`

    def __reduce__(self) -> tuple:
        """In numba's cache lie types of what other sources unpack."""
        return revive_type, (SOURCES, type(self).__name__, self.arguments)


class CommunicatorType(Held):
    """A communicator: with its rank and size, which compiled code asks for often."""

    def __init__(self) -> None:
        super().__init__("dcomp.Communicator")


class CartType(CommunicatorType):
    """A communicator whose ranks form a grid of so many axes."""

    def __init__(self, ndim: int) -> None:
        Held.__init__(self, f"dcomp.CartComm({ndim})")
        self.ndim = ndim
        self.arguments = (ndim,)


class RequestType(Held):
    """A call in flight, and what it will return."""

    def __init__(self, result: types.Type) -> None:
        super().__init__(f"dcomp.Request({result})")
        self.result = result
        self.arguments = (result,)


class PlanType(Held, types.Callable):
    """A plan, and what each of its calls returns."""

    def __init__(self, result: types.Type) -> None:
        super().__init__(f"dcomp.Plan({result})")
        self.result = result
        self.arguments = (result,)

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Signature:
        """``plan()``, as numba asks what can be called."""
        if args or kws:
            raise TypeError("plan() takes no arguments")
        return signature(self.result, recvr=self)

    def get_call_signatures(self) -> tuple:
        return (), False

    def get_impl_key(self, sig: Signature) -> str:
        return CALL_OF_PLAN


CALL_OF_PLAN = "dcomp.Plan.__call__"


class OpType(Held):
    """A reduction: any, so that a function is compiled once for all."""

    def __init__(self) -> None:
        super().__init__("dcomp.Op")


class GeneratorType(Held):
    """A generator of random numbers: with the address of its state, for single numbers."""

    def __init__(self) -> None:
        super().__init__("dcomp.random.Generator")


class ArrivedType(Held):
    """What a call returns whose arguments do not tell the dtype: it becomes what it is where it is used as one.

    From ``f(x if here else None)`` Python may make two calls, one for each branch, and a program may as well.
    """

    def __init__(self) -> None:
        super().__init__("dcomp: what arrives, of a dtype that is not told")

    def unify(self, typingctx: Any, other: types.Type) -> types.Type | None:
        """What it is if another branch has an array or a number; what arrives is in C order, whatever that has."""
        bare: Any = other.type if isinstance(other, types.Optional) else other
        if isinstance(bare, types.Array) and bare.layout == "F":
            bare = bare.copy(layout="A")
            return types.Optional(bare) if isinstance(other, types.Optional) else bare
        return types.unliteral(other) if isinstance(bare, (types.Array, *SINGLE)) else None


class OmittedType(types.Opaque):
    """What a call does not give: Python knows the default."""

    def __init__(self) -> None:
        super().__init__("dcomp.omitted")


NUMBERS = (types.Integer, types.Float, types.Complex, types.Boolean)
SINGLE = (*NUMBERS, types.NPDatetime, types.NPTimedelta)
KNOWN = ("rank", "size")  # of a communicator, in compiled code itself

omitted = OmittedType()
communicator, reduction, generator, arrived = CommunicatorType(), OpType(), GeneratorType(), ArrivedType()


@register_model(OpType)
@register_model(RequestType)
@register_model(PlanType)
@register_model(ArrivedType)
class _HeldModel(models.StructModel):
    def __init__(self, manager: Any, of: Any) -> None:
        members = [("owner", types.MemInfoPointer(types.voidptr)), ("object", types.voidptr)]
        super().__init__(manager, of, members + self.more)

    more: list = []


@register_model(CommunicatorType)
@register_model(CartType)
class _CommunicatorModel(_HeldModel):
    more = [(name, types.intp) for name in (*KNOWN, "record")]


@register_model(GeneratorType)
class _GeneratorModel(_HeldModel):
    more = [("record", types.intp)]


register_model(OmittedType)(models.OpaqueModel)


@unbox(Held)
def _unbox(of: Held, value: Any, c: Any) -> NativeValue:
    """Hold the object; an error, if it lacks what compiled code asks for, is the interpreter's."""
    held = cgutils.create_struct_proxy(of)(c.context, c.builder)
    held.object = value
    held.owner = c.pyapi.nrt_meminfo_new_from_pyobject(value, value)  # which takes a reference
    for name, _ in c.context.data_model_manager[of].more:
        number = c.pyapi.object_getattr_string(value, name if name in KNOWN else f"_{name}")
        setattr(held, name, c.pyapi.long_as_longlong(number))
        c.pyapi.decref(number)
    return NativeValue(
        held._getvalue(),
        is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()),
    )


@box(Held)
def _box(of: Held, value: Any, c: Any) -> Any:
    held = cgutils.create_struct_proxy(of)(c.context, c.builder, value=value)
    found = c.builder.bitcast(held.object, c.pyapi.pyobj)
    c.pyapi.incref(found)
    c.context.nrt.decref(c.builder, of, value)
    return found


def look_up(context: Any, builder: Any, pyapi: Any, module: str, name: str) -> Any:
    """An attribute of a module, at run time: a new reference, or NULL and an exception is set. The GIL is held."""
    imported = pyapi.import_module(context.insert_const_string(builder.module, module))
    found = cgutils.alloca_once_value(builder, pyapi.get_null_object())
    with cgutils.if_likely(builder, cgutils.is_not_null(builder, imported)):
        builder.store(pyapi.object_getattr_string(imported, name), found)
        pyapi.decref(imported)
    return builder.load(found)


def constant_of(context: Any, builder: Any, of: types.Type, fetch: Any) -> Any:
    """A native value of what `fetch(pyapi)` finds at run time; the exception leaves the function, if it fails."""
    stamp(context)
    pyapi = context.get_python_api(builder)
    gil = pyapi.gil_ensure()
    found = fetch(pyapi)
    leave_if(context, builder, pyapi, gil, cgutils.is_null(builder, found))
    native = pyapi.to_native_value(of, found)
    leave_if(context, builder, pyapi, gil, native.is_error)
    pyapi.decref(found)
    pyapi.gil_release(gil)
    return native.value


def leave_if(context: Any, builder: Any, pyapi: Any, gil: Any, condition: Any) -> None:
    """Return from the compiled function with the exception that Python has set."""
    with cgutils.if_unlikely(builder, condition):
        pyapi.gil_release(gil)
        context.call_conv.return_exc(builder)


def expected_of(of: Any) -> tuple[Any, int]:
    """NumPy's dtype of an array or a number, and its dimensions, -1 of a number: what `_bridge` compares."""
    if isinstance(of, types.Array):
        return numpy_support.as_dtype(of.dtype), of.ndim
    return numpy_support.as_dtype(of), -1


def has_failed(builder: Any, pyapi: Any, returned: Any) -> Any:
    """Whether `_bridge` keeps an exception for `raise_kept`."""
    return builder.icmp_unsigned("==", returned, pyapi.get_c_object("_Py_NotImplementedStruct"))


def raise_kept(context: Any, builder: Any) -> None:
    """As a `raise` of the exception that `_bridge` keeps: leave the function, or go on to `except`."""
    conv = context.call_conv
    conv.set_static_user_exc(builder, Reraised)
    with builder.if_then(builder.not_(conv.check_try_status(builder).in_try)):
        conv._return_errcode_raw(builder, RETCODE_USEREXC)


@lower_constant(Held)
def _constant(context: Any, builder: Any, of: Held, value: Any) -> Any:
    """A global variable of the user's: another run may have another object in it, so such code is not cached."""

    def fetch(pyapi: Any) -> Any:
        address = context.add_dynamic_addr(builder, id(value), info=repr(value))
        found = builder.bitcast(address, pyapi.pyobj)
        pyapi.incref(found)
        return found

    _kept.append(value)  # as long as there is code with its address
    return constant_of(context, builder, of, fetch)


_kept: list = []


@lower_builtin(operator.is_, Held, Held)
def _is(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    first, second = (
        cgutils.create_struct_proxy(of)(context, builder, value=value).object
        for of, value in zip(sig.args, args, strict=True)
    )
    return builder.icmp_unsigned("==", first, second)


@lower_constant(OmittedType)
def _constant_omitted(context: Any, builder: Any, of: types.Opaque, value: Any) -> Any:
    return context.get_dummy_value()


def _number(name: str) -> None:
    @lower_getattr(CommunicatorType, name)
    def get(context: Any, builder: Any, of: CommunicatorType, value: ir.Value) -> Any:
        return getattr(cgutils.create_struct_proxy(of)(context, builder, value=value), name)


for name in KNOWN:
    _number(name)
