"""The rows, and that every place that needs one for each collective has it."""

import pytest

from dcomp._collectives import Collectives
from dcomp._nonblocking import NonBlocking
from dcomp._persistent import Persistent
from dcomp._table import COLLECTIVES, Shape


def test_names_are_unique_and_rows_frozen():
    assert len({row.name for row in COLLECTIVES}) == len(COLLECTIVES) == 11
    with pytest.raises(AttributeError):
        COLLECTIVES[0].name = "other"


@pytest.mark.parametrize("row", COLLECTIVES, ids=lambda row: row.name)
def test_every_row_has_its_methods(row):
    assert hasattr(Collectives, row.name)
    assert hasattr(NonBlocking, f"i{row.name}")
    assert hasattr(Persistent, f"{row.name}_init")


def test_no_method_without_a_row():
    names = {row.name for row in COLLECTIVES}
    assert _public(Collectives) == names
    assert _public(NonBlocking) == {f"i{name}" for name in names}
    assert _public(Persistent) == {f"{name}_init" for name in names}


def _public(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if callable(value) and name[0] != "_"}


@pytest.mark.parametrize("row", COLLECTIVES, ids=lambda row: row.name)
def test_rows_are_what_the_signatures_say(row):
    import inspect

    parameters = inspect.signature(getattr(Collectives, row.name)).parameters
    assert ("root" in parameters) == row.rooted
    assert ("op" in parameters) == row.reduces
    assert ("x" in parameters) == (row.shape is not Shape.NONE)
    if row.shape is not Shape.NONE:
        assert (parameters["x"].default is None) == row.from_root


@pytest.mark.parametrize("row", COLLECTIVES, ids=lambda row: row.name)
def test_mpi4py_has_the_method(row):
    from mpi4py import MPI

    assert hasattr(MPI.Comm, row.mpi) or hasattr(MPI.Intracomm, row.mpi)
