"""What a draw of random numbers asks for, checked as far as one rank can; pure."""

from collections.abc import Iterable
from math import inf, isfinite, prod
from operator import index
from typing import Any

import numpy as np

END = 2**63 - 1  # of a stream


def integer(function: str, name: str, value: Any, least: int) -> int:
    """An integer given by the user, checked; `bool` is none."""
    if not is_integer(value):
        raise TypeError(f"{function}: {name} must be an integer; got {value!r}")
    if value < least:
        raise ValueError(f"{function}: {name} must be at least {least}; got {value}")
    return index(value)


def flag(function: str, name: str, value: Any) -> bool:
    """True or False given by the user, checked."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{function}: {name} must be True or False; got {value!r}")
    return bool(value)


def is_integer(value: Any) -> bool:
    """Whether it is Python's or NumPy's integer."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def shape_of(function: str, n: Any, name: str = "n") -> tuple[int, ...]:
    """The shape of all ranks' numbers together: of an integer, one axis of that length."""
    if isinstance(n, Iterable) and not (isinstance(n, np.ndarray) and n.ndim == 0):
        shape = tuple(integer(function, name, one, 0) for one in n)
        if shape:
            return shape
        raise ValueError(f"{function}: {name} must have an axis to cut; got (). Leave it out for one number")
    return (integer(function, name, n, 0),)


def element_of(function: str, dtype: Any, kind: str) -> np.dtype:
    """A dtype of the kind "float", 4 or 8 bytes, or "integer", in this machine's byte order; of None, 8 bytes."""
    try:
        element = np.dtype(("i8" if kind == "integer" else "f8") if dtype is None else dtype)
    except TypeError:
        raise TypeError(f"{function}: dtype must be one of NumPy's; got {dtype!r}") from None
    fits = element.kind in "iu" if kind == "integer" else element.kind == "f" and element.itemsize in (4, 8)
    if not (fits and element.isnative):
        wanted = "an integer" if kind == "integer" else "float64 or float32"
        raise TypeError(f"{function}: dtype must be {wanted}, of native byte order; got {element}")
    return element


def real(function: str, name: str, value: Any, least: float | None = None) -> float:
    """A finite number given by the user, not less than `least`."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{function}: {name} must be a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number) or (least is not None and number < least):
        requirement = "be finite" if least is None else f"be finite and at least {least:g}"
        raise ValueError(f"{function}: {name} must {requirement}; got {value}")
    return number


def bounds(function: str, low: Any, high: Any, element: np.dtype) -> tuple[int, int]:
    """Integers given by the user, of which there is one from `low` to `high` - 1, both in the dtype."""
    first, end = integer(function, "low", low, -(2**63)), integer(function, "high", high, -(2**63))
    if first >= end:
        raise ValueError(f"{function}: low must be less than high; got {low} and {high}")
    room = np.iinfo(element)
    if not room.min <= first <= end - 1 <= room.max:
        raise ValueError(
            f"{function}: low and high - 1 must lie in the dtype, {element}: from {room.min} to {room.max}; got {low} "
            f"and {high} - 1"
        )
    return first, end


def check_enough(function: str, total: Any, n: Any, replace: bool) -> None:
    """That so many can be chosen from `total`."""
    count = 1 if n is None else prod(shape_of(function, n))
    if integer(function, "a", total, 0) > END:
        raise ValueError(f"{function}: a must be less than 2**63; got {total}")
    if count > total and (total == 0 or not replace):
        without = "" if replace else " without replacement"
        raise ValueError(f"{function}: a must have as many as are to be chosen{without}; got {total} for {count}")


def check_room(function: str, position: int, shape: tuple[int, ...]) -> None:
    """That the stream goes on for so many elements."""
    if position + prod(shape) > END:
        raise ValueError(f"{function}: n must not go beyond the 2**63 elements of a stream; got {shape}")
