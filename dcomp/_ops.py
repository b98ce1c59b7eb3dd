"""The reductions: one row for each predefined one, and `Op` for the user's own.

A row holds the operation's NumPy twin, its identity and the dtypes it is defined for. How MPI carries it
out is the engine's matter (`engine/operations.py`).
"""

import hashlib
from collections.abc import Callable
from importlib import import_module
from types import CodeType
from typing import Any

import numpy as np


class Op:
    """A reduction of your own: `function(a, b)` on two elements, compiled once and used compiled everywhere.

    Parameters
    ----------
    function : callable
        Takes two scalars of the array's dtype and returns one; associative. For a structured dtype it
        takes two records and returns one of them, or a tuple with a value for every field. Whatever
        `numba.njit` compiles; an already compiled function is taken as it is.
    commutative : bool     If False, elements are combined in the order of the ranks.
    identity : scalar or tuple, optional     What rank 0 gets from `exscan`.

    Raises
    ------
    TypeError     From the collective that uses it, on every rank, if numba cannot compile `function`.

    Notes
    -----
    MPI_Op_create with the compiled function (MPI-4.1, 6.9.5); no Python runs during the reduction.
    Ranks agree on the operation by name, byte code and constants of `function`.

    Examples
    --------
    >>> import dcomp as dc
    >>> larger_magnitude = dc.Op(lambda a, b: a if abs(a) > abs(b) else b, identity=0)
    """

    def __init__(self, function: Callable, *, commutative: bool = True, identity: Any = None) -> None:
        if not callable(function):
            raise TypeError(f"Op: function must be callable; got {type(function).__name__}.")
        self.function = getattr(function, "py_func", function)
        self.commutative = bool(commutative)
        self.identity = identity
        self.name = getattr(self.function, "__name__", type(function).__name__)
        self.compiled = function if hasattr(function, "py_func") else None
        self._compiled: dict[tuple[str, np.dtype], Any] = {}
        self.key = f"{self.name}:{self._digest()}"

    def __repr__(self) -> str:
        return f"Op({self.name})"

    @property
    def _numba_type_(self) -> Any:
        """What numba asks objects that it does not know for."""
        return import_module("dcomp._njit").type_of("reduction")

    def _digest(self) -> str:
        content = repr((_content(self.function), self.commutative, _content(self.identity)))
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()

    def check(self, dtype: np.dtype) -> None:
        """Raise `TypeError` if the operation is not defined for `dtype`."""
        self.folder(dtype.newbyteorder("="))

    def combiner(self, dtype: np.dtype) -> Any:
        """The operation on arrays of native `dtype` as MPI's C function, `.address`; compiled at first use.

        Raises
        ------
        TypeError     If numba cannot compile it.
        """
        return self._compiled_as("combiner", dtype)

    def folder(self, dtype: np.dtype) -> Any:
        """The same for `kernels/exchange.py`."""
        return self._compiled_as("folder", dtype)

    def _compiled_as(self, form: str, dtype: np.dtype) -> Any:
        if (form, dtype) not in self._compiled:
            from .kernels import combine

            self._compiled[form, dtype] = self._compile(getattr(combine, form), dtype)
        return self._compiled[form, dtype]

    def _compile(self, make: Callable, dtype: np.dtype) -> Any:
        import numba

        try:
            # A file cache would not see a change in a function that this one calls.
            return make(self.compiled or numba.njit(self.function), dtype, cache=False)
        except (numba.core.errors.NumbaError, NotImplementedError, ValueError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = " ".join([line for line in lines if not line.startswith("Failed in nopython mode")][:3])
            raise TypeError(f"op {self.name} cannot be compiled for dtype {dtype}: {reason}") from error

    def identity_for(self, dtype: np.dtype) -> Any:
        """The value `e` of `dtype` with ``e op x == x``.

        Raises
        ------
        ValueError     If the operation has none.
        """
        if self.identity is None:
            raise ValueError(
                f"exscan: op must have an identity, which is the result on rank 0; {self!r} has none. "
                "Give one: Op(function, identity=...)."
            )
        return np.array(self.identity, dtype)[()]


def _content(value: Any) -> Any:
    """What makes a function, or a value it uses, the same in every process: no addresses."""
    value = getattr(value, "py_func", value)
    code = getattr(value, "__code__", value)
    if isinstance(code, CodeType):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        used = (*code.co_consts, *cells, *(getattr(value, "__defaults__", None) or ()))
        return code.co_code, code.co_names, tuple(_content(one) for one in used)
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(_content(one) for one in value)
    plain = value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic)
    return repr(value) if plain else type(value).__name__


