"""How numba types and compiles a call: Python makes it, with the GIL, or `_inline` does without."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.core.imputils import lower_builtin, lower_getattr
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, Signature, infer_getattr, infer_global
from numba.core.typing.templates import signature as signature_of
from numba.np import numpy_support

from . import _arrived  # noqa: F401
from ._bridge import Bridge, Site
from ._inline import DONE, REFUSED, UNTRIED, Inline, can_be_inline
from ._inline_messages import Message, can_be_message
from ._objects import (
    CALL_OF_PLAN,
    KNOWN,
    NUMBERS,
    SINGLE,
    ArrivedType,
    CartType,
    CommunicatorType,
    GeneratorType,
    PlanType,
    RequestType,
    expected_of,
    has_failed,
    leave_if,
    omitted,
    raise_kept,
)
from ._rules import ATTRIBUTES, FUNCTIONS, METHODS, Given, Rule, bare_of, place, result_of
from ._single import draw, is_single
from ._stopping import ask

_OWNERS: dict[str, type[types.Type]] = {
    "Communicator": CommunicatorType, "CartComm": CartType, "Request": RequestType, "Plan": PlanType,
    "Generator": GeneratorType,
}  # fmt: skip


_DELIVER = ("wait", "__call__")  # methods that return what was asked for elsewhere


def know_functions(module: Any) -> None:
    """Have numba know the functions of `dcomp._functions`."""
    for name, rule in FUNCTIONS.items():
        function = getattr(module, name)
        python = inspect.signature(function)
        infer_global(function)(_template(name, rule, python))
        lower_builtin(function, types.VarArg(types.Any))(_lowering(name, tuple(python.parameters)))


def know_methods(owner: type) -> None:
    """Have numba know the methods and attributes of a class."""
    of = _OWNERS[owner.__name__]
    methods = {name: _know_method(of, owner, name, rule) for name, rule in METHODS[owner.__name__].items()}
    attributes = ATTRIBUTES.get(owner.__name__, {})
    for name in attributes.keys() - set(KNOWN):
        lower_getattr(of, name)(_getter(name, attributes[name]))

    @infer_getattr
    class Attributes(AttributeTemplate):
        key = of

        def generic_resolve(self, value: types.Type, name: str) -> Any:  # type: ignore[override]
            if name in methods:
                return types.BoundFunction(methods[name], value)
            if name in attributes:
                return attributes[name](value)
            if type(value) is CommunicatorType and of is CommunicatorType:  # of others more than one template knows
                raise TypeError(f"{name}: compiled code does not know it of a communicator; use it in Python{place()}.")
            return None


def _know_method(of: type[types.Type], owner: type, name: str, rule: Rule) -> type[AbstractTemplate]:
    python = inspect.signature(getattr(owner, name))
    _, *parameters = python.parameters.values()
    base = _template(f"{owner.__name__}.{name}", rule, python.replace(parameters=parameters))

    class Method(base):  # type: ignore[misc, valid-type]
        def generic(self, args: tuple, kws: dict) -> Signature:
            return super().generic(args, kws).replace(recvr=self.this)

    names = ("self", *(parameter.name for parameter in parameters))
    lower_builtin(Method.key, of, types.VarArg(types.Any))(_lowering(name, names))
    return Method


def _template(path: str, rule: Rule, python: inspect.Signature) -> type[AbstractTemplate]:
    class Template(AbstractTemplate):
        key: Any = f"dcomp.{path}"
        this: types.Type | None = None  # the object that has the method
        prefer_literal = path.endswith("_combine")  # whose texts the code keeps

        def generic(self, args: tuple, kws: dict) -> Signature:
            return _sign(path.rpartition(".")[2], rule, python, self.this, args, kws)

    return Template


def _sign(
    name: str, rule: Rule, python: inspect.Signature, this: types.Type | None, args: tuple, kws: dict
) -> Signature:
    """The signature of a call, of which numba need not know what parameters stand for that are not given.

    Raises
    ------
    TypeError     If there is none. Of numba's own errors it would show those of all ways that it has tried.
    """
    try:
        given = python.bind(*args, **kws).arguments
        types_of = Given(given)
        if this is not None:
            types_of["self"] = this
        result = result_of(name, rule, types_of)
    except TypeError as error:
        told = str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}"
        raise TypeError(f"{told} (in compiled code{place()}).") from None
    kinds = [given.get(one, omitted) for one in python.parameters]
    return signature_of(result, *kinds).replace(pysig=_for_numba(python))


def _for_numba(python: inspect.Signature) -> inspect.Signature:
    """The same parameters, none for keywords alone, which numba does not know."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(one, kind, default=None) for one in python.parameters])


