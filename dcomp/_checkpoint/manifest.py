"""What a checkpoint is made of: which arrays are in which files, and the checksums of all their bytes. Pure.

The ranks' accounts of their state are merged into one tree, and that is what the manifest has. The names of the files
follow from the keys of the state, so that a manifest cannot name a file elsewhere.
"""

import itertools
import json
from collections.abc import Sequence
from math import prod
from typing import Any
from urllib.parse import quote

import numpy as np
import xxhash

from .._layout import block_counts, displacements, format_ranks
from .values import Path, parse_dtype, walk

NAME = "manifest.json"
PIECE = 4 << 20  # bytes that have a checksum together: a rank that reads some of them reads all
_FORMAT = 1
_PAGE = 4096  # where an array begins in its file: whole pages are written and read without being copied twice
#: What reading raises where there is something else than has been written.
NONSENSE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, SyntaxError, RecursionError, MemoryError,
)  # fmt: skip
_HEAD, _MIDDLE, _TAIL = b'{"checksum": "', b'",\n"content": ', b"}\n"


#: The checksum of bytes that come one after the other: XXH3 with 128 bits.
Digest = xxhash.xxh3_128


def digest(data: Any) -> str:
    """The checksum of some bytes, as a text of 32 characters."""
    return xxhash.xxh3_128_hexdigest(data)


