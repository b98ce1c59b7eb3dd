"""What the calls return, known from the types of their arguments, and how compiled code makes them."""

import inspect
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils, errors
from numba.core.imputils import lower_builtin
from numba.core.typeinfer import CallConstraint
from numba.core.typing.templates import AbstractTemplate, Signature, infer_global, signature
from numba.np import numpy_support

from ._objects import CommunicatorType, PredefinedType, UserOpType, leave_if, look_up, omitted

_NUMBERS = (types.Integer, types.Float, types.Complex, types.Boolean)
_ELEMENTS = (*_NUMBERS, types.Record, types.NPDatetime, types.NPTimedelta)
#: The collectives, and the kind of result each has.
_RESULTS: dict[str, Callable] = {}


def _returns(*names: str) -> Callable:
    def note(rule: Callable) -> Callable:
        _RESULTS.update(dict.fromkeys(names, rule))
        return rule

    return note


class _Given(dict):
    """The types of the arguments of a call, by name; omitted ones are None."""

    def __missing__(self, name: str) -> types.Type:
        return types.none


@_returns("barrier")
def _nothing(name: str, given: _Given) -> types.Type:
    return types.none


@_returns("allreduce", "scan", "exscan")
def _alike(name: str, given: _Given) -> types.Type:
    x = _the_x(name, given)
    return given["out"] if _is_given(given, "out") else _new(x) if isinstance(x, types.Array) else x


@_returns("reduce_scatter", "alltoall")
def _cut(name: str, given: _Given) -> types.Type:
    x = _the_x(name, given)
    _need_dimension(name, x)
    return given["out"] if _is_given(given, "out") else _new(x)


@_returns("allgather")
def _joined(name: str, given: _Given) -> types.Type:
    x = _the_x(name, given)
    if _is_given(given, "out"):
        return given["out"]
    return _new(x) if isinstance(x, types.Array) and x.ndim else types.Array(_element(x), 1, "C")


@_returns("reduce")
def _alike_on_root(name: str, given: _Given) -> types.Type:
    return _or_none(_alike(name, given))


@_returns("gather")
def _joined_on_root(name: str, given: _Given) -> types.Type:
    return _or_none(_joined(name, given))


@_returns("bcast", "scatter")
def _from_root(name: str, given: _Given) -> types.Type:
    out, x = _bare(given["out"]), _bare(given["x"])
    like = x if x is not types.none else out
    if like is types.none:
        raise TypeError(
            f"{name}: where no x is passed, compiled code must be given an out, to know the dtype and the number of "
            "dimensions of the result; or pass an x that is None on other ranks than the root"
        )
    _check_array(name, like, "x" if like is x else "out")
    if name == "scatter":
        _need_dimension(name, like)
    if not isinstance(like, types.Array):
        return like
    if out is not types.none and out is given["out"] and name == "scatter":
        return out
    layouts = {one.layout for one in (x, out) if isinstance(one, types.Array)}
    readonly = isinstance(x, types.Array) and not x.mutable  # which the root of bcast gets back
    layout = "C" if name == "scatter" and out is types.none else "C" if layouts == {"C"} else "A"
    kind: Any = layout
    return types.Array(like.dtype, like.ndim, kind, readonly=readonly and name == "bcast")


def _bare(of: types.Type) -> types.Type:
    """What an argument is if it is not None."""
    if isinstance(of, types.Omitted):
        return types.none
    return types.unliteral(of.type if isinstance(of, types.Optional) else of)


def _is_given(given: _Given, name: str) -> bool:
    return _bare(given[name]) is not types.none


def _or_none(of: types.Type) -> types.Type:
    return of if isinstance(of, types.Optional) else types.Optional(of)


def _the_x(name: str, given: _Given) -> types.Type:
    x = _bare(given["x"])
    _check_array(name, x, "x")
    return x


def _element(x: types.Type) -> types.Type:
    return x.dtype if isinstance(x, types.Array) else x


def _new(x: Any) -> types.Type:
    return types.Array(x.dtype, x.ndim, "C")


def _check_array(name: str, of: types.Type, argument: str) -> None:
    if not isinstance(of, (types.Array, *_ELEMENTS)) or not isinstance(_element(of), _ELEMENTS):
        raise TypeError(
            f"{name}: {argument} must be an array of numbers, bool, dates, time spans or records, or one such value; "
            f"got {of}"
        )


def _need_dimension(name: str, x: types.Type) -> None:
    if not isinstance(x, types.Array) or not x.ndim:
        raise TypeError(f"{name}: x must have at least one dimension; got {x}")


def _check_others(name: str, given: _Given) -> None:
    """The arguments besides x."""
    if _is_given(given, "out") and not isinstance(_bare(given["out"]), types.Array):
        raise TypeError(f"{name}: out must be an array; got {given['out']}")
    if _is_given(given, "op") and not isinstance(_bare(given["op"]), (PredefinedType, UserOpType)):
        raise TypeError(f"{name}: op must be a reduction such as dcomp.SUM, or a dcomp.Op; got {given['op']}")
    for argument in ("root", "axis", "split_axis", "concat_axis"):
        if argument in given and not isinstance(_bare(given[argument]), types.Integer):
            raise TypeError(f"{name}: {argument} must be an integer; got {given[argument]}")
    if _is_given(given, "comm") and not isinstance(_bare(given["comm"]), CommunicatorType):
        raise TypeError(f"{name}: comm must be a communicator; got {given['comm']}")


