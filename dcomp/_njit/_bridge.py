"""From compiled code to Python: makes the call of a line of compiled code, as if Python had come to that line."""

from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

import dcomp

from ._stamp import Stamped


class Site(NamedTuple):
    """A call in compiled code: what it says besides its arrays, known when it is compiled."""

    file: str
    line: int
    function: str  # in which it is
    name: str  # of what is called
    given: tuple[str, ...]  # names of the arguments
    scalar: str | None  # dtype of x, if that is a number: Python's have another
    result: tuple[np.dtype, int] | None  # dtype and dimensions of the array that the code expects


def call(site: Stamped, this: Any, *values: Any) -> Any:
    """Make the call of a method of an object, of COMM_WORLD if that is None; or look up an attribute.

    Raises
    ------
    TypeError     If the result is another kind of array than the code was compiled for, besides the call's own errors.
    """
    told: Site = site.content
    if told.name.startswith("."):
        return getattr(this, told.name[1:])
    given = dict(zip(told.given, values, strict=True))
    if told.scalar is not None and given.get("x") is not None:
        given["x"] = np.dtype(told.scalar).type(given["x"])
    owner = dcomp if told.name == "wait_all" else dcomp.COMM_WORLD if this is None else this
    result = _at(told.file, told.line, told.function)(getattr(owner, told.name), given)
    if told.name == "wait_all":
        return tuple(result)
    if told.result is not None and result is not None:
        dtype, dimensions = told.result
        if result.dtype != dtype or result.ndim != dimensions:
            raise TypeError(
                f"{told.name}: x must have the dtype and the number of dimensions that this rank's code was compiled "
                f"for, {dtype} in {dimensions}; got {result.dtype} in {result.ndim} from the root (at {told.file}:"
                f"{told.line} in {told.function})."
            )
    return result


def _template(method: Any, given: dict) -> Any:
    return method(**given)


@cache
def _at(file: str, line: int, function: str) -> Any:
    """A function whose only line is a place in compiled code: reports and tracebacks tell of that."""
    code: CodeType = _template.__code__
    name = function.rpartition(".")[2]
    return FunctionType(code.replace(co_filename=file, co_firstlineno=line - 1, co_name=name), {}, name)
