"""What each call returns, known from the types of its arguments when the code is compiled."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.typeinfer import CallConstraint, GetAttrConstraint

from ._objects import KNOWN, SINGLE, CartType, CommunicatorType, OpType, PlanType, RequestType, arrived, communicator

Rule = Callable[[str, "Given"], types.Type]
FUNCTIONS: dict[str, Rule] = {}  # of these all but `wait_all` are methods of communicators, too
METHODS: dict[str, dict[str, Rule]] = {
    "Communicator": {}, "CartComm": {}, "Request": {}, "Plan": {}, "Generator": {},
}  # fmt: skip
ATTRIBUTES: dict[str, dict[str, Callable[[Any], types.Type]]] = {"Communicator": {}, "CartComm": {}}


class Given(dict):
    """The types of the arguments of a call, by name; omitted ones are None."""

    def __missing__(self, name: str) -> types.Type:
        return types.none


def _returns(*names: str, starts: bool = True) -> Callable:
    """A rule for functions and methods; also for their non-blocking and their persistent twins, if they have some."""

    def note(rule: Rule) -> Rule:
        for name in names:
            FUNCTIONS[name] = rule
            if starts:
                FUNCTIONS[f"i{name}"] = _request
            if starts and name != "recv":
                FUNCTIONS[f"{name}_init"] = _plan
        METHODS["Communicator"] |= FUNCTIONS
        return rule

    return note


def _returns_only(of: str, *names: str) -> Callable:
    """A rule for methods."""

    def note(rule: Rule) -> Rule:
        METHODS[of] |= dict.fromkeys(names, rule)
        return rule

    return note


def _request(name: str, given: Given) -> types.Type:
    return RequestType(FUNCTIONS[name[1:]](name, given))


def _plan(name: str, given: Given) -> types.Type:
    return PlanType(FUNCTIONS[name.removesuffix("_init")](name, given))


# Collectives


@_returns("barrier")
def _nothing(name: str, given: Given) -> types.Type:
    return types.none


@_returns("allreduce", "scan", "exscan")
def _alike(name: str, given: Given) -> types.Type:
    x = _the_x(name, given)
    return _out_or(given, _new(x) if isinstance(x, types.Array) else x)


@_returns("stop_requested", starts=False)
def _truth(name: str, given: Given) -> types.Type:
    return types.boolean


@_returns("time_left", starts=False)
def _seconds(name: str, given: Given) -> types.Type:
    return types.float64


@_returns("_combine", starts=False)
def _combined(name: str, given: Given) -> types.Type:
    return _new(_the_x(name, given))


@_returns("reduce_scatter", "alltoall")
def _cut(name: str, given: Given) -> types.Type:
    x = _the_x(name, given)
    _need_dimension(name, x)
    return _out_or(given, _new(x))


@_returns("allgather")
def _joined(name: str, given: Given) -> types.Type:
    x = _the_x(name, given)
    return _out_or(given, _new(x) if isinstance(x, types.Array) and x.ndim else types.Array(_element(x), 1, "C"))


@_returns("reduce")
def _alike_on_root(name: str, given: Given) -> types.Type:
    return _or_none(_alike(name, given))


@_returns("gather")
def _joined_on_root(name: str, given: Given) -> types.Type:
    return _or_none(_joined(name, given))


@_returns("bcast", "scatter")
def _from_root(name: str, given: Given) -> types.Type:
    out, x = bare_of(given["out"]), bare_of(given["x"])
    like = x if x is not types.none else out
    if like is types.none:
        if name in ("bcast", "scatter"):
            return arrived
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


@_returns("send", starts=False)
def _sent(name: str, given: Given) -> types.Type:
    _the_x(name, given)
    return types.none


@_returns("isend", starts=False)
def _being_sent(name: str, given: Given) -> types.Type:
    return RequestType(_sent(name, given))


@_returns("recv")
def _received(name: str, given: Given) -> types.Type:
    if not is_given(given, "out"):
        raise TypeError(
            f"{name}: out must be given in compiled code, since only the message tells the dtype and the number of "
            "dimensions; got none"
        )
    return _out_or(given, types.none)


@_returns("sendrecv", starts=False)
def _exchanged(name: str, given: Given) -> types.Type:
    """As what is sent, where no `out` tells; None from no one."""
    x = _the_x(name, given)
    if is_given(given, "out"):
        return _out_or(given, x)
    if given.get("source") is types.none:
        return types.none
    result = _new(x) if isinstance(x, types.Array) else x
    return _or_none(result) if isinstance(given["source"], types.Optional) else result


@_returns("probe", starts=False)
def _envelope(name: str, given: Given) -> types.Type:
    return types.NamedUniTuple(types.intp, 2, sys.modules["dcomp._point_to_point"].Envelope)


# Requests


@_returns_only("Request", "wait")
def _waited_for(name: str, given: Given) -> types.Type:
    return given["self"].result


@_returns_only("Request", "test")
def _tested(name: str, given: Given) -> types.Type:
    result = given["self"].result
    return types.Tuple((types.boolean, result if result is types.none else _or_none(result)))


@_returns_only("Plan", "start", "free")
def _started(name: str, given: Given) -> types.Type:
    return types.none


@_returns_only("Plan", "wait")
def _played(name: str, given: Given) -> types.Type:
    return given["self"].result


def _all_waited_for(name: str, given: Given) -> types.Type:
    kinds: tuple[Any, ...] = getattr(given["requests"], "types", (None,))
    if not all(isinstance(kind, RequestType) for kind in kinds):
        raise TypeError(f"{name}: requests must be a tuple of requests in compiled code; got {given['requests']}")
    return types.Tuple([kind.result for kind in kinds])


# Communicators


@_returns("block", starts=False)
def _block(name: str, given: Given) -> types.Type:
    _need_integers(name, given, "n")
    return types.slice2_type


@_returns_only("Communicator", "dup")
def _another(name: str, given: Given) -> types.Type:
    return communicator


@_returns_only("Communicator", "split")
def _part(name: str, given: Given) -> types.Type:
    if not is_given(given, "color"):
        return types.none
    _need_integers(name, given, "color", "key")
    return _or_none(communicator) if isinstance(given["color"], types.Optional) else communicator


@_returns_only("Communicator", "free")
def _freed(name: str, given: Given) -> types.Type:
    return types.none


@_returns_only("Communicator", "cart")
def _grid(name: str, given: Given) -> types.Type:
    dims: Any = bare_of(given["dims"])
    lengths = getattr(dims, "types", ())
    if isinstance(dims, types.BaseTuple) and all(isinstance(types.unliteral(one), types.Integer) for one in lengths):
        return CartType(len(lengths))
    if dims is not types.none and not isinstance(dims, types.Integer):
        raise TypeError(f"{name}: dims must be an integer or a tuple in compiled code; got {dims}")
    return CartType(1 if isinstance(dims, types.Integer) else 2)


@_returns_only("CartComm", "shift")
def _neighbours(name: str, given: Given) -> types.Type:
    _need_integers(name, given, "axis", "step")
    return types.UniTuple(types.Optional(types.intp), 2)


@_returns_only("CartComm", "halo")
def _filled(name: str, given: Given) -> types.Type:
    for one in getattr(given["array"], "types", (given["array"],)):  # of a tuple
        _check_array(name, bare_of(one), "array")
    return types.none


@_returns_only("CartComm", "halo_init")
def _plan_of_filling(name: str, given: Given) -> types.Type:
    return PlanType(_filled(name, given))


@_returns_only("CartComm", "block")
def _blocks(name: str, given: Given) -> types.Type:
    shape = bare_of(given["shape"])
    if not isinstance(shape, (types.BaseTuple, types.Integer)):
        raise TypeError(f"{name}: shape must be an integer or a tuple in compiled code; got {shape}")
    return types.UniTuple(types.slice2_type, len(shape) if isinstance(shape, types.BaseTuple) else 1)


ATTRIBUTES["Communicator"] = {
    **dict.fromkeys(KNOWN, lambda of: types.intp),
    "node": lambda of: communicator,
    "leaders": lambda of: types.Optional(communicator),
}
ATTRIBUTES["CartComm"] = {
    "dims": lambda of: types.UniTuple(types.intp, of.ndim),
    "coords": lambda of: types.UniTuple(types.intp, of.ndim),
    "periods": lambda of: types.UniTuple(types.boolean, of.ndim),
}


FUNCTIONS["wait_all"] = _all_waited_for


# Random numbers


@_returns_only("Generator", "random", "normal", "exponential")
def _drawn(name: str, given: Given) -> types.Type:
    return _numbers(name, given, types.float64)


@_returns_only("Generator", "integers")
def _drawn_integers(name: str, given: Given) -> types.Type:
    _need_integers(name, given, "low", *(["high"] if is_given(given, "high") else []))
    result = _numbers(name, given, types.int64)
    if result is types.int64 and types.uint64 in (bare_of(given["low"]), bare_of(given["high"])):
        raise TypeError(f"{name}: low and high must be int64 for a single number in compiled code; got uint64")
    return result


@_returns_only("Generator", "choice")
def _chosen(name: str, given: Given) -> types.Type:
    chosen, a = _numbers(name, given, types.int64), bare_of(given["a"])
    if not isinstance(a, types.Array):
        _need_integers(name, given, "a")
        return chosen
    _check_array(name, a, "a")
    return types.Array(a.dtype, getattr(chosen, "ndim", 0) + a.ndim - 1, "C")


@_returns_only("Generator", "permutation")
def _in_order(name: str, given: Given) -> types.Type:
    x = bare_of(given["x"])
    return _new(_the_x(name, given)) if isinstance(x, types.Array) else _numbers(name, {"n": x}, types.int64)


@_returns_only("Generator", "shuffle")
def _shuffled(name: str, given: Given) -> types.Type:
    _need_dimension(name, _the_x(name, given))
    return types.none


def _numbers(name: str, given: dict, of: types.Type) -> types.Type:
    """Of `n` numbers: an array of as many dimensions as the shape has; of none, a single number."""
    n = bare_of(given.get("n", types.none))
    if is_given(Given(given), "dtype"):
        raise TypeError(f"{name}: dtype cannot be given in compiled code; pass an out of it")
    if n is types.none and not is_given(Given(given), "out"):
        return of
    lengths = getattr(n, "types", (n,))  # of a tuple
    if not lengths or not all(isinstance(types.unliteral(one), types.Integer) for one in lengths):
        raise TypeError(f"{name}: n must be an integer or a tuple of integers; got {n}")
    return _out_or(Given(given), types.Array(of, len(lengths), "C"))


# Parts of rules


def bare_of(of: types.Type) -> types.Type:
    """What an argument is if it is not None."""
    if isinstance(of, types.Omitted):
        return types.none
    return types.unliteral(of.type if isinstance(of, types.Optional) else of)


def is_given(given: Given, name: str) -> bool:
    return bare_of(given[name]) is not types.none


def _out_or(given: Given, new: types.Type) -> types.Type:
    """The type of `out`, or of a new array; of what may be either, in C order if `out` is."""
    out = given["out"]
    if isinstance(out, types.Array):
        return out
    if not isinstance(bare_of(out), types.Array):
        return new
    bare: Any = bare_of(out)
    return types.Array(bare.dtype, bare.ndim, "C" if bare.layout == "C" else "A")


def _or_none(of: types.Type) -> types.Type:
    return of if isinstance(of, types.Optional) else types.Optional(of)


def _the_x(name: str, given: Given) -> types.Type:
    x = bare_of(given["x"])
    _check_array(name, x, "x")
    return x


def _element(x: types.Type) -> types.Type:
    return x.dtype if isinstance(x, types.Array) else x


def _new(x: Any) -> types.Type:
    return types.Array(x.dtype, x.ndim, "C")


def _check_array(name: str, of: types.Type, argument: str) -> None:
    element = _element(of)
    is_known = isinstance(element, SINGLE) or (isinstance(of, types.Array) and isinstance(element, types.Record))
    if not is_known or element == types.float16:
        raise TypeError(
            f"{name}: {argument} must be an array of numbers (but float16), bool, dates, time spans or records, or one "
            f"such value that is no record; got {of}"
        )


def _need_dimension(name: str, x: types.Type) -> None:
    if not isinstance(x, types.Array) or not x.ndim:
        raise TypeError(f"{name}: x must have at least one dimension; got {x}")


def _need_integers(name: str, given: Given, *arguments: str) -> None:
    for argument in arguments:
        if argument in given and not isinstance(bare_of(given[argument]), types.Integer):
            raise TypeError(f"{name}: {argument} must be an integer; got {given[argument]}")


def result_of(name: str, rule: Rule, given: Given) -> types.Type:
    """What a call returns.

    Raises
    ------
    TypeError     If an argument cannot be compiled; it names the function and the argument.
    """
    if is_given(given, "out") and not isinstance(bare_of(given["out"]), types.Array):
        raise TypeError(f"{name}: out must be an array; got {given['out']}")
    if is_given(given, "op") and not isinstance(bare_of(given["op"]), OpType):
        raise TypeError(f"{name}: op must be a reduction such as dcomp.SUM, or a dcomp.Op; got {given['op']}")
    for argument in ("counts", "send_counts", "recv_counts"):
        kind = bare_of(given[argument])
        if isinstance(kind, types.List) and kind.reflected:
            raise TypeError(f"{name}: {argument} must be a tuple or an array in compiled code; got a list of Python's")
    _need_integers(name, given, "root", "axis", "split_axis", "concat_axis", "tag", "sendtag", "recvtag")
    for argument in ("dest", "source"):
        if is_given(given, argument):
            _need_integers(name, given, argument)
    if is_given(given, "comm") and not isinstance(bare_of(given["comm"]), CommunicatorType):
        raise TypeError(f"{name}: comm must be a communicator; got {given['comm']}")
    return rule(name, given)


def place() -> str:
    """Where in the user's code numba is looking for a type; only what asks for it knows."""
    frame = inspect.currentframe()
    while frame is not None:
        asking = frame.f_locals.get("self")
        if isinstance(asking, (CallConstraint, GetAttrConstraint)):
            return f" at {asking.loc.filename}:{asking.loc.line}"
        frame = frame.f_back
    return ""
