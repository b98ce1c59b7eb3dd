"""hypothesis draws cases: the same on every rank, for communicators of any size.

Shapes, counts and roots are drawn as numbers that do not depend on a communicator's size and are then fitted to it,
so that the parts of a split communicator, which differ in size, draw alike.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracle
from arrays import DTYPES, LAYOUTS, values
from hypothesis import strategies as st
from oracle import FORMS, Case, seed_of

import dcomp as dc

CHECKS_ON = os.environ.get("DCOMP_CHECK", "collective") == "collective"
SUMMABLE = [dtype for dtype in DTYPES if dtype.kind in "biufcm"]


@dataclass
class Draw:
    """What hypothesis has chosen."""

    seed: int
    dtype: np.dtype
    shape: tuple[int, ...]
    axis: int
    other_axis: int
    root: int
    lengths: list[int]
    uneven: bool
    counts: bool
    form: str
    layout: str
    out: str | None

    def root_in(self, size: int) -> int:
        return self.root % size

    def lengths_in(self, size: int, shift: int = 0) -> list[int]:
        """A length for each rank."""
        if not self.uneven:
            return [self.lengths[0]] * size
        return [self.lengths[(rank + shift) % len(self.lengths)] for rank in range(size)]

    def shape_with(self, length: int, axis: int | None = None) -> tuple[int, ...]:
        shape = list(self.shape)
        shape[self.axis if axis is None else axis] = length
        return tuple(shape)


@st.composite
def draws(draw: Any, dtypes: list = DTYPES, least_ndim: int = 1) -> Draw:
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=least_ndim, max_size=4)))
    axes = st.integers(-len(shape), len(shape) - 1) if shape else st.just(0)
    return Draw(
        seed=draw(st.integers(0, 99)),
        dtype=draw(st.sampled_from(dtypes)),
        shape=shape,
        axis=draw(axes),
        other_axis=draw(axes),
        root=draw(st.integers(0, 7)),
        lengths=draw(st.lists(st.integers(0, 6), min_size=8, max_size=8)),
        uneven=draw(st.booleans()),
        counts=draw(st.booleans()),
        form=draw(st.sampled_from(FORMS)),
        layout=draw(st.sampled_from(LAYOUTS)),
        out=draw(st.sampled_from([None, None, *LAYOUTS[:4]])),
    )


def case_for(name: str, comm: dc.Communicator, d: Draw, seed: int | None = None) -> Case:
    """The case of collective `name` that a draw means on a communicator."""
    size, root = comm.size, d.root_in(comm.size)
    start = seed_of(comm, d.seed if seed is None else seed)
    # Without the checks `out` together with uneven blocks needs the counts.
    counts = d.counts or (not CHECKS_ON and d.out is not None)
    if name == "barrier":
        return Case("barrier", [{}] * size, [None] * size)
    if name == "bcast":
        return oracle.bcast(size, values(start, d.shape, d.dtype), root=root)
    if name == "scatter":
        lengths = d.lengths_in(size)
        if not counts:
            lengths = oracle.even(sum(lengths), size)
        x = values(start, d.shape_with(sum(lengths)), d.dtype)
        # Without the checks, counts are given on every rank or on none.
        told = "all" if d.uneven or not CHECKS_ON else "root"
        return oracle.scatter(size, x, root=root, axis=d.axis, counts=lengths if counts else None, told=told)
    if name in ("gather", "allgather"):
        lengths = d.lengths_in(size)
        xs = [values((start, rank), d.shape_with(n), d.dtype) for rank, n in enumerate(lengths)]
        options: dict[str, Any] = {"axis": d.axis}
        if counts:
            options["counts"] = lengths
        if name == "gather":
            return oracle.gather(xs, root=root, **options)
        return oracle.allgather(xs, **options)
    if name == "alltoall":
        return _alltoall(size, start, d, counts)
    lengths = d.lengths_in(size)
    options = {"root": root} if name == "reduce" else {}
    shape = d.shape
    if name == "reduce_scatter":
        shape, options = d.shape_with(sum(lengths)), {"axis": d.axis}
        if counts:
            options["counts"] = lengths
    xs = [values((start, rank), shape, d.dtype) for rank in range(size)]
    return oracle.reduction(name, xs, **options)


def _alltoall(size: int, start: int, d: Draw, counts: bool) -> Case:
    ndim = len(d.shape)
    one_axis = d.axis % ndim == d.other_axis % ndim
    if one_axis:
        if counts:
            table = [d.lengths_in(size, rank) for rank in range(size)]
        else:
            table = [oracle.even(n, size) for n in d.lengths_in(size)]
        xs = [values((start, rank), d.shape_with(sum(row)), d.dtype) for rank, row in enumerate(table)]
    else:
        # Blocks are joined along another axis than the one that is cut: all are cut alike.
        table = [d.lengths_in(size)] * size if counts else [oracle.even(sum(d.lengths_in(size)), size)] * size
        joined = d.lengths_in(size, 3)
        xs = []
        for rank in range(size):
            shape = list(d.shape_with(sum(table[0])))
            shape[d.other_axis] = joined[rank]
            xs.append(values((start, rank), shape, d.dtype))
    return oracle.alltoall(
        xs,
        split_axis=d.axis,
        concat_axis=d.other_axis,
        send_counts=table if counts else None,
        tell_recv=counts and (d.uneven or not CHECKS_ON),
    )


def example_draw(**changes: Any) -> Draw:
    """A plain draw, for tests that want one case of each collective."""
    plain: dict[str, Any] = {
        "seed": 1, "dtype": np.dtype("f8"), "shape": (3, 4), "axis": 0, "other_axis": 0, "root": 1,
        "lengths": [3, 0, 5, 2, 1, 4, 6, 2], "uneven": True, "counts": False,
        "form": "method", "layout": "C", "out": None,
    }  # fmt: skip
    return Draw(**{**plain, **changes})


def case_of(comm: dc.Communicator, name: str, n: int, seed: int) -> Case:
    """Any collective but barrier, on some n whole numbers in f8, so that the order of a sum does not matter."""
    n -= n % comm.size
    start, root = seed_of(comm, seed), {"root": comm.size - 1}
    if name in ("bcast", "scatter"):
        return getattr(oracle, name)(comm.size, values(start, (n,), "i4").astype("f8"), **root)
    xs = [values((start, rank), (n,), "i4").astype("f8") for rank in range(comm.size)]
    if name in ("gather", "allgather", "alltoall"):
        return getattr(oracle, name)(xs, **(root if name == "gather" else {}))
    return oracle.reduction(name, xs, **(root if name == "reduce" else {}))
