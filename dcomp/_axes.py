"""Distributed arrays cut along another axis."""

from typing import Any

import numpy as np

from ._buffers import as_array
from ._checks import dtype_text, normalise_axis
from ._communicator import Communicator
from ._whole import agree, balance
from ._world import or_world


def redistribute(x: Any, old_axis: int, new_axis: int, *, comm: Communicator | None = None) -> np.ndarray:
    """Cut a distributed array along another axis.

    Collective: every rank of `comm` calls it, in the same order.

    Parameters
    ----------
    x : array, shape (..., n, ...)
        This rank's block of an array that is cut along `old_axis`; the lengths `n` of the ranks' blocks may differ.
    old_axis, new_axis : int     Negative ones count from the end. If they are the same, blocks of one length are made.
    comm : Communicator, optional     Omitted, COMM_WORLD.

    Returns
    -------
    array, dtype of `x`
        This rank's block along `new_axis`, cut as `block` does; whole along `old_axis`.

    Raises
    ------
    TypeError, ValueError     For an array that cannot be communicated, and for a bad axis.
    CollectiveMismatchError   On every rank, if axes, dtype or shape beyond the old axis differ.

    Notes
    -----
    One all-to-all: each rank keeps a p-th of its block and sends the rest, each element once.

    Examples
    --------
    of [[1 2] [3 4]], rank 0 [[1 2]], rank 1 [[3 4]], from axis 0 to 1  ->  rank 0 [[1] [3]], rank 1 [[2] [4]]
    """
    comm = or_world(comm)
    array, old, new, fault = np.empty(0), 0, 0, None
    facts: dict[str, object] = {}
    try:
        array, _ = as_array(x, "redistribute")
        old = normalise_axis(old_axis, array.ndim, "redistribute", "old_axis")
        new = normalise_axis(new_axis, array.ndim, "redistribute", "new_axis")
        rest = (*array.shape[:old], *array.shape[old + 1 :])
        facts = {"old_axis": old, "new_axis": new, "dtype": dtype_text(array.dtype), "shape_beyond_old_axis": rest}
    except (TypeError, ValueError) as error:
        fault = error
    agree(comm, "redistribute", fault, **facts)
    return turn(comm, array, old, new)


def turn(comm: Communicator, x: np.ndarray, old: int, new: int) -> np.ndarray:
    """`redistribute` of arguments on which the ranks have agreed."""
    if old == new:
        return np.ascontiguousarray(np.moveaxis(balance(comm, np.moveaxis(x, old, 0)), 0, old))
    return comm.alltoall(x, split_axis=new, concat_axis=old)