def _sign(name: str, python: inspect.Signature, args: tuple, kws: dict) -> Signature:
    """The signature of a call, of which numba need not know what parameters stand for that are not given.

    Raises
    ------
    TypeError     If there is none. Of numba's own errors it would show those of all ways that it has tried.
    """
    try:
        given = python.bind(*args, **kws).arguments
        types_of = _Given(given)
        _check_others(name, types_of)
        result = _RESULTS[name](name, types_of)
    except TypeError as error:
        told = str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}"
        raise TypeError(f"{told} (in compiled code{_place()}).") from None
    kinds = [given.get(one, omitted) for one in python.parameters]
    return signature(result, *kinds).replace(pysig=_for_numba(python))


def _for_numba(python: inspect.Signature) -> inspect.Signature:
    """The same parameters, none for keywords alone, which numba does not know."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(one, kind, default=None) for one in python.parameters])


def _place() -> str:
    """Where in the user's code the call is that numba is looking at; only what resolves it knows."""
    frame = inspect.currentframe()
    while frame is not None:
        constraint = frame.f_locals.get("self")
        if isinstance(constraint, CallConstraint):
            return f" at {constraint.loc.filename}:{constraint.loc.line}"
        frame = frame.f_back
    return ""


def know_functions(module: Any) -> None:
    """Have numba know the functions of `dcomp._functions`."""
    for name in _RESULTS:
        function = getattr(module, name)
        python = inspect.signature(function)
        infer_global(function)(_template(name, python))
        lower_builtin(function, types.VarArg(types.Any))(_lowering(name, tuple(python.parameters)))


def _template(name: str, python: inspect.Signature) -> type[AbstractTemplate]:
    class Template(AbstractTemplate):
        key: Any = f"dcomp.{name}"

        def generic(self, args: tuple, kws: dict) -> Signature:
            return _sign(name, python, args, kws)

    return Template


_methods: dict[str, type[AbstractTemplate]] = {}


def know_methods(module: Any) -> None:
    """Have numba know the methods of `dcomp._collectives`."""
    for name in _RESULTS:
        python = inspect.signature(getattr(module.Collectives, name))
        _, *parameters = python.parameters.values()
        _methods[name] = _method(_template(name, python.replace(parameters=parameters)))
        names = ("comm", *(parameter.name for parameter in parameters))
        lower_builtin(f"dcomp.{name}", CommunicatorType, types.VarArg(types.Any))(_lowering(name, names))


def _method(base: type[AbstractTemplate]) -> type[AbstractTemplate]:
    class Method(base):  # type: ignore[misc, valid-type]
        def generic(self, args: tuple, kws: dict) -> Signature:
            return super().generic(args, kws).replace(recvr=self.this)

    return Method


def method_of(of: types.Type, name: str) -> types.Type | None:
    """The type of a method, None if there is none of that name."""
    return types.BoundFunction(_methods[name], of) if name in _methods else None


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
    """The call: in Python, with the GIL; an exception leaves the compiled function as it is."""
    function = context.fndesc.qualname
    if "parfor_gufunc" in function:
        raise errors.NumbaError(f"{name}: no collective can be called in a parallel region (prange)", loc=loc)
    x, out = (_bare(given[one][0]) if one in given else types.none for one in ("x", "out"))
    scalar = str(numpy_support.as_dtype(x)) if isinstance(x, _NUMBERS) else None
    bare = _bare(result)
    array = (numpy_support.as_dtype(bare.dtype), bare.ndim) if isinstance(bare, types.Array) else None
    comm = given.pop("comm", (types.none, context.get_dummy_value()))
    site = (loc.filename, loc.line, function, name, tuple(given), scalar, array)

    pyapi, env = context.get_python_api(builder), context.get_env_manager(builder)
    gil = pyapi.gil_ensure()
    bridge = look_up(context, builder, pyapi, "dcomp._njit._bridge", "call")
    leave_if(context, builder, pyapi, gil, cgutils.is_null(builder, bridge))
    boxed = [_boxed(context, builder, pyapi, env, *one) for one in (comm, *given.values())]
    returned = pyapi.call_function_objargs(bridge, [env.read_const(env.add_const(site)), *boxed])
    for one in (bridge, *boxed):
        pyapi.decref(one)
    leave_if(context, builder, pyapi, gil, cgutils.is_null(builder, returned))
    if out is not types.none and result == given["out"][0]:  # the result is `out`
        native = given["out"][1]
        context.nrt.incref(builder, out, native)
    elif result is types.none:
        native = context.get_dummy_value()
    else:
        unboxed = pyapi.to_native_value(result, returned)
        leave_if(context, builder, pyapi, gil, unboxed.is_error)
        native = unboxed.value
    pyapi.decref(returned)
    pyapi.gil_release(gil)
    return native


def _boxed(context: Any, builder: Any, pyapi: Any, env: Any, kind: types.Type, value: Any) -> Any:
    """A new reference to an argument as Python's object."""
    if isinstance(kind, types.Omitted):
        found = env.read_const(env.add_const(kind.value))
        pyapi.incref(found)
        return found
    context.nrt.incref(builder, kind, value)  # boxing takes one
    return pyapi.from_native_value(kind, value, env)