class Predefined(Op):
    """A reduction that dcomp brings along; an element of the table below."""

    def __init__(self, name: str, twin: Callable, identity: Callable[[np.dtype], Any], kinds: str, why: str) -> None:
        self.name = self.key = name
        self.function = twin  # twin(a, b) on arrays gives what NumPy gives
        self.commutative = True
        self.compiled = None
        self._compiled = {}
        self._identity = identity
        self._kinds = kinds
        self._why = why

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        """Copied or pickled it is the one of this module."""
        return self.name

    def check(self, dtype: np.dtype) -> None:
        if dtype.kind not in self._kinds:
            raise TypeError(f"op {self.name} is not defined for dtype {dtype}: {self._why}.")

    def combiner(self, dtype: np.dtype) -> Any:
        """Compiled where MPI's own does not do and it pays; None: NumPy's twin serves.

        MPI leaves open what MIN and MAX make of NaN. Open MPI 5's vector code adds integers of 8 and 16 bits with
        saturation, where they must wrap.
        """
        spreads_nan = self.name in ("MIN", "MAX") and dtype.kind == "f"
        wraps = self.name == "SUM" and dtype.kind in "iu" and dtype.itemsize <= 2
        return self._compiled_as("combiner", dtype) if spreads_nan or wraps else None

    def _compile(self, make: Callable, dtype: np.dtype) -> Any:
        """None for dtypes that numba does not know, or knows otherwise than NumPy: NumPy's twin serves."""
        if dtype.kind not in "biufc" or dtype.char in "egG":
            return None
        from .kernels import combine

        return make(getattr(combine, _ELEMENTS[self.name]), dtype, cache=True)

    def identity_for(self, dtype: np.dtype) -> Any:
        return np.array(self._identity(dtype), dtype)[()]


def _least(dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    if dtype.kind in "mM":  # the least value itself is NaT
        return np.array(np.iinfo(np.int64).min + 1, np.int64).view(dtype.newbyteorder("="))
    return False if dtype.kind == "b" else -np.inf


def _greatest(dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        return np.iinfo(dtype).max
    if dtype.kind in "mM":
        return np.array(np.iinfo(np.int64).max, np.int64).view(dtype.newbyteorder("="))
    return True if dtype.kind == "b" else np.inf


def _all_bits(dtype: np.dtype) -> Any:
    return True if dtype.kind == "b" else np.array(-1).astype(dtype)


def _logical(ufunc: np.ufunc) -> Callable:
    """Logical operations keep the dtype of their input."""

    def twin(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ufunc(a != 0, b != 0).astype(a.dtype)

    return twin


def _with_place(better: np.ufunc) -> Callable:
    """Of two (value, index) records the one with the better value; of equal ones that of lower index."""

    def twin(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        value, index = a.dtype.names or ()
        first, second = a[value], b[value]
        nan_first, nan_second = first != first, second != second
        equal = (first == second) | (nan_first & nan_second)
        take_first = (nan_first & ~nan_second) | (equal & (a[index] < b[index]))
        take_first |= better(first, second) & ~nan_second
        return np.where(take_first, a, b)

    return twin


class _WithPlace(Predefined):
    """MINLOC and MAXLOC: of records (value, index)."""

    def check(self, dtype: np.dtype) -> None:
        names = dtype.names or ()
        kinds = [dtype[name].kind if dtype[name].shape == () else "V" for name in names]
        if len(kinds) != 2 or kinds[0] not in "biufmM" or kinds[1] not in "iu":
            raise TypeError(f"op {self.name} is not defined for dtype {dtype}: {self._why}.")

    def identity_for(self, dtype: np.dtype) -> Any:
        value, index = (dtype[name] for name in dtype.names or ())
        return np.array((self._identity(value), np.iinfo(index).max), dtype)[()]


#: The functions of `kernels/combine.py`.
_ELEMENTS = {
    "SUM": "add", "PROD": "multiply", "MIN": "minimum", "MAX": "maximum",
    "LAND": "logical_and", "LOR": "logical_or", "LXOR": "logical_xor",
    "BAND": "bitwise_and", "BOR": "bitwise_or", "BXOR": "bitwise_xor",
}  # fmt: skip
_NUMBERS = "numbers, bool and timedelta64 only"
_ORDERED = "it needs an order: bool, integers, floats, datetime64 and timedelta64"
_TRUTH = "bool and numbers only"
_BITS = "bool and integers only"
_PLACE = "it takes records of two fields, (value, index), with an integer index"


def _zero(dtype: np.dtype) -> Any:
    return 0


def _one(dtype: np.dtype) -> Any:
    return 1


SUM = Predefined("SUM", np.add, _zero, "biufcm", _NUMBERS)
PROD = Predefined("PROD", np.multiply, _one, "biufc", "bool and numbers only")
MIN = Predefined("MIN", np.minimum, _greatest, "biufmM", _ORDERED)
MAX = Predefined("MAX", np.maximum, _least, "biufmM", _ORDERED)
LAND = Predefined("LAND", _logical(np.logical_and), _one, "biufc", _TRUTH)
LOR = Predefined("LOR", _logical(np.logical_or), _zero, "biufc", _TRUTH)
LXOR = Predefined("LXOR", _logical(np.logical_xor), _zero, "biufc", _TRUTH)
BAND = Predefined("BAND", np.bitwise_and, _all_bits, "biu", _BITS)
BOR = Predefined("BOR", np.bitwise_or, _zero, "biu", _BITS)
BXOR = Predefined("BXOR", np.bitwise_xor, _zero, "biu", _BITS)
MINLOC = _WithPlace("MINLOC", _with_place(np.less), _greatest, "V", _PLACE)
MAXLOC = _WithPlace("MAXLOC", _with_place(np.greater), _least, "V", _PLACE)

PREDEFINED = (SUM, PROD, MIN, MAX, LAND, LOR, LXOR, BAND, BOR, BXOR, MINLOC, MAXLOC)
