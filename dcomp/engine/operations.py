"""Reductions as MPI operations, elements as MPI datatypes."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from mpi4py import MPI

from .._ops import Op, Predefined

_ON_BOOL = {
    "SUM": "LOR", "MAX": "LOR", "LOR": "LOR", "BOR": "LOR",
    "PROD": "LAND", "MIN": "LAND", "LAND": "LAND", "BAND": "LAND",
    "LXOR": "LXOR", "BXOR": "LXOR",
}  # fmt: skip


@cache
def mpi_operation(op: Op, dtype: np.dtype) -> tuple[MPI.Op, MPI.Datatype]:
    """The MPI operation and datatype that carry out `op` on elements of native `dtype`.

    MPI's own where it is defined and gives what NumPy gives; else a compiled C function; for dtypes that no
    compiler here knows (float16, longdouble, dates), NumPy's function called back from MPI.
    """
    if isinstance(op, Predefined):
        name = _ON_BOOL.get(op.name, op.name) if dtype.kind == "b" else op.name
        if dtype.kind == "b" or _is_mpi_own(op.name, dtype):
            return getattr(MPI, name), MPI.Datatype.fromcode(dtype.char)
        if op.combiner(dtype) is None:
            return _called_back(op), _opaque(dtype)
    return _compiled(op, dtype), _opaque(dtype)


def own_operation(op: Op, dtype: np.dtype) -> MPI.Op | None:
    """The operation if it is MPI's own on native `dtype`, a datatype of MPI's own too; else None."""
    if not isinstance(op, Predefined) or not (dtype.kind == "b" or _is_mpi_own(op.name, dtype)):
        return None
    try:
        op.check(dtype)
    except TypeError:
        return None
    return mpi_operation(op, dtype)[0]


def _is_mpi_own(name: str, dtype: np.dtype) -> bool:
    """Whether MPI defines the operation for the dtype (MPI-4.1, 6.9.2), with NumPy's result.

    The others are our own: see `Predefined._compile`.
    """
    if dtype.kind in "iu":
        return name not in ("MINLOC", "MAXLOC") and not (name == "SUM" and dtype.itemsize <= 2)
    return dtype.kind in "fc" and dtype.itemsize > 2 and name in ("SUM", "PROD")


@cache
def _opaque(dtype: np.dtype) -> MPI.Datatype:
    """An MPI datatype for elements that only an operation of ours looks into; one for each dtype."""
    datatype = MPI.BYTE.Create_contiguous(dtype.itemsize).Commit()
    _dtypes[MPI._handleof(datatype)] = dtype
    return datatype


_dtypes: dict[int, np.dtype] = {}  # from an opaque datatype's handle back to NumPy's


@cache
def _called_back(op: Predefined) -> MPI.Op:
    def combine(a: Any, b: Any, datatype: MPI.Datatype) -> None:
        dtype = _dtypes[MPI._handleof(datatype)]
        left, right = np.frombuffer(a, dtype), np.frombuffer(b, dtype)
        right[...] = op.function(left, right)

    return MPI.Op.Create(combine, commute=True)


@cache
def _compiled(op: Op, dtype: np.dtype) -> MPI.Op:
    """A native MPI operation from a compiled function (MPI_Op_create)."""
    return make_operation(op.combiner(dtype).address, op.commutative)


def make_operation(address: int, commutes: bool) -> MPI.Op:
    """An MPI operation from the address of a C function; mpi4py makes only Python ones."""
    library = ctypes.CDLL(MPI.__file__)  # its symbols are those of the MPI in use
    handle = (ctypes.c_void_p if MPI._sizeof(MPI.Op) == ctypes.sizeof(ctypes.c_void_p) else ctypes.c_uint)()
    code = library.MPI_Op_create(ctypes.c_void_p(address), ctypes.c_int(commutes), ctypes.byref(handle))
    if code != MPI.SUCCESS:
        raise MPI.Exception(code)
    return MPI.Op.fromhandle(handle.value or 0)


@cache
def fold_function(op: Op, dtype: np.dtype) -> int | None:
    """The address of a C function that combines arrays of native `dtype`; None where no compiler here knows it."""
    folder = op.folder(dtype)
    return None if folder is None else folder.address


@cache
def unit(itemsize: int) -> MPI.Datatype:
    """An MPI datatype that moves elements of this size unchanged."""
    known = {1: MPI.BYTE, 2: MPI.INT16_T, 4: MPI.INT32_T, 8: MPI.INT64_T}
    if itemsize in known:
        return known[itemsize]
    return MPI.BYTE.Create_contiguous(max(itemsize, 1)).Commit()
