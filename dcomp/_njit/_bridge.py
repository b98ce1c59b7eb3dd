"""From compiled code to Python: makes the call of a line of compiled code, as if Python had come to that line."""

import sys
import threading
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

import dcomp

from .. import _stopping
from ._stamp import Stamped

STOP_WORDS = "dcomp_stop_words"
# Here, for whatever compiled code is loaded that has them has a `Bridge`, too.
llvm.add_symbol(STOP_WORDS, _stopping.words.ctypes.data)


class Site(NamedTuple):
    """A call in compiled code: what it says besides its arrays, known when it is compiled."""

    file: str
    line: int
    function: str  # in which it is
    name: str  # of what is called
    given: tuple[str, ...]  # names of the arguments
    scalar: str | None  # dtype of x, if that is a number: Python's have another
    ndim: int  # of x
    result: tuple[np.dtype, int] | None  # dtype and dimensions that the code expects, -1 for a number
    # Whether what it must be is known only where it is used. The default is for cache entries of before a `Stamped`
    # pickled its content by itself: theirs has no such field, and is made before the stamp is compared.
    arrives: bool = False


MESSAGES = ("send", "recv", "sendrecv")


class Reraised(BaseException):
    """What compiled code raises: in Python it becomes the exception that a call has left, with its traceback."""

    def __new__(cls, *_: Any) -> Any:
        error, _left.error = _left.error, None
        raise error


_left = threading.local()


class Bridge(Stamped):
    """The way from a call in compiled code to Python; its content is the `Site`."""

    def call(self, slot: int, this: Any, *values: Any) -> Any:
        """Make the call of a method of an object, of COMM_WORLD if that is None; or look up an attribute.

        Returns
        -------
        The result; NotImplemented after an exception, which waits for `Reraised`: compiled code does not know that
        one is set, and may go on after it.
        """
        try:
            return _call(self.content, slot, this, values)
        except BaseException as error:
            _left.error = error
            return NotImplemented

    def go_on(self, this: Any, entry: int, said: int, y: int, *values: Any) -> Any:
        """Bring a call to its end that compiled code has begun: whether it has one. NotImplemented as from `call`."""
        comm = _comm(this)
        told: Site = self.content
        try:
            given = dict(zip(told.given, values, strict=True))
            rest = {"entry": entry, "said": said, "y": y, "x": given.get("x"), "out": given.get("out")}
            return _at(told.file, told.line, told.function)(comm._inline.go_on, rest)
        except BaseException as error:
            comm._channel.interrupt(told.name)  # on this rank alone: the others may have ended it
            _left.error = error
            return NotImplemented

    def finish(self, said: int, this: Any, *values: Any) -> Any:
        """The rest of a message of which compiled code has `said` what is done; NotImplemented as from `call`."""
        told: Site = self.content
        given = dict(zip(told.given, values, strict=True))
        comm = _comm(this)
        rest: dict[str, Any] = {"function": told.name, "said": said}
        rest |= {one: given[one] for one in ("x", "dest", "source", "recvtag", "out") if one in given}
        try:
            result = _at(told.file, told.line, told.function)(comm._finish_message, rest)
            if told.name == "sendrecv":
                _check_result(told, result)
            return result
        except BaseException as error:
            _left.error = error
            return NotImplemented

    def keep(self, has_begun: int, this: Any, kind: type, value: Any = None, trace: Any = None) -> Any:
        """Keep an exception of a signal's handler that came before `call` or `go_on` could; NotImplemented."""
        told: Site = self.content
        if has_begun:
            _comm(this)._channel.interrupt(told.name)
        error = value if isinstance(value, BaseException) else kind() if value is None else kind(value)
        _left.error = error.with_traceback(trace)
        return NotImplemented


class Arrived(NamedTuple):
    """What compiled code holds of a call that did not tell what it must be."""

    site: Site
    value: Any


class Expected(Stamped):
    """What it must be where it is used; the content is the dtype and the dimensions, as in a `Site`."""

    def take(self, arrived: Arrived) -> Any:
        """The result of the call; NotImplemented if it is something else, as from `Bridge.call`."""
        try:
            _check_result(arrived.site._replace(result=self.content), arrived.value)
        except BaseException as error:  # also of a signal's handler
            _left.error = error
            return NotImplemented
        return arrived.value


def _comm(this: Any) -> Any:
    """What a call is made of: COMM_WORLD where compiled code names nothing."""
    return dcomp.COMM_WORLD if this is None else this


def _call(site: Site, slot: int, this: Any, values: tuple) -> Any:
    if site.name.startswith("."):
        return getattr(this, site.name[1:])
    if sys._getframe(1).f_back is None:
        _stop(site)
    given = dict(zip(site.given, values, strict=True))
    if site.scalar is not None and given.get("x") is not None:
        given["x"] = np.dtype(site.scalar).type(given["x"])
    owner = dcomp if site.name == "wait_all" else _comm(this)
    result = _at(site.file, site.line, site.function)(getattr(owner, site.name), given)
    if site.name == "wait_all":
        return tuple(result)
    if site.arrives:
        return Arrived(site, result)
    _check_result(site, result)
    if slot and owner._inline is not None:
        if site.name in MESSAGES:
            owner._inline.fill_for_message(slot, given)
        else:
            owner._inline.fill(slot, site.name, given, site.ndim, site.result)
    return result


def _check_result(site: Site, result: Any) -> None:
    """It must be what the code was compiled for."""
    if site.result is not None and result is not None:
        dtype, dimensions = site.result
        got = -1 if isinstance(result, np.generic) else result.ndim
        if result.dtype != dtype or got != dimensions:
            raise TypeError(
                f"{site.name}: x must have the dtype and the number of dimensions that this rank's code was compiled "
                f"for, {_told(dtype, dimensions)}; got {_told(result.dtype, got)} (at {site.file}:{site.line} in "
                f"{site.function})."
            )


def _told(dtype: np.dtype, dimensions: int) -> str:
    return f"one {dtype}" if dimensions < 0 else f"{dtype} in {dimensions} dimensions"


def _stop(site: Site) -> None:
    """It was not Python that called, but a thread of a parallel region, which would drop an exception and go on."""
    print(
        f"dcomp: {site.name} at {site.file}:{site.line} in {site.function}: no collective can be called in a parallel "
        "region (prange). The job ends.",
        file=sys.stderr,
        flush=True,
    )
    dcomp.COMM_WORLD.mpi.Abort(1)


def _template(method: Any, given: dict) -> Any:
    return method(**given)


@cache
def _at(file: str, line: int, function: str) -> Any:
    """A function whose only line is a place in compiled code: reports and tracebacks tell of that."""
    code: CodeType = _template.__code__
    name = function.rpartition(".")[2]
    return FunctionType(code.replace(co_filename=file, co_firstlineno=line - 1, co_name=name), {}, name)
