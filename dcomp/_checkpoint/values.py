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
_DEEPEST = 100  # dicts in dicts; far from where Python's recursion ends
_DIGITS = 4000  # of an integer; Python reads no more than 4300 by default
_POOL = 1024  # words of the pool of a seed sequence, at most; NumPy's own has 4


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
    if len(path) > _DEEPEST:
        raise ValueError(f"save: {_name(path[:3])}... must not have more than {_DEEPEST} dicts in each other")
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
        node["digest"] = digest(as_bytes(_without_padding(contiguous)))
    return node, contiguous


def _describe_single(value: Any, comm: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        return {"numpy": _array_as_text(np.asarray(value), name)}
    kind = type(value)
    if kind is int and abs(value) >= 10**_DIGITS:
        raise ValueError(
            f"save: {name} must have at most {_DIGITS} digits; got an integer of {value.bit_length()} bits"
        )
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
        return {"generator": {"of": "numpy", "states": [_plain({**state, "seed": _seed(value.bit_generator)})]}}
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
        return _revive_numpy(_from_plain(state), name)
    from .. import random
    from .._world import alone

    return random._revive({"alone": alone(), "dcomp": comm}[kind], state)


def _seed(bits: Any) -> dict | None:
    """What the children of a generator follow from (`Generator.spawn`); None, if it has no seed of the usual kind."""
    if type(bits.seed_seq) is not np.random.SeedSequence:
        return None
    return dict(bits.seed_seq.state)


def _revive_numpy(state: dict, name: str) -> np.random.Generator:
    kind, seed = state["bit_generator"], state["seed"]
    if kind not in _BIT_GENERATORS:
        raise ValueError(f"{name} is of an unknown kind, {kind!r}")
    if seed is not None and not 0 < seed["pool_size"] <= _POOL:
        raise ValueError(f"{name} has a pool of {seed['pool_size']} words")
    # NumPy takes them as they are, and would read beyond its buffers.
    if not 0 <= state["state"].get("pos", 0) <= 624 or not 0 <= state.get("buffer_pos", 0) <= 4:
        raise ValueError(f"{name} is at no place of its buffer")
    bits = getattr(np.random, kind)(None if seed is None else np.random.SeedSequence(**seed))
    bits.state = state
    return np.random.Generator(bits)


class OtherRanks(Exception):
    """What was saved is whole, but cannot be restored on this number of ranks."""


def _plain(state: Any) -> Any:
    """The state of a bit generator, whose arrays are short."""
    if isinstance(state, dict):
        return {"dict": {key: _plain(one) for key, one in state.items()}}
    if isinstance(state, list | tuple):
        return [_plain(one) for one in state]
    if isinstance(state, np.integer):
        return int(state)
    return {"numpy": _array_as_text(state, "a generator")} if isinstance(state, np.ndarray) else state


def _from_plain(node: Any) -> Any:
    if isinstance(node, dict):
        if "numpy" in node:
            return _array_from_text(*node["numpy"])
        return {key: _from_plain(one) for key, one in node["dict"].items()}
    return node


def _array_as_text(array: np.ndarray, name: str) -> list:
    return [_dtype_text(array.dtype, name), list(array.shape), _without_padding(array).tobytes().hex()]


def _without_padding(array: np.ndarray) -> np.ndarray:
    """The same numbers with the same bits; where long doubles leave bytes unused, as on x86, these are zero."""
    if array.dtype.char not in "gG":
        return array
    return np.positive(array, out=np.zeros_like(array))


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
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{text} has Python objects, or no bytes")
    return dtype


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def _name(path: Path) -> str:
    return ".".join(path) or "the state"
