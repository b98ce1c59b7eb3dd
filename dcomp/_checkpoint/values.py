"""The state that a program saves as a tree of JSON values, and back.

An array is in the tree by what describes it; its elements are in a file of its own. No node is more than data: none
names a class, a function or a file.
"""

import ast
import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._checks import normalise_axis

_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class Cut:
    """An array to be saved whose blocks are cut along another axis than the first.

    Parameters
    ----------
    x : array     This rank's block; the lengths of the ranks' blocks along the axis may differ.
    axis : int    A negative one counts from the end.

    Notes
    -----
    Restored, each rank gets its block along the same axis, cut as `block` does.

    Examples
    --------
    ``checkpoint.save(step, field=dc.Cut(field, axis=1))``
    """

    def __init__(self, x: Any, axis: int) -> None:
        self.x, self.axis = x, axis


class Replicated:
    """An array to be saved that every rank has as a whole.

    Parameters
    ----------
    x : array     The same on every rank, to the last bit.

    Notes
    -----
    It is in the file once. Restored, every rank gets the whole.

    Examples
    --------
    ``checkpoint.save(step, table=dc.Replicated(table))``
    """

    def __init__(self, x: Any) -> None:
        self.x = x


Path = tuple[str, ...]  # the keys that lead to a value


def describe(
    value: Any, comm: Any, digest: Callable[[Any], str], path: Path = ()
) -> tuple[Any, dict[Path, np.ndarray]]:
    """The node of a value on this rank, and the arrays below it, contiguous, by their paths.

    Raises
    ------
    TypeError, ValueError     If it is nothing that can be saved.
    """
    if isinstance(value, dict):
        if not all(type(key) is str and key for key in value):
            raise TypeError(f"save: the keys of {_name(path)} must be strings that are not empty; got {list(value)!r}")
        below = {key: describe(one, comm, digest, (*path, key)) for key, one in value.items()}
        arrays = {place: array for _, found in below.values() for place, array in found.items()}
        return {"dict": {key: node for key, (node, _) in below.items()}}, arrays
    if isinstance(value, np.ndarray | Cut | Replicated):
        node, array = _describe_array(value, digest, _name(path))
        return {"array": node}, {path: array}
    return _describe_single(value, comm, _name(path)), {}


def _describe_array(value: Any, digest: Callable[[Any], str], name: str) -> tuple[dict, np.ndarray]:
    given = value.x if isinstance(value, Cut | Replicated) else value
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"save: {name} must be a plain array; got a masked one. Save its data and its mask")
    array = np.asarray(given)
    axis = None
    if isinstance(value, Cut):
        axis = normalise_axis(value.axis, array.ndim, "save", f"axis of {name}")
    elif not isinstance(value, Replicated) and array.ndim:
        axis = 0
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    node = {"dtype": _dtype_text(array.dtype, name), "shape": list(array.shape), "axis": axis}
    if axis is None:
        node["digest"] = digest(as_bytes(contiguous))
    return node, contiguous


def _describe_single(value: Any, comm: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        return {"numpy": _array_as_text(np.asarray(value), name)}
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is complex:
        return {"complex": [repr(value.real), repr(value.imag)]}
    if kind is np.random.Generator:
        state = value.bit_generator.state
        if state.get("bit_generator") not in _BIT_GENERATORS:
            raise TypeError(f"save: {name} must be a generator of NumPy's own kinds; got {value!r}")
        return {"generator": {"of": "numpy", "states": [_plain(state)]}}
    random = sys.modules.get("dcomp.random")  # without which there is no such generator; it loads numba
    if random is not None and kind is random.Generator:
        return _describe_stream(value, comm, name)
    raise TypeError(
        f"save: {name} must be an array, a number, a string, None, a generator of random numbers, or a dict of such; "
        f"got {kind.__name__}"
    )


def _describe_stream(generator: Any, comm: Any, name: str) -> dict:
    alone = generator.comm is not comm and generator.comm.size == 1
    if not alone and generator.comm.size != comm.size:
        raise ValueError(
            f"save: {name} must be a generator on the checkpoint's communicator, or on COMM_SELF; got {generator!r}"
        )
    return {"generator": {"of": "alone" if alone else "dcomp", "states": [generator.state]}}


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, dict]]:
    """The arrays of a tree: their paths, and what describes them."""
    if isinstance(node, dict):
        for key, below in node.get("dict", {}).items():
            yield from walk(below, (*path, key))
        if "array" in node:
            yield path, node["array"]


