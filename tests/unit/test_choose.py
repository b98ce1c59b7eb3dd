"""The rules by which a way is chosen: the file that keeps them, and how they are found from measurements."""

import json
from dataclasses import replace

import pytest

from dcomp import _tune
from dcomp.engine.choose import NEVER, Rule, format_rules, parse_rules, rules_from, shipped


def test_what_is_not_in_the_file_is_as_shipped():
    rules = rules_from('{"MPICH": {"bcast": {"once": 5}}}', "MPICH")
    assert rules.of("bcast", 2) == replace(shipped("bcast", 2), once=5)
    assert rules.of("scatter", 2) == shipped("scatter", 2) != Rule()
    assert rules_from('{"MPICH": {"bcast": {"once": 5}}}', "Open MPI").of("bcast", 2) == shipped("bcast", 2)


def test_a_root_does_less_alone_the_more_ranks_there_are():
    for name in ("bcast", "scatter"):
        alone = [shipped(name, size).alone for size in (2, 3, 4, 8, 16, 64)]
        assert alone == sorted(alone, reverse=True)
        assert alone[0] == 4 << 20


def test_a_file_comes_back():
    numbers = {"MPICH": {"bcast": {"once": 1, "mpi": NEVER}}, "Open MPI": {"reduce": {"heap": 0}}}
    assert parse_rules(format_rules(numbers)) == numbers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("[1]", "the file holds .1., which is no table"),
        ('{"MPICH": 3}', "MPICH holds 3"),
        ('{"MPICH": {"bcast": null}}', "MPICH, bcast holds None"),
        ('{"MPICH": {"bcast": {"twice": 3}}}', "MPICH, bcast: twice = 3 is no number of bytes of alone, heap"),
        ('{"MPICH": {"bcast": {"once": -1}}}', "once = -1"),
        ('{"MPICH": {"bcast": {"once": 1.5}}}', "once = 1.5"),
        ('{"MPICH": {"bcast": {"once": true}}}', "once = True"),
        ('{"MPICH": {"bcast": {"once": 10000000000000000000}}}', "once = 1"),
    ],
)
def test_a_bad_file_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        rules_from(text, "MPICH")


SIZES = [1 << n for n in range(16, 22)]


@pytest.mark.parametrize("once", [*range(len(SIZES) + 1)])
@pytest.mark.parametrize("mpi", [*range(len(SIZES) + 1)])
def test_bounds_are_where_another_way_becomes_the_fastest(once, mpi):
    times = {}
    for place, nbytes in enumerate(SIZES):
        best = 2 if place >= mpi else 1 if place >= once else 0
        times[nbytes] = [1.0 if way == best else 1.5 for way in range(3)]
    found = _tune._numbers(_tune._BLOCKS, {True: times})
    bound = [*SIZES, NEVER]
    assert found == {"once_far": bound[min(once, mpi)], "mpi_far": bound[mpi]}


def test_one_odd_measurement_moves_no_bound():
    times = {nbytes: [1.0, 1.5, 1.5] if nbytes < 1 << 19 else [1.5, 1.0, 1.5] for nbytes in SIZES}
    times[1 << 17] = [1.2, 1.0, 1.5]
    assert _tune._numbers(_tune._BLOCKS, {False: times}) == {"once": 1 << 19, "mpi": NEVER}


def test_cores_that_are_far_for_a_while_tell_nothing():
    times = {nbytes: [1.0, 1.5, 1.5] for nbytes in SIZES}
    far = {SIZES[2]: [1.5, 1.0, 1.5]}
    assert _tune._numbers(_tune._BLOCKS, {False: times, True: far}) == {"once": NEVER, "mpi": NEVER}
    del times[SIZES[0]]
    assert _tune._numbers(_tune._BLOCKS, {False: times, True: {SIZES[0]: [1.0, 2.0, 2.0]}}) == {}


def test_mpi_must_be_faster_by_more_than_noise():
    times = {nbytes: [1.03, 2.0, 1.0] for nbytes in SIZES}
    assert _tune._numbers(_tune._BLOCKS, {False: times}) == {"once": NEVER, "mpi": NEVER}


def test_the_heap_ends_where_it_is_slower():
    times = {nbytes: [1.0, 1.1] for nbytes in SIZES}
    assert _tune._numbers(_tune._COMBINED, {False: times}) == {"heap": 1 << 20}
    times = {nbytes: [1.2 if nbytes > 1 << 18 else 0.9, 1.0] for nbytes in SIZES}
    assert _tune._numbers(_tune._COMBINED, {False: times}) == {"heap": 1 << 18}
    times = {nbytes: [1.2, 1.0] for nbytes in SIZES}
    assert _tune._numbers(_tune._COMBINED, {False: times})["heap"] < SIZES[0]


def test_lanes_begin_where_they_are_faster():
    times = {nbytes: [1.0, 2.0 if nbytes < 1 << 18 else 0.5] for nbytes in SIZES}
    assert _tune._numbers(_tune._SPREAD, {False: times}) == {"lanes": 1 << 18}


def test_a_root_shares_its_work_where_that_is_faster():
    near = {nbytes: [1.0, 2.0 if nbytes < 1 << 18 else 0.5] for nbytes in SIZES}
    far = {nbytes: [1.0, 2.0 if nbytes < 1 << 20 else 0.5] for nbytes in SIZES}
    assert _tune._numbers(_tune._ROOTS, {False: near, True: far}) == {"alone": 1 << 18}


def test_writing_keeps_what_others_have_found(tmp_path, monkeypatch):
    path = tmp_path / "new" / "rules.json"
    monkeypatch.setattr(_tune.MPI, "get_vendor", lambda: ("MPICH", (5, 0, 2)))
    assert _tune._write(str(path), {"bcast": {"once": 7}}) is None
    monkeypatch.setattr(_tune.MPI, "get_vendor", lambda: ("Open MPI", (5, 0, 1)))
    assert _tune._write(str(path), {"bcast": {"once": 8}}) is None
    assert _tune._write(str(path), {"bcast": {"lanes": 9}, "reduce": {"lanes": 1}}) is None
    assert json.loads(path.read_text()) == {
        "MPICH": {"bcast": {"once": 7}},
        "Open MPI": {"bcast": {"once": 8, "lanes": 9}, "reduce": {"lanes": 1}},
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["rules.json"]
    path.write_text("{")
    assert "rules.json cannot be written: Expecting" in _tune._write(str(path), {})
    assert path.read_text() == "{"
