"""The machinery of `dcomp.random`: where a stream of random numbers is, and what each rank takes of it."""

import hashlib
import threading
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ._buffers import as_array, check_out, check_out_layout
from ._calls import located
from ._checks import dtype_text, fingerprint
from ._draws import check_enough, check_room, element_of, flag, is_integer, shape_of
from ._layout import block_slice
from ._ops import MIN
from .kernels import random as numbers
from .kernels import shuffle as orders

_EXACT = 2**16  # the longest random order that every rank makes as a whole


Told = dict[str, Any]  # what must be the same on all ranks
Check = Callable[[np.dtype], Told]  # for a dtype; it raises TypeError or ValueError


class Stream:
    """The elements that the ranks of a communicator share out, and which is the next."""

    comm: Any

    def _set_up(self, seed: int, path: tuple[int, ...]) -> None:
        self._words = np.empty(numbers.STATE, np.uint64)  # compiled code reads and writes it, by its address
        self._record = self._words.ctypes.data
        self._key = self._words[: numbers.PLACE]
        self._lock = threading.Lock()
        self._turn_to(seed, path, 0, 0)

    def _turn_to(self, seed: int, path: tuple[int, ...], spawned: int, position: int) -> None:
        self._seed, self._path, self._spawned = seed, path, spawned
        self._name = f"Generator({seed})" + "".join(f", child {one}" for one in path)
        digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=32, person=b"dcomp.random").digest()
        self._key[:] = np.frombuffer(digest, "<u8")
        self._words[numbers.PLACE], self._words[numbers.HELD] = position, numbers.NO_GROUP

    @property
    def _position(self) -> int:
        return int(self._words[numbers.PLACE])

    # Draws

    def _draw(self, function: str, n: Any, dtype: Any, kind: str, out: Any, check: Check) -> "Part":
        """Check a call, agree on it with the other ranks, take its elements, and make room for this rank's."""
        is_single = n is None and out is None
        shape: tuple[int, ...] = ()
        element, told, fault = np.dtype(float), {}, None
        try:
            element = element_of(function, getattr(out, "dtype", None) if dtype is None else dtype, kind)
            told = check(element)
            if not is_single:
                shape = shape_of(function, n)
            told |= {"n": n if is_integer(n) else shape, "dtype": element}
            check_room(function, self._position, shape)
            if out is not None:
                check_out(out, None, function)
                check_out_layout(out.shape, out.dtype, self._share(shape)[1], element, function)
        except (TypeError, ValueError) as error:
            fault = error
        if not is_single:
            self._agree_on_draw(function, fault, **told)
        elif fault is not None:
            raise located(fault, self.comm)
        return self._take(shape, element, out)

    def _rows(self, function: str, x: Any, check: Callable[[], Told]) -> tuple[np.ndarray, list[int]]:
        """This rank's rows, and how many each rank has, when they have agreed."""
        rows, told, fault = np.empty(0), {}, None
        try:
            told = check()
            rows, _ = as_array(x, function)
            if rows.ndim == 0:
                raise ValueError(f"{function}: x must have at least one dimension; got a scalar")
        except (TypeError, ValueError) as error:
            fault = error
        self._agree_on_draw(function, fault, **told, dtype=dtype_text(rows.dtype), row_shape=rows.shape[1:])
        lengths = [len(rows)] if self.comm.size == 1 else self.comm.allgather(len(rows)).tolist()
        return rows, lengths

    def _agree_on_draw(self, function: str, fault: Exception | None, **facts: Any) -> None:
        """Compare a draw over all ranks: as data, since a claim with another position is another call each time."""
        comm, position = self.comm, self._position
        if comm.size > 1 and comm._channel.is_checked:
            said = 0 if fault is not None else fingerprint(f"{function}{self._name}{facts}")
            least = comm.allreduce(np.array((said, -said, position, -position)), MIN)
            if said and least[0] == -least[1] and least[2] == -least[3]:
                return
        self._agree(function, fault, generator=self._name, position=position, **facts)

    def _agree(self, function: str, fault: Exception | None, **facts: Any) -> None:
        comm = self.comm
        if comm.size > 1:
            with comm._channel.turn(function):
                comm._agree(function, fault, **facts)
        elif fault is not None:
            raise located(fault, comm)

    def _share(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """How many elements of a draw come before this rank's, and the shape of this rank's; all of a single number."""
        if not shape:
            return 0, ()
        rows = block_slice(shape[0], self.comm.size, self.comm.rank)
        return rows.start * prod(shape[1:]), (rows.stop - rows.start, *shape[1:])

    def _take(self, shape: tuple[int, ...], element: np.dtype, out: np.ndarray | None) -> "Part":
        """Take the next elements, as many as the shape has, and make room for this rank's."""
        start, here = self._share(shape)
        base = self._take_places(prod(shape))
        fits = type(out) is np.ndarray and out.flags.carray
        array: Any = out if fits else np.empty(here, element)
        return Part(base, base + start, array, array if array.ndim == 1 else array.reshape(-1), out)

    def _take_places(self, count: int) -> int:
        """Go on by so many elements; the first of them."""
        with self._lock:  # of threads that draw at once each gets elements of its own
            base = self._position
            self._advance_to(base + count)
        return base

    def _advance_to(self, position: int) -> None:
        self._words[numbers.PLACE] = position

    # Orders

    def _chosen_rows(self, a: Any, n: Any, replace: bool) -> np.ndarray:
        shape: tuple[int, ...] = ()

        def check() -> Told:
            nonlocal shape
            shape = shape_of("choice", n)
            return {"n": shape, "replace": flag("choice", "replace", replace)}

        rows, lengths = self._rows("choice", a, check)
        total = sum(lengths)
        check_enough("choice", total, shape, replace)  # which comes out alike on all ranks, as what follows
        check_room("choice", self._position, shape)
        part = self._take(shape, np.dtype(np.int64), None)
        self._choose_into(part, total, replace)
        return self._fetch(rows, lengths, part.flat).reshape(part.array.shape + rows.shape[1:])

    def _choose_into(self, part: "Part", total: int, replace: bool) -> None:
        if replace:
            numbers.integers_into(part.flat, self._key, part.first, np.uint64(0), np.uint64(total))
        else:
            self._order_into(part.flat, part.base, part.first - part.base, total)
            if total > _EXACT:  # whose keys may be more elements than are chosen
                self._advance_to(max(self._position, part.base + orders.ROUND_KEYS))

    def _reordered(self, function: str, x: Any, check: Callable[[], Told]) -> np.ndarray:
        """The rows that come to this rank, as many as it has."""
        rows, lengths = self._rows(function, x, check)
        total, start = sum(lengths), sum(lengths[: self.comm.rank])
        check_room(function, self._position, (total,))
        base = self._take_places(total)
        wanted = np.empty(len(rows), np.int64)
        self._order_into(wanted, base, start, total)
        return self._fetch(rows, lengths, wanted)

    def _order_into(self, out: np.ndarray, base: int, start: int, n: int) -> None:
        """The places from `start` on of the random order of 0, ..., n - 1 that the stream has at `base`."""
        if n > _EXACT:
            keys = np.empty(orders.ROUND_KEYS, np.uint64)
            numbers.integers_into(keys, self._key, base, np.uint64(0), np.uint64(0))
            orders.images_into(out, keys, start, n)
        else:
            first = np.empty(start + out.size, np.int64)
            orders.shuffled_into(first, self._key, base, n)
            out[:] = first[start:]

    def _fetch(self, rows: np.ndarray, lengths: list[int], wanted: np.ndarray) -> np.ndarray:
        """The rows at these places of the concatenation of all ranks' rows, of which there are so many."""
        comm = self.comm
        if comm.size == 1:
            return rows[wanted]
        ends = np.cumsum(lengths)
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        asked = np.diff(np.searchsorted(ordered, ends), prepend=0)
        given = comm.alltoall(asked)
        places = comm.alltoall(ordered, send_counts=asked, recv_counts=given) - (ends - lengths)[comm.rank]
        fetched = comm.alltoall(rows[places], send_counts=given, recv_counts=asked)
        result = np.empty_like(fetched)
        result[order] = fetched
        return result


class Part(NamedTuple):
    """This rank's part of a draw."""

    base: int  # the draw's first element
    first: int  # this rank's first
    array: np.ndarray  # contiguous
    flat: np.ndarray  # the same
    out: np.ndarray | None  # what the user has given, perhaps another

    def result(self) -> Any:
        """What the call returns, when `flat` has been filled."""
        if self.out is None:
            return self.array if self.array.ndim else self.array[()]
        if self.out is not self.array:
            self.out[...] = self.array
        return self.out
