"""From what all ranks say to the message."""

import pytest

import dcomp as dc
from dcomp import _explain
from dcomp._explain import explain


def _told(*facts: dict, function: str = "allreduce", faults: dict | None = None) -> list[_explain.Testimony]:
    return [
        _explain.Testimony(function, tuple(one.items()), f"program.py:{10 + rank} in main", (faults or {}).get(rank))
        for rank, one in enumerate(facts)
    ]


def test_other_functions():
    told = [*_told({}, {}), *_told({}, function="barrier")]
    error = explain(told, "call")
    assert type(error) is dc.CollectiveMismatchError
    assert str(error).startswith(
        "allreduce/barrier: the ranks must call the same collective in the same order; "
        "got allreduce on ranks 0, 1 and barrier on rank 2 of 3."
    )
    assert "program.py:10" in str(error)


def test_the_first_difference_is_named():
    right = {"op": "SUM", "dtype": "float64", "shape": "(3,)"}
    error = explain(_told(right, {**right, "op": "MAX", "shape": "(4,)"}), "call")
    assert type(error) is dc.CollectiveMismatchError
    assert str(error).startswith(
        "allreduce: op must be the same on every rank; got SUM on rank 0 and MAX on rank 1 of 2."
    )


def test_shapes_have_their_own_class():
    error = explain(_told({"shape": "(3,)"}, {"shape": "(3,)"}, {"shape": "(4,)"}), "layout")
    assert type(error) is dc.ShapeMismatchError
    assert str(error).startswith("allreduce: shape must fit together; got (3,) on ranks 0, 1 and (4,) on rank 2 of 3.")


def test_root_and_out():
    told = _told({"shape": "(3,)", "dtype": "float64"}, {"shape of out": "(4,)", "dtype of out": "float64"})
    error = explain(told, "layout")
    assert type(error) is dc.ShapeMismatchError
    assert "shape of out must fit together" in str(error)
    told = _told({"shape": "(3,)", "dtype": "float64"}, {"shape of out": "(3,)", "dtype of out": "float32"})
    error = explain(told, "layout")
    assert type(error) is dc.CollectiveMismatchError
    assert "dtype of out must be the same" in str(error)


@pytest.mark.parametrize(("problem", "part"), [("out", "out must have the length"), ("length", "along split_axis")])
def test_lengths(problem, part):
    error = explain(_told({"shape": "(3,)"}, {"shape": "(4,)"}), problem)
    assert type(error) is dc.ShapeMismatchError
    assert part in str(error)


def test_faults_are_quoted_with_their_lines():
    error = explain(_told({}, {}, {}, faults={1: "ValueError: allreduce: axis must be ..."}), "call")
    assert type(error) is dc.CollectiveMismatchError
    assert "wrong arguments on rank 1 of 3, at program.py:11 in main: ValueError: allreduce: axis" in str(error)


def test_many_faults_are_told_briefly():
    faults = {rank: f"ValueError: wrong {rank}" for rank in range(1, 64)}
    told = str(explain(_told(*[{}] * 64, faults=faults), "call"))
    for rank in (1, 2, 3):
        assert f"ValueError: wrong {rank}" in told
    assert "wrong 4" not in told
    assert "and on ranks 4-63." in told


def test_each_call_is_told_once_with_its_ranks_and_line():
    facts = [{"op": "SUM"}] * 2 + [{"op": "MAX"}] * 2
    told = [one._replace(site=f"program.py:{5 + rank // 2} in main") for rank, one in enumerate(_told(*facts))]
    lines = str(explain(told, "call")).splitlines()
    assert "  ranks 0, 1: allreduce(op=SUM) at program.py:5 in main" in lines
    assert "  ranks 2, 3: allreduce(op=MAX) at program.py:6 in main" in lines


def test_many_different_calls_are_told_briefly():
    told = str(explain(_told(*({"shape": f"({n},)"} for n in range(1000))), "layout"))
    assert len(told) < 3000
    assert "996 more" in told
    assert "992 more" in told


def test_no_difference_found():
    error = explain(_told({"op": "SUM"}, {"op": "SUM"}), "call")
    assert type(error) is dc.CollectiveMismatchError
    assert "program.py:11" in str(error)


def test_every_message_says_that_one_can_go_on():
    for problem in ("call", "layout", "out", "length", "counts"):
        assert "communicator can be used again" in str(explain(_told({"op": "SUM"}, {"op": "MAX"}), problem))
    fault = {0: "TypeError: x"}
    assert "communicator can be used again" in str(explain(_told({}, {}, faults=fault), "call"))