class Array:
    """An array of a checkpoint, and the file that it is in.

    Attributes
    ----------
    path : keys that lead to it in the state
    dtype, shape     Of the whole.
    axis : int or None     Along which it is cut; None: every rank has the whole.
    start : int            Where the elements begin in the file, behind the header.
    blocks : list of int   Bytes that each rank has written, in the order of the file.
    piece : int            Bytes of a block, at most, that have a checksum together.
    checksums : list       Of the header, and of the pieces.
    """

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self.path, self.told = path, told
        self.dtype, self.shape = parse_dtype(told["dtype"]), tuple(told["shape"])
        self.axis: int | None = told["axis"]
        self.start: int = told["start"]
        self.blocks: list[int] = told["blocks"]
        self.piece: int = told["piece"]
        self.checksums: list[str] = told["checksums"]
        self.nbytes = prod(self.shape) * self.dtype.itemsize

    def check(self) -> None:
        """Raise ValueError if the numbers do not fit together; nothing of their size is made before that."""
        axes = [] if self.axis is None else [self.axis]
        numbers = [*self.shape, *self.blocks, self.piece, self.start, *axes]
        if not all(type(number) is int and 0 <= number < 2**62 for number in numbers) or self.piece < 1:
            raise ValueError(f"{self.name} has a size that is none")
        np.broadcast_to(np.empty((), self.dtype), self.shape)  # raises, if no array has such a shape
        pieces = sum(-(-block // self.piece) for block in self.blocks)
        if sum(self.blocks) != self.nbytes or len(self.checksums) != 1 + pieces or self.start != len(self.header):
            raise ValueError(f"the sizes of {self.name} do not fit together")
        if type(self.checksums) is not list or not all(type(one) is str for one in self.checksums):
            raise ValueError(f"{self.name} has no checksums")
        if self.axis is not None and self.axis >= len(self.shape):
            raise ValueError(f"{self.name} has no axis {self.axis}")

    @property
    def name(self) -> str:
        """Of the file; other paths have other names, and none leads out of a folder."""
        return ".".join(quote(key, "", errors="surrogatepass").replace(".", "%2E") for key in self.path) + ".npy"

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self.start + self.nbytes

    @property
    def header(self) -> bytes:
        """What `numpy.load` reads before the elements (NEP 1)."""
        return npy_header(self.dtype, self.shape)

    def bounds(self) -> np.ndarray:
        """Where pieces begin, in bytes from the first element on, and where the last one ends."""
        starts = displacements(self.blocks)
        cuts = [np.arange(start, start + block, self.piece) for start, block in zip(starts, self.blocks, strict=True)]
        return np.concatenate([*cuts, [self.nbytes]])

    @property
    def lines(self) -> tuple[int, int, int]:
        """The array as (times, n, bytes): `n` lines of so many bytes, so many times, are cut along `n`."""
        axis = self.axis or 0
        return prod(self.shape[:axis]), self.shape[axis], prod(self.shape[axis + 1 :]) * self.dtype.itemsize


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of a `.npy` file, in whole pages."""
    descr = np.lib.format.dtype_to_descr(dtype)
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    is_short = text.isascii() and len(text) < 2 * _PAGE
    before = np.lib.format.magic(1, 0) if is_short else np.lib.format.magic(3, 0)
    width = 2 if is_short else 4
    length = len(before) + width + len(text) + 1
    padding = -length % _PAGE
    return before + (len(text) + padding + 1).to_bytes(width, "little") + text + b" " * padding + b"\n"


class Mismatch(Exception):
    """What the ranks want to save does not fit together."""

    def __init__(self, text: str, is_shape: bool = False) -> None:
        super().__init__(text)
        self.is_shape = is_shape


def merge(nodes: Sequence[Any]) -> Any:
    """One tree of the trees of all ranks; arrays in it are described as a whole, without their checksums yet.

    Raises
    ------
    Mismatch     If ranks have other keys, other scalars or other kinds of arrays.
    """
    return _merge(nodes, ())


def _merge(nodes: Sequence[Any], path: Path) -> Any:
    name = ".".join(path) or "the state"
    first = nodes[0]
    kinds = [next(iter(node)) if isinstance(node, dict) else "value" for node in nodes]
    _same(kinds, name, "be of the same kind")
    if kinds[0] == "dict":
        _same([sorted(node["dict"]) for node in nodes], f"the keys of {name}", "be the same")
        return {"dict": {key: _merge([node["dict"][key] for node in nodes], (*path, key)) for key in first["dict"]}}
    if kinds[0] == "array":
        return {"array": _merge_arrays([node["array"] for node in nodes], name)}
    if kinds[0] == "generator":
        told = [node["generator"] for node in nodes]
        _same([one["of"] for one in told], name, "be a generator of the same kind")
        states = [state for one in told for state in one["states"]]
        alike = all(state == states[0] for state in states)
        return {"generator": {"of": told[0]["of"], "states": states[:1] if alike else states}}
    _same(nodes, name, "be the same", "What differs between ranks is saved as an array.")
    return first


def _merge_arrays(told: Sequence[dict], name: str) -> dict:
    _same([one["dtype"] for one in told], f"the dtype of {name}", "be the same")
    _same([one["axis"] for one in told], f"the axis of {name}", "be the same")
    axis, shapes = told[0]["axis"], [list(one["shape"]) for one in told]
    dtype, size = parse_dtype(told[0]["dtype"]), len(told)
    if axis is None:
        _same(shapes, f"the shape of {name}", "be the same", is_shape=True)
        what = "The blocks of a distributed array have at least one axis, and are saved without dc.Replicated."
        _same([one["digest"] for one in told], f"{name}, replicated,", "be the same", what, show=False)
        shape = shapes[0]
        blocks = [count * dtype.itemsize for count in block_counts(prod(shape), size)]
    else:
        beyond = [[*shape[:axis], *shape[axis + 1 :]] for shape in shapes]
        what = "Blocks that are cut along another axis are saved as dc.Cut(x, axis)."
        _same(beyond, f"the shape of {name} beyond axis {axis}", "be the same", what, is_shape=True)
        counts = [shape[axis] for shape in shapes]
        shape = [*shapes[0][:axis], sum(counts), *shapes[0][axis + 1 :]]
        if axis > 0:  # the ranks share out the lines of the file
            counts = list(block_counts(prod(shape[: axis + 1]), size))
        blocks = [count * prod(shape[axis + 1 :]) * dtype.itemsize for count in counts]
    start = len(npy_header(dtype, tuple(shape)))
    merged = {"dtype": told[0]["dtype"], "shape": shape, "axis": axis, "start": start, "blocks": blocks}
    return merged | {"piece": PIECE, "checksums": []}


def _same(
    values: Sequence[Any], name: str, must: str, what: str = "", *, show: bool = True, is_shape: bool = False
) -> None:
    texts = [repr(value) for value in values]  # which tell apart 0.0 and -0.0, 1 and True
    others = [rank for rank, text in enumerate(texts) if text != texts[0]]
    if others:
        got = f"got {_short(texts[0])} on rank 0 and {_short(texts[others[0]])} on rank {others[0]}"
        differ = f"got another on {format_ranks(others)} than on rank 0"
        told = f"save: {name} must {must} on every rank; {got if show else differ} of {len(values)}. {what}"
        raise Mismatch(told.rstrip(), is_shape)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


class Manifest:
    """The contents of a step: its state, and the arrays of that."""

    def __init__(self, step: int, state: Any) -> None:
        self.step, self.state = step, state
        self.arrays = [Array(path, told) for path, told in walk(state)]

    def packed(self) -> bytes:
        """The file, which is JSON: its first line has the checksum of all that follows on it."""
        content = {"format": _FORMAT, "step": self.step, "state": self.state}
        rest = _MIDDLE + json.dumps(content, allow_nan=False).encode() + _TAIL
        return _HEAD + digest(rest).encode() + rest


def parse(data: bytes) -> Manifest:
    """The manifest that a file has.

    Raises
    ------
    ValueError     If a bit of it is not as it was written, or it is none.
    """
    rest = data[len(_HEAD) + 32 :]
    if data[: len(data) - len(rest)] != _HEAD + digest(rest).encode():
        raise ValueError("its checksum is wrong")
    try:
        content = json.loads(rest[len(_MIDDLE) : -len(_TAIL)])
        if content["format"] != _FORMAT:
            raise ValueError(f"it has format {content['format']!r}, of another version of dcomp")
        if type(content["step"]) is not int or not isinstance(content["state"]["dict"], dict):
            raise ValueError("it has no state")
        manifest = Manifest(content["step"], content["state"])
        for array in manifest.arrays:
            array.check()
    except NONSENSE as error:
        raise ValueError(f"it cannot be understood: {error}") from None
    return manifest


def overlapping(bounds: np.ndarray, start: int, stop: int) -> list[tuple[int, int, int]]:
    """Number, beginning and end of the pieces that have bytes of ``start:stop``."""
    if start >= stop:
        return []
    first = int(np.searchsorted(bounds, start, "right")) - 1
    last = int(np.searchsorted(bounds, stop, "left"))
    edges = itertools.pairwise(bounds[first : last + 1].tolist())
    return [(first + i, begin, end) for i, (begin, end) in enumerate(edges)]
