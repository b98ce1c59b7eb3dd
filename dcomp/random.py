"""Random numbers of one global stream, the same at any number of ranks.

>>> gen = dc.random.Generator(7)
>>> x = gen.normal(1_000_000)         # this rank's block of a million numbers
"""

from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

import dcomp

from ._buffers import check_out
from ._draws import END, bounds, check_enough, flag, integer, is_integer, real
from ._stream import Stream, Told
from .kernels import random as numbers

if TYPE_CHECKING:
    from ._communicator import Communicator

__all__ = ["Generator"]


_SEED_BITS = 2**13  # of which Python writes all digits


class Generator(Stream):
    """Random numbers of one global stream, of which each rank gets its block.

    Collective: every rank of `comm` makes it, with the same seed.

    Parameters
    ----------
    seed : int >= 0     Of up to 8192 bits. Equal seeds give equal numbers.
    comm : Communicator, optional     Whose ranks share the numbers out; omitted, COMM_WORLD.

    Attributes
    ----------
    comm : Communicator
    state : dict
        Seed, path, children spawned and elements drawn, as integers. What was read can be set again, also on another
        generator and at another number of ranks, and the stream goes on from there.

    Raises
    ------
    TypeError, ValueError
        If the seed is no such integer. None is no seed: numbers that are to be others every time are those of
        ``Generator(dc.bcast_object(secrets.randbits(128)))``.
    CollectiveMismatchError     On every rank, if the seeds differ.

    Notes
    -----
    `n` is the number of all ranks together, or a shape that is cut along its first axis, as `scatter` cuts. The
    results of all ranks, one after the other, depend neither on the number of ranks nor on the processor, to the last
    bit. A call takes the next elements of the stream, one for each number, so ``random(2)`` and ``random(3)`` give
    what ``random(5)`` gives.

    Before they draw, the ranks compare what they draw, and where in the stream they are, by an `allreduce` of 32 bytes;
    reports of ranks that wait name that. Without `n` a call draws a single number, the same on every rank, and
    compares nothing; if a rank leaves that out, the next call with `n` is an error on every rank.

    Threads may draw from one generator of one rank, in an order that nobody knows, but for single numbers in compiled
    code that gives the GIL away: give each thread a child of its own.

    Threefry-4x64-20, whose key of 256 bits BLAKE2b makes of the seed and of the path from it. Good for simulation, not
    for secrets.

    References
    ----------
    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC11.

    Examples
    --------
    A stream of this rank's own: ``dc.random.Generator(7, comm=dc.COMM_SELF).spawn(dc.size)[dc.rank]``
    """

    def __init__(self, seed: int, *, comm: "Communicator | None" = None) -> None:
        if comm is not None and not isinstance(comm, dcomp.Communicator):
            raise TypeError(f"random.Generator: comm must be a communicator; got {comm!r}.")
        self.comm: Communicator = dcomp.COMM_WORLD if comm is None else comm
        fault = None
        try:
            seed = integer("random.Generator", "seed", seed, 0)
            if seed.bit_length() > _SEED_BITS:
                raise ValueError(f"random.Generator: seed must have at most {_SEED_BITS} bits; got one of more")
        except (TypeError, ValueError) as error:
            fault = error
        self._agree("random.Generator", fault, seed=seed)
        self._set_up(seed, ())

    def __repr__(self) -> str:
        return f"<{self._name}, position {self._position}, on {self.comm!r}>"

    def __reduce__(self) -> tuple:
        """A copy, or what is unpickled, goes on by itself from where this one is."""
        return _revive, (self.comm, self.state)

    @property
    def _numba_type_(self) -> Any:
        """What numba asks objects that it does not know for."""
        from . import _njit

        return _njit.type_of("generator")

    @property
    def state(self) -> dict[str, Any]:
        """Where the generator is, in integers."""
        return {"seed": self._seed, "path": list(self._path), "spawned": self._spawned, "position": self._position}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        try:
            seed, spawned, position = (integer("state", name, state[name], 0) for name in _NUMBERS_OF_STATE)
            path = tuple(integer("state", "path", one, 0) for one in state["path"])
            self._turn_to(seed, path, spawned, min(position, END))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"state: state must be what a generator's state was; got {state!r} ({error}).") from None

    def spawn(self, k: int) -> "list[Generator]":
        """`k` generators of streams of their own, on the same communicator; nothing is communicated.

        Parameters
        ----------
        k : int >= 0

        Notes
        -----
        A child's stream follows from the seed and the path to it: which child of which child it is, counted over all
        calls of `spawn`. What has been drawn does not matter.

        Examples
        --------
        ``walkers, noise = dc.random.Generator(7).spawn(2)``
        """
        children = []
        for i in range(self._spawned, self._spawned + integer("spawn", "k", k, 0)):
            child = Generator.__new__(Generator)
            child.comm = self.comm
            child._set_up(self._seed, (*self._path, i))
            children.append(child)
        self._spawned += len(children)
        return children

    # Numbers

    def random(self, n: Any = None, *, dtype: Any = None, out: Any = None) -> Any:
        """Uniform in [0, 1); collective.

        Parameters
        ----------
        n : int >= 0, or a shape     Of all ranks together; omitted: a single number, the same on every rank.
        dtype : float64 (multiples of 2**-53) or float32 (multiples of 2**-24); omitted, that of `out`, or float64
        out : array, optional     For this rank's block; `n` must be given.

        Returns
        -------
        array, this rank's block; a scalar without `n`

        Raises
        ------
        TypeError, ValueError     If an argument is wrong, on this rank; CollectiveMismatchError on the others.
        CollectiveMismatchError     On every rank, if the arguments or the streams differ.

        Examples
        --------
        ``Generator(7).random(3)`` on 2 ranks: the first two numbers on rank 0, the third on rank 1.
        """
        part = self._draw("random", n, dtype, "float", out, lambda _: {})
        numbers.random_into(part.flat, self._key, part.first)
        return part.result()

    def normal(self, n: Any = None, *, loc: float = 0.0, scale: float = 1.0, dtype: Any = None, out: Any = None) -> Any:
        """Normal with mean `loc` and standard deviation `scale`; collective.

        Parameters
        ----------
        n, out     As in `random`.
        loc, scale : finite numbers, `scale` not negative; the same on every rank
        dtype : float64 or float32; omitted, that of `out`, or float64

        Returns
        -------
        array, this rank's block; a scalar without `n`

        Raises
        ------
        As `random`.

        Notes
        -----
        Box and Muller's way, computed to 1e-15 of each deviation. None is beyond 9.4 `scale`; the probability of one
        there is 1e-20.
        """

        def check(_: np.dtype) -> Told:
            return {"loc": real("normal", "loc", loc), "scale": real("normal", "scale", scale, 0)}

        part = self._draw("normal", n, dtype, "float", out, check)
        numbers.normal_into(part.flat, self._key, part.first, float(loc), float(scale))
        return part.result()

    def exponential(self, n: Any = None, *, scale: float = 1.0, dtype: Any = None, out: Any = None) -> Any:
        """Exponential with mean `scale`; collective.

        Parameters
        ----------
        n, out     As in `random`.
        scale : finite number, not negative; the same on every rank
        dtype : float64 or float32; omitted, that of `out`, or float64

        Returns
        -------
        array, this rank's block; a scalar without `n`

        Raises
        ------
        As `random`.

        Notes
        -----
        By the logarithm, computed to 1e-15. None is beyond 44.4 `scale`; the probability of one there is 5e-20.
        """

        def check(_: np.dtype) -> Told:
            return {"scale": real("exponential", "scale", scale, 0)}

        part = self._draw("exponential", n, dtype, "float", out, check)
        numbers.exponential_into(part.flat, self._key, part.first, float(scale))
        return part.result()

    def integers(self, low: int, high: int | None = None, n: Any = None, *, dtype: Any = None, out: Any = None) -> Any:
        """Integers from `low` to `high` - 1, all equally probable; collective.

        Parameters
        ----------
        low, high : int     The same on every rank. Without `high`: from 0 to `low` - 1.
        n, out     As in `random`.
        dtype : any of NumPy's integers that has `low` and `high` - 1; omitted, that of `out`, or int64

        Returns
        -------
        array, this rank's block; a scalar without `n`

        Raises
        ------
        As `random`.

        Notes
        -----
        Without bias, by words of 64 bits (Lemire: Fast random integer generation in an interval, TOMACS 2019). A word
        that is refused is replaced by another one of the same element.
        """
        low, high = (0, low) if high is None else (low, high)

        def check(element: np.dtype) -> Told:
            first, end = bounds("integers", low, high, element)
            return {"low": first, "high": end}

        part = self._draw("integers", n, dtype, "integer", out, check)
        span = (index(high) - index(low)) % 2**64
        numbers.integers_into(part.flat, self._key, part.first, np.uint64(index(low) % 2**64), np.uint64(span))
        return part.result()

    # Orders

    def permutation(self, x: Any) -> np.ndarray:
        """The numbers from 0 to `x` - 1 in a random order, or the rows of a distributed array; collective.

        Parameters
        ----------
        x : int >= 0, the same on every rank; or an array, this rank's block of the rows
            Blocks may differ in length.

        Returns
        -------
        array
            This rank's block of the numbers, as `scatter` cuts them; or rows, as many as this rank has passed. Over all
            ranks, one after the other, these are ``rows[permutation(len(rows))]``.

        Raises
        ------
        As `random`.

        Notes
        -----
        Up to 65536 all n! orders are equally probable; every rank computes the whole. Above, each rank computes its
        block alone, by a Feistel network with a key of 768 bits: single places and pairs of them are as in a random
        order, as far as tests can tell, but most of the n! orders do not occur. Takes n elements of the stream.

        Rows travel once, by `alltoall`; before that, where each comes from, 8 bytes.
        """
        if not is_integer(x):
            return self._reordered("permutation", x, dict)

        def check(_: np.dtype) -> Told:
            integer("permutation", "x", x, 0)
            return {}

        part = self._draw("permutation", x, None, "integer", None, check)
        self._order_into(part.flat, part.base, part.first - part.base, index(x))
        return part.array

    def shuffle(self, x: np.ndarray) -> None:
        """Put the rows of a distributed array into a random order, in place; collective.

        Parameters
        ----------
        x : array, this rank's block of the rows     Blocks may differ in length.

        Raises
        ------
        As `random`.

        Notes
        -----
        The order and the cost of ``permutation(x)``.
        """

        def check() -> Told:
            check_out(x, None, "shuffle", "x")
            return {}

        x[...] = self._reordered("shuffle", x, check)

    def choice(self, a: Any, n: Any = None, replace: bool = True) -> np.ndarray:
        """Choose from the numbers 0 to `a` - 1, or from the rows of a distributed array; collective.

        Parameters
        ----------
        a : int >= 1, the same on every rank; or an array, this rank's block of the rows
            To choose from what every rank has, such as a list of words: ``words[gen.choice(len(words), n)]``.
        n : int >= 0, or a shape     Of all ranks together; omitted: a single number, the same on every rank; no row.
        replace : bool     Whether the same may be chosen again.

        Returns
        -------
        array, this rank's block of the numbers or of the rows

        Raises
        ------
        As `random`; ValueError on every rank, if there are fewer than `n` to choose from without replacement.

        Notes
        -----
        With replacement as `integers`, without as the beginning of a `permutation`. Rows are fetched as there.
        """
        if not is_integer(a):
            return self._chosen_rows(a, n, replace)

        def check(_: np.dtype) -> Told:
            told = {"replace": flag("choice", "replace", replace), "a": index(a)}
            check_enough("choice", a, n, replace)
            return told

        part = self._draw("choice", n, None, "integer", None, check)
        self._choose_into(part, index(a), replace)
        return part.result()


_NUMBERS_OF_STATE = ("seed", "spawned", "position")


def _revive(comm: "Communicator", state: dict[str, Any]) -> Generator:
    generator = Generator.__new__(Generator)
    generator.comm = comm
    generator._set_up(0, ())
    generator.state = state
    return generator
