"""Fourier transforms of distributed arrays of several axes.

>>> y = dc.fft.fftn(x)                  # x and y are this rank's blocks along axis 0
>>> y = dc.fft.fftn(x, out_axis=1)      # y is its block along axis 1: half of the communication

Along axes that a rank has whole, SciPy transforms. Along the axis that is cut none does: the array is cut along another
one first, which moves it once through the network.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._axes import turn
from ._buffers import as_array
from ._checks import dtype_text, normalise_axis
from ._communicator import Communicator
from ._whole import agree
from ._world import or_world
from ._world_map import threads

__all__ = ["fftn", "ifftn", "irfftn", "rfftn"]

_NORMS = ("backward", "ortho", "forward")


def fftn(
    x: Any,
    axes: Sequence[int] | None = None,
    *,
    norm: str = "backward",
    axis: int = 0,
    out_axis: int | None = None,
    comm: Communicator | None = None,
) -> np.ndarray:
    """The discrete Fourier transform of a distributed array.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, at least two axes     This rank's block of an array that is cut along `axis`; lengths may differ.
    axes : sequence of int, optional     Along which it is transformed; omitted, along all.
    norm : "backward", "ortho" or "forward"     As in `numpy.fft`: where the factor 1/n is.
    axis : int     Along which x is cut.
    out_axis : int, optional     Along which the result is cut, as `block` does; omitted, `axis`.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array, complex64 of float16, float32 and complex64, clongdouble of long doubles, else complex128
        This rank's block of what `numpy.fft.fftn` gives.

    Raises
    ------
    TypeError, ValueError     For an array that is not of numbers, of one axis, or for a bad axis or norm.
    CollectiveMismatchError   On every rank, if an argument, dtype or shape beyond `axis` differ.
    ImportError               On every rank, where there is no SciPy.

    Notes
    -----
    If `axis` is among `axes` the array is moved once between the ranks, and once more to be cut along `axis` again:
    with another `out_axis` that is left out. Before that one exchange compares the calls. Each rank uses its
    threads.

    Examples
    --------
    ``dc.fft.ifftn(dc.fft.fftn(x, out_axis=1) * filter, axis=1, out_axis=0)`` moves the array twice in all.
    """
    return _Transform("fftn", x, axes, norm, axis, out_axis, comm).complex("fftn")


def ifftn(
    x: Any,
    axes: Sequence[int] | None = None,
    *,
    norm: str = "backward",
    axis: int = 0,
    out_axis: int | None = None,
    comm: Communicator | None = None,
) -> np.ndarray:
    """The inverse of `fftn`; parameters, result, errors and cost as there."""
    return _Transform("ifftn", x, axes, norm, axis, out_axis, comm).complex("ifftn")


def rfftn(
    x: Any,
    axes: Sequence[int] | None = None,
    *,
    norm: str = "backward",
    axis: int = 0,
    out_axis: int | None = None,
    comm: Communicator | None = None,
) -> np.ndarray:
    """The discrete Fourier transform of a distributed real array: the half of it that tells the rest.

    Parameters, errors and cost as of `fftn`. The last one of `axes` has ``n // 2 + 1`` elements in the result; if it is
    the one that is cut, the array is moved once more.

    Returns
    -------
    array, dtype as of `fftn`     This rank's block of what `numpy.fft.rfftn` gives.
    """
    given = _Transform("rfftn", x, axes, norm, axis, out_axis, comm, is_real=True)
    last = given.axes.pop()
    given.along("rfft", [last])
    return given.complex("fftn")


def irfftn(
    x: Any,
    axes: Sequence[int] | None = None,
    *,
    n: int | None = None,
    norm: str = "backward",
    axis: int = 0,
    out_axis: int | None = None,
    comm: Communicator | None = None,
) -> np.ndarray:
    """The inverse of `rfftn`.

    Parameters, errors and cost as there, and `n`: the length of the result along the last one of `axes`; omitted,
    ``2 (m - 1)`` of m elements.

    Returns
    -------
    array, real, of the precision of what `fftn` gives     This rank's block of what `numpy.fft.irfftn` gives.
    """
    given = _Transform("irfftn", x, axes, norm, axis, out_axis, comm, n=n)
    last = given.axes.pop()
    given.complex("ifftn", ends=False)
    given.along("irfft", [last], n=n)
    return given.result()


class _Transform:
    """The arguments of one call, on which the ranks have agreed, and the array on its way.

    Attributes
    ----------
    axes : list of int     Along which it is still to be transformed.
    """

    def __init__(
        self, function: str, x: Any, axes: Any, norm: Any, axis: Any, out_axis: Any, comm: Any, *,
        is_real: bool = False, n: Any = None,
    ) -> None:  # fmt: skip
        self._comm: Communicator = or_world(comm)
        fault: Exception | None = None
        facts: dict[str, object] = {}
        try:
            from scipy import fft  # takes a while, and is not needed by others

            self._scipy = fft
            self._take(function, x, axes, axis, out_axis, is_real)
            if not isinstance(norm, str) or norm not in _NORMS:
                raise ValueError(f"{function}: norm must be one of {', '.join(_NORMS)}; got {norm!r}")
            if n is not None and (not isinstance(n, int | np.integer) or n < 1):
                raise ValueError(f"{function}: n must be an integer >= 1; got {n!r}")
            rest = (*self._block.shape[: self._at], *self._block.shape[self._at + 1 :])
            facts = {"axes": self.axes, "norm": norm, "axis": self._at, "out_axis": self._out, "n": n}
            facts |= {"dtype": dtype_text(self._block.dtype), "shape_beyond_the_axis": rest}
        except ImportError as error:
            fault = ImportError(f"{function}: needs SciPy ({error}). pip install 'dcomp[fft]'")
        except (TypeError, ValueError) as error:
            fault = error
        self._norm = norm
        agree(self._comm, function, fault, **facts)

    def _take(self, function: str, x: Any, axes: Any, axis: Any, out_axis: Any, is_real: bool) -> None:
        self._block, _ = as_array(x, function)
        ndim, kinds = self._block.ndim, "biuf" if is_real else "biufc"
        if self._block.dtype.kind not in kinds:
            wanted = "real numbers" if is_real else "numbers"
            raise TypeError(f"{function}: x must be of {wanted}; got {dtype_text(self._block.dtype)}")
        if ndim < 2:
            raise ValueError(f"{function}: x must have at least two axes, of which one is cut; got {ndim}")
        self._at = normalise_axis(axis, ndim, function)
        self._out = self._at if out_axis is None else normalise_axis(out_axis, ndim, function, "out_axis")
        given = range(ndim) if axes is None else axes
        if not isinstance(given, Iterable):
            raise TypeError(f"{function}: axes must be a sequence of integers; got {axes!r}")
        self.axes = [normalise_axis(one, ndim, function, "axes") for one in given]
        if not self.axes or len({*self.axes}) < len(self.axes):
            raise ValueError(f"{function}: axes must be different ones, at least one; got {axes!r}")

    def complex(self, name: str, *, ends: bool = True) -> np.ndarray:
        """Transform along what is left of the axes: those that are whole at once, the one that is cut thereafter."""
        cut = self._at
        self.along(name, [one for one in self.axes if one != cut])
        if cut in self.axes:
            self.along(name, [cut])
        return self.result() if ends else self._block

    def along(self, name: str, axes: list[int], **more: Any) -> None:
        """Transform along some axes, after the array has been cut along another, if it is cut along one of them."""
        if not axes:
            return
        if self._at in axes:
            self._turn_to(self._other_than(self._at))
        transform: Callable = getattr(self._scipy, name)
        where = {"axis": axes[0]} if name in ("rfft", "irfft") else {"axes": axes}
        self._block = transform(self._block, norm=self._norm, workers=threads(), **where, **more)

    def _other_than(self, axis: int) -> int:
        """Where to cut meanwhile: where the result is to be cut, else along the longest other axis."""
        if self._out != axis:
            return self._out
        lengths = [0 if one == axis else length for one, length in enumerate(self._block.shape)]
        return int(np.argmax(lengths)) if max(lengths) else int(axis == 0)

    def _turn_to(self, axis: int) -> None:
        self._block, self._at = turn(self._comm, self._block, self._at, axis), axis

    def result(self) -> np.ndarray:
        """The block of the result."""
        if self._at != self._out:
            self._turn_to(self._out)
        return self._block
