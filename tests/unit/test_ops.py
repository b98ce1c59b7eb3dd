"""The table of reductions, and the user's own."""

import copy
import pickle

import numpy as np
import pytest

import dcomp as dc
from dcomp._ops import PREDEFINED

_DTYPES = ["?", "i1", "u1", "i4", "u8", "f2", "f4", "f8", "g", "F", "D", "M8[s]", "m8[ns]", ">f8", ">i4", ">M8[s]"]


@pytest.mark.parametrize("op", PREDEFINED, ids=repr)
def test_predefined_are_public(op):
    assert getattr(dc, op.name) is op
    assert repr(op) == op.name
    assert isinstance(op, dc.Op)
    assert copy.copy(op) is copy.deepcopy(op) is pickle.loads(pickle.dumps(op)) is op


@pytest.mark.parametrize("op", [op for op in PREDEFINED if "LOC" not in op.name], ids=repr)
@pytest.mark.parametrize("dtype", _DTYPES)
def test_identity_changes_nothing(op, dtype):
    dtype = np.dtype(dtype)
    try:
        op.check(dtype)
    except TypeError:
        pytest.skip("not defined")
    e = op.identity_for(dtype)
    assert e.dtype == dtype.newbyteorder("=") or e.dtype == dtype
    raw = np.random.default_rng(1).integers(-100, 100, 50)
    x = (raw.astype("i8").view(dtype.newbyteorder("=")) if dtype.kind in "mM" else raw.astype(dtype)).astype(dtype)
    if op.name[0] == "L":
        x = (x != 0).astype(dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(op.function(np.full(50, e, dtype), x), x)
        np.testing.assert_array_equal(op.function(x, np.full(50, e, dtype)), x)


@pytest.mark.parametrize("op", [dc.MINLOC, dc.MAXLOC], ids=repr)
@pytest.mark.parametrize("value", ["f8", "i4", "u1", "?", "M8[s]"])
def test_identity_of_places_changes_nothing(op, value):
    dtype = np.dtype([("value", value), ("where", "u2")])
    x = np.zeros(20, dtype)
    x["where"] = np.arange(20)
    e = np.full(20, op.identity_for(dtype), dtype)
    assert (op.function(e, x) == x).all()
    assert (op.function(x, e) == x).all()


@pytest.mark.parametrize("op", PREDEFINED, ids=repr)
@pytest.mark.parametrize("dtype", ["V4", [("a", "f8")], [("a", "f8"), ("b", "f8")], [("a", "i4", (2,)), ("b", "i4")]])
def test_records_are_for_places_only(op, dtype):
    with pytest.raises(TypeError, match=f"op {op.name} is not defined for dtype"):
        op.check(np.dtype(dtype))


def test_op_takes_functions_only():
    for wrong in (3, "sum", None):
        with pytest.raises(TypeError, match="Op: function must be callable"):
            dc.Op(wrong)


def test_equal_functions_agree():
    def make(k):
        return dc.Op(lambda a, b: a + b * k)

    assert make(1).key == make(1).key


@pytest.mark.parametrize(
    "other",
    [
        dc.Op(lambda a, b: a * b),
        dc.Op(lambda a, b: a + b + 1),
        dc.Op(lambda a, b: a + b, commutative=False),
        dc.Op(lambda a, b: a + b, identity=0),
        dc.Op(lambda b, a: a - b),
        dc.Op(lambda a, b: b + a),
    ],
)
def test_other_functions_differ(other):
    assert dc.Op(lambda a, b: a + b).key != other.key


def test_values_closed_over_count():
    def make(k):
        return dc.Op(lambda a, b: a + b * k)

    assert make(1).key != make(2).key


def test_defaults_count():
    def make(k):
        def add(a, b, k=k):
            return a + b * k

        return dc.Op(add)

    assert make(1).key != make(2).key


def test_inner_functions_count():
    def plus(a, b):
        def inner(x):
            return x + 1

        return inner(a) + b

    first = dc.Op(plus)

    def plus(a, b):
        def inner(x):
            return x + 2

        return inner(a) + b

    assert first.key != dc.Op(plus).key


def test_identity_is_asked_for():
    with pytest.raises(ValueError, match="exscan: op must have an identity"):
        dc.Op(lambda a, b: a + b).identity_for(np.dtype("f8"))
    assert dc.Op(lambda a, b: a + b, identity=3).identity_for(np.dtype("f4")) == np.float32(3)
    record = np.dtype([("a", "f8"), ("b", "i4")])
    assert dc.Op(lambda a, b: a, identity=(1.5, 2)).identity_for(record).item() == (1.5, 2)