def _getter(name: str, rule: Callable[[Any], types.Type]) -> Callable:
    def get(context: Any, builder: Any, of: types.Type, value: Any) -> Any:
        return _lower_call(context, builder, rule(of), f".{name}", {"self": (of, value)}, None)

    return get


def _lowering(name: str, parameters: tuple[str, ...]) -> Callable:
    def lower(context: Any, builder: Any, sig: Signature, args: tuple, loc: Any = None) -> Any:
        given = {
            one: (kind, value)
            for one, kind, value in zip(parameters, sig.args, args, strict=True)
            if kind is not omitted
        }
        return _lower_call(context, builder, sig.return_type, name, given, loc)

    return lower


def _lower_call(context: Any, builder: Any, result: types.Type, name: str, given: dict, loc: Any) -> Any:
    """The code of a call: where it has been made before, and can be, without Python."""
    function = context.fndesc.qualname
    if "parfor_gufunc" in function:
        raise errors.NumbaError(f"{name}: no collective can be called in a parallel region (prange)", loc=loc)
    x = bare_of(given["x"][0]) if "x" in given else types.none
    scalar = str(numpy_support.as_dtype(x)) if isinstance(x, NUMBERS) else None
    bare = bare_of(result)
    if is_single(name, given):
        return draw(context, builder, name, given)
    array = None
    if isinstance(bare, types.Array) or (isinstance(bare, SINGLE) and ("x" in given or name in _DELIVER)):
        array = expected_of(bare)
    this = given.pop("self", None) or given.pop("comm", (types.none, context.get_dummy_value()))
    file, line = ("", 0) if loc is None else (loc.filename, loc.line)
    arrives = isinstance(result, ArrivedType)
    site = Bridge(Site(file, line, function, name, tuple(given), scalar, getattr(x, "ndim", 0), array, arrives))

    if name == "stop_requested":
        return ask(context, builder, this, partial(_made_by_python, context, builder, site, this))
    call = _Call(context, builder, result, site, this, given)
    if can_be_message(name, result, this, given):
        message = Message(context, builder, name, result, this, given)
        said = message.attempt(call.gil, call.place)
        with builder.if_else(builder.icmp_signed("==", said, said.type(DONE)), likely=True) as (done, not_done):
            with done:
                call.leave()
            with not_done:
                is_untouched = builder.icmp_signed("==", said, said.type(REFUSED))
                with builder.if_else(is_untouched) as (untouched, begun):
                    with untouched:
                        call.make(message.slot, _NO)
                    with begun:
                        call.make(said, _YES, "finish")
    elif not can_be_inline(name, result, this, given):
        call.make(None, _NO)
    else:
        inline = Inline(context, builder, result, this, given)
        said, entry = inline.attempt(call.gil, call.place)
        with builder.if_else(builder.icmp_signed("==", said, said.type(DONE)), likely=True) as (done, not_done):
            with done:
                inline.take_number(call.place)
                call.leave()
            with not_done:
                call.go_on(inline, said, entry)
    return builder.load(call.place)


def _made_by_python(context: Any, builder: Any, site: Bridge, this: tuple, name: str, given: dict) -> Any:
    """The code of a call of this name at this site, which returns a truth."""
    other = Bridge(site.content._replace(name=name, given=tuple(given)))
    call = _Call(context, builder, types.boolean, other, this, given)
    call.make(None, _NO)
    return builder.load(call.place)


lower_builtin(CALL_OF_PLAN, PlanType)(_lowering("__call__", ("self",)))

_NO, _YES = ir.IntType(1)(0), ir.IntType(1)(1)