def revive(node: Any, arrays: Iterator[np.ndarray], comm: Any, path: Path = ()) -> Any:
    """The value of a node; `arrays` are those of the tree, in the order of `walk`.

    Raises
    ------
    ValueError, TypeError, KeyError     If it is no node that `describe` and `merge` make.
    """
    if not isinstance(node, dict):
        return node
    ((kind, told),) = node.items()
    if kind == "dict":
        return {key: revive(below, arrays, comm, (*path, key)) for key, below in told.items()}
    if kind == "array":
        return next(arrays)
    if kind == "numpy":
        return _array_from_text(*told)[()]
    if kind == "float":
        return float(told)
    if kind == "complex":
        return complex(*map(float, told))
    if kind == "generator":
        return _revive_generator(told["of"], told["states"], comm, _name(path))
    raise ValueError(f"{_name(path)} is of an unknown kind, {kind!r}")


def _revive_generator(kind: str, states: list, comm: Any, name: str) -> Any:
    if len(states) not in (1, comm.size):
        raise OtherRanks(
            f"{name}: each of the {len(states)} ranks that have saved it had a generator of its own, so it cannot be "
            f"restored on {comm.size}. Use {len(states)} ranks; a dcomp.random.Generator can be restored on any number."
        )
    state = states[comm.rank if len(states) > 1 else 0]
    if kind == "numpy":
        state = _from_plain(state)
        if state["bit_generator"] not in _BIT_GENERATORS:
            raise ValueError(f"{name} is of an unknown kind, {state['bit_generator']!r}")
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = state
        return np.random.Generator(bits)
    from .. import random
    from .._world import alone

    return random._revive({"alone": alone(), "dcomp": comm}[kind], state)


class OtherRanks(Exception):
    """What was saved is whole, but cannot be restored on this number of ranks."""


def _plain(state: Any) -> Any:
    """The state of a bit generator, whose arrays are short."""
    if isinstance(state, dict):
        return {"dict": {key: _plain(one) for key, one in state.items()}}
    return {"numpy": _array_as_text(state, "a generator")} if isinstance(state, np.ndarray) else state


def _from_plain(node: Any) -> Any:
    if isinstance(node, dict):
        if "numpy" in node:
            return _array_from_text(*node["numpy"])
        return {key: _from_plain(one) for key, one in node["dict"].items()}
    return node


def _array_as_text(array: np.ndarray, name: str) -> list:
    return [_dtype_text(array.dtype, name), list(array.shape), array.tobytes().hex()]


def _array_from_text(dtype: str, shape: list, text: str) -> np.ndarray:
    data = bytes.fromhex(text)
    return np.ndarray(tuple(shape), parse_dtype(dtype), data).copy()


def _dtype_text(dtype: np.dtype, name: str) -> str:
    """A dtype as the header of a `.npy` file has it."""
    text = ""
    if dtype.itemsize and not dtype.hasobject:
        with contextlib.suppress(ValueError):  # fields that are not in the order of their places have no description
            text = repr(np.lib.format.dtype_to_descr(dtype))
    if not text or parse_dtype(text) != dtype:
        raise TypeError(f"save: {name} must be of a dtype that a .npy file can have without pickle; got {dtype}")
    return text


def parse_dtype(text: str) -> np.dtype:
    """The dtype that `_dtype_text` has made a text of.

    Raises
    ------
    ValueError, TypeError, SyntaxError, RecursionError, MemoryError     If it is none.
    """
    dtype = np.lib.format.descr_to_dtype(ast.literal_eval(text))
    if dtype.hasobject:
        raise ValueError(f"{text} has Python objects")
    return dtype


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def _name(path: Path) -> str:
    return ".".join(path) or "the state"
