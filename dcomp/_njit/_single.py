"""Single random numbers in compiled code: drawn there, by the state of the generator alone."""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from ..kernels.random import next_below, next_exponential, next_normal, next_random, state_at
from ._objects import GeneratorType
from ._stamp import stamp


def _random(record: int) -> float:
    return next_random(state_at(record))


def _normal(record: int, loc: float, scale: float) -> float:
    if not (abs(loc) < inf and 0 <= scale < inf):
        raise ValueError("normal: loc and scale must be finite, and scale not negative")
    return next_normal(state_at(record), loc, scale)


def _exponential(record: int, scale: float) -> float:
    if not 0 <= scale < inf:
        raise ValueError("exponential: scale must be finite and not negative")
    return next_exponential(state_at(record), scale)


def _integers(record: int, low: int, high: int) -> Any:
    if not low < high:
        raise ValueError("integers: low must be less than high")
    return low + np.int64(next_below(state_at(record), np.uint64(high) - np.uint64(low)))


_REAL, _WHOLE = types.float64, types.int64
#: By name: the function, what it returns, and its parameters, each with its type and what it is if it is not given.
_DRAWN: dict[str, tuple[Callable, types.Type, dict[str, tuple[types.Type, Any]]]] = {
    "random": (_random, _REAL, {}),
    "normal": (_normal, _REAL, {"loc": (_REAL, 0.0), "scale": (_REAL, 1.0)}),
    "exponential": (_exponential, _REAL, {"scale": (_REAL, 1.0)}),
    "integers": (_integers, _WHOLE, {"low": (_WHOLE, 0), "high": (_WHOLE, 0)}),
}


def is_single(name: str, given: dict) -> bool:
    """Whether a call, with `self` among what is given, draws one number from a generator."""
    this, _ = given.get("self", (None, None))
    return isinstance(this, GeneratorType) and name in _DRAWN and not given.keys() & {"n", "out"}


def draw(context: Any, builder: Any, name: str, given: dict) -> Any:
    """The code of such a call."""
    stamp(context)
    of, value = given["self"]
    given = {one: told for one, told in given.items() if told[0] is not types.none}
    record = cgutils.create_struct_proxy(of)(context, builder, value=value).record
    if name == "integers" and "high" not in given:
        given = {"high": given["low"]}
    function, result, parameters = _DRAWN[name]
    kinds: list[types.Type] = [types.intp]
    values = [record]
    for parameter, (kind, default) in parameters.items():
        there, one = given.get(parameter, (None, None))
        kinds.append(kind)
        values.append(context.get_constant(kind, default) if there is None else context.cast(builder, one, there, kind))
    return context.compile_internal(builder, function, signature(result, *kinds), values)