class _Call:
    """The code of one call, from where the GIL is taken to where it is given back; its result is in `place`."""

    def __init__(self, context: Any, builder: Any, result: types.Type, site: Bridge, this: tuple, given: dict) -> None:
        self._context, self._builder, self._result = context, builder, result
        self._this, self._given = this, given
        self._pyapi, self._env = context.get_python_api(builder), context.get_env_manager(builder)
        self.place = cgutils.alloca_once(builder, context.get_value_type(result))
        builder.store(cgutils.get_null_value(self.place.type.pointee), self.place)  # each time, as in a loop
        self.gil = self._pyapi.gil_ensure()
        self._site = self._env.read_const(self._env.add_const(site))

    def leave(self) -> None:
        """Give the GIL back."""
        self._pyapi.gil_release(self.gil)

    def make(self, told: Any, has_begun: Any, name: str = "call") -> None:
        """Have Python make the call, or finish it; `has_begun`: the ranks have met for it, or x has been sent."""
        builder, pyapi, result = self._builder, self._pyapi, self._result
        told = pyapi.make_none() if told is None else pyapi.long_from_longlong(told)
        given = [self._boxed(*one) for one in (self._this, *self._given.values())]
        returned = self._ask(name, [told, *given], has_begun)
        with builder.if_else(has_failed(builder, pyapi, returned), likely=False) as (failed, succeeded):
            with failed:
                pyapi.decref(returned)
                self._fail()
            with succeeded:
                if isinstance(result, types.Array) and "out" in self._given and result == self._given["out"][0]:
                    native = self._given["out"][1]
                    self._context.nrt.incref(builder, result, native)
                elif result is types.none:
                    native = self._context.get_dummy_value()
                else:
                    unboxed = pyapi.to_native_value(result, returned)
                    self._leave_if(unboxed.is_error)
                    native = unboxed.value
                self._context.nrt.decref(builder, result, builder.load(self.place))  # of an attempt, else nothing
                builder.store(native, self.place)
                pyapi.decref(returned)
                self.leave()

    def go_on(self, inline: Inline, said: Any, entry: Any) -> None:
        """Have Python end what has been begun, or make the call."""
        builder, pyapi = self._builder, self._pyapi
        to_make, ended, failed = (ir.IntType(8)(one) for one in range(3))
        state = cgutils.alloca_once_value(builder, to_make)
        is_begun = builder.and_(
            builder.icmp_signed("!=", said, said.type(UNTRIED)), builder.icmp_signed("!=", said, said.type(REFUSED))
        )
        with builder.if_then(is_begun):
            numbers = [pyapi.long_from_longlong(one) for one in (entry, said, inline.result)]
            given = [self._boxed(*one) for one in self._given.values()]
            returned = self._ask("go_on", [self._boxed(*self._this), *numbers, *given], _YES)
            with builder.if_else(has_failed(builder, pyapi, returned), likely=False) as (with_error, without):
                with with_error:
                    builder.store(failed, state)
                with without:
                    is_true = builder.icmp_unsigned("==", returned, pyapi.get_c_object("_Py_TrueStruct"))
                    builder.store(builder.select(is_true, ended, to_make), state)
            pyapi.decref(returned)
        with cgutils.if_unlikely(builder, builder.icmp_unsigned("==", builder.load(state), failed)):
            self._fail()
        with builder.if_then(builder.icmp_unsigned("==", builder.load(state), ended)):
            inline.take_number(self.place)
            self.leave()
        with builder.if_then(builder.icmp_unsigned("==", builder.load(state), to_make)):
            self.make(inline.slot, is_begun)

    def _ask(self, name: str, arguments: list, has_begun: Any) -> Any:
        """What a function of `_bridge` returns for the site and these objects, whose references are given away."""
        pyapi, builder = self._pyapi, self._builder
        returned = cgutils.alloca_once(builder, pyapi.pyobj)
        builder.store(pyapi.get_null_object(), returned)
        # The handler of a signal may raise before the function has begun: in Python code of numba's that makes objects.
        with builder.if_then(cgutils.is_null(builder, pyapi.err_occurred()), likely=True):
            function = pyapi.object_getattr_string(self._site, name)
            with builder.if_then(cgutils.is_not_null(builder, function), likely=True):
                builder.store(pyapi.call_function_objargs(function, arguments), returned)
                pyapi.decref(function)
        for one in arguments:
            pyapi.decref(one)
        with cgutils.if_unlikely(builder, cgutils.is_null(builder, builder.load(returned))):
            raised = [cgutils.alloca_once(builder, pyapi.pyobj) for _ in range(3)]
            pyapi.err_fetch(*raised)
            function = pyapi.object_getattr_string(self._site, "keep")
            self._leave_if(cgutils.is_null(builder, function))
            begun = pyapi.long_from_longlong(builder.zext(has_begun, ir.IntType(64)))
            values = [begun, self._boxed(*self._this), *map(builder.load, raised)]
            builder.store(pyapi.call_function_objargs(function, values), returned)
            for one in (function, *values):
                pyapi.decref(one)
            self._leave_if(cgutils.is_null(builder, builder.load(returned)))
        return builder.load(returned)

    def _fail(self) -> None:
        """Leave with the exception that `_bridge` keeps, and without what an attempt has made."""
        builder = self._builder
        self._context.nrt.decref(builder, self._result, builder.load(self.place))
        builder.store(cgutils.get_null_value(self.place.type.pointee), self.place)
        self.leave()
        raise_kept(self._context, builder)

    def _leave_if(self, condition: Any) -> None:
        leave_if(self._context, self._builder, self._pyapi, self.gil, condition)

    def _boxed(self, kind: types.Type, value: Any) -> Any:
        """A new reference to an argument as Python's object."""
        if isinstance(kind, types.Omitted | types.StringLiteral):
            known = kind.value if isinstance(kind, types.Omitted) else kind.literal_value
            found = self._env.read_const(self._env.add_const(known))
            self._pyapi.incref(found)
            return found
        self._context.nrt.incref(self._builder, kind, value)  # boxing takes one
        return self._pyapi.from_native_value(kind, value, self._env)
