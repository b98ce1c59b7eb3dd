"""Small collectives of ranks on several nodes: the data travels with the claims, in one exchange instead of two.

What a rank gives is put beside its claim, and the reduction of the claims combines it on the way. A `bcast` is the
bitwise "or" of what the root has with nothing from the others. Whether the data of a call travels is known from the
call, so all ranks do alike if their calls agree; if they do not, what has been combined is not looked at.
"""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np
from mpi4py import MPI

from .._ops import PREDEFINED, Predefined
from .._table import Shape
from ..kernels import joint
from . import mpi
from .claims import Claims
from .operations import fold_function, make_operation
from .segment import address_of

# By size: types of C that have other names and the same size are the same dtype to NumPy, and to the claims.
_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "c8", "c16")
_OPS = [op.name for op in PREDEFINED]
_ROWS = ("barrier", "bcast", "reduce", "allreduce")

# What the compiled function looks at: where an operation on a dtype is, in this process.
_table = np.zeros(joint.FOLDS + len(_OPS) * len(_DTYPES), np.int64)


@cache
def _operation() -> tuple[MPI.Op, MPI.Datatype]:
    """The reduction of messages, and their datatype."""
    joint.merge.ctypes(address_of(_table), 0, 0, 0)
    return make_operation(joint.merge.address, True), MPI.INT64_T.Create_contiguous(joint.WORDS).Commit()


@cache
def _code(op: Any, dtype: np.dtype) -> int:
    """The place of an operation on a dtype in the table, which has it from now on; NOTHING if it has no place.

    The same on every rank.
    """
    if not isinstance(op, Predefined) or dtype.str[1:] not in _DTYPES:
        return joint.NOTHING
    function = fold_function(op, dtype)
    if function is None:
        return joint.NOTHING
    code = joint.FOLDS + _OPS.index(op.name) * len(_DTYPES) + _DTYPES.index(dtype.str[1:])
    _table[code] = function
    return code


class JointClaims(Claims):
    """Claims that take a small array along; collective over `sync`."""

    def __init__(self, sync: MPI.Intracomm) -> None:
        self._sync = sync
        operation, datatype = _operation()
        mine, agreed = np.zeros(joint.WORDS, np.int64), np.zeros(joint.WORDS, np.int64)
        self._data, self._result = (array[joint.DATA :].view(np.uint8) for array in (mine, agreed))
        self._data_view = memoryview(self._data)  # type: ignore[arg-type]
        self._prepare(mine, agreed, datatype, operation)
        self._has_put = False

    def begin(self, claim: bytes) -> Callable[[], Any]:
        """Tell a claim, and what has been put beside it; else nothing of an earlier call's goes along."""
        if not self._has_put:
            self._mine[joint.CODE] = joint.NOTHING
        self._has_put = False
        return super().begin(claim)

    def put(self, call: Any) -> None:
        """Have the next exchange take along what this call gives, if it is one of those."""
        self._has_put = True
        try:
            self._put(call)
        except Exception as error:  # the others are to hear of it
            call.terms, call.fault = None, error

    def _put(self, call: Any) -> None:
        mine, terms = self._mine, call.terms
        mine[joint.CODE] = joint.NOTHING
        if terms is None or terms.row.name not in _ROWS:
            return
        if terms.row.shape is Shape.BROADCAST:
            mine[joint.CODE] = joint.EITHER
            self._data[:] = 0
            if terms.is_root and call.x.nbytes <= joint.ROOM:
                self._data_view[: call.x.nbytes] = call.x.tobytes()
        elif terms.row.reduces and call.x.nbytes <= joint.ROOM:
            native = call.x.dtype.newbyteorder("=")
            mine[joint.CODE], mine[joint.COUNT] = _code(terms.op, native), call.x.size
            self._data_view[: call.x.nbytes] = call.x.astype(native, copy=False).tobytes()

    def share(self, route: mpi.Route) -> "JointRoute | None":
        """The route of a call whose data travels with the claims; None if it does not. All ranks say the same."""
        terms = route.terms
        if terms.row.name not in _ROWS:
            return None
        shape = route.shape if terms.x_shape is None else terms.x_shape
        if route.dtype.itemsize == 0 or prod(shape or ()) * route.dtype.itemsize > joint.ROOM:
            return None
        if terms.row.reduces and _code(terms.op, route.native) == joint.NOTHING:
            return None
        return JointRoute(self, route)

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of what the last exchange has combined."""
        return self._result[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape).copy()


class JointRoute:
    """How one rank takes part in a call whose data has travelled with the claims."""

    is_small = False

    def __init__(self, claims: JointClaims, route: mpi.Route) -> None:
        self._claims, self.mpi = claims, route
        self.terms, self.shape, self.scalar, self.dtype = route.terms, route.shape, route.scalar, route.dtype
        self._sends_only = route.terms.row.shape is Shape.BROADCAST and route.terms.is_root

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> mpi.Transfer:
        """MPI's transfer, for calls that do not block."""
        return self.mpi.bind(x, out)

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        """The result of a blocking call, of which the exchange has just ended."""
        if self.shape is None:
            return None
        received = x if self._sends_only else self._claims.take(self.shape, self.mpi.native)
        return self.mpi.deliver(received, out)
