"""The tests under mpirun once more, with other settings: the comparisons with NumPy must hold in every mode."""

import re
from pathlib import Path

import pytest
from launch import mpirun

from dcomp._table import COLLECTIVES, SCAN

_TESTS = Path(__file__).parents[1] / "mpi"
_NAMES = [row.name for row in COLLECTIVES if row is not SCAN]  # scan has nothing that the others have not
_FILES = [_TESTS / f"test_{name}.py" for name in ("elementwise", *_NAMES)]


def _run(n: int, *arguments: object, **settings: str) -> str:
    done = mpirun(n, "-m", "pytest", "-q", "-rs", "--color=no", "-p", "no:cacheprovider", "--with-mpi",
                  *map(str, arguments), env=settings, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("check", "half"), [("local", 0), ("off", 1)])
def test_without_the_checks_results_are_the_same(check, half):
    # Ranks that meet in shared memory compare their calls in any case.
    output = _run(3, *_FILES, "--thin", 2, "--part", half, DCOMP_CHECK=check, DCOMP_ENGINE="mpi")
    assert int(re.search(r"(\d+) passed", output)[1]) > 400
    assert "the checks are off" in output


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ranks_per_node", ["1", "2", "3"])
def test_pretended_nodes(ranks_per_node):
    select = "node or leaders or shared_array"
    output = _run(4, _TESTS / "test_communicators.py", "-k", select, DCOMP_RANKS_PER_NODE=ranks_per_node)
    assert int(re.search(r"(\d+) passed", output)[1]) > 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"DCOMP_CHECK": "on"}, "DCOMP_CHECK=on: must be collective"),
        ({"DCOMP_CHEKC": "off"}, "DCOMP_CHEKC: no such setting"),
        ({"DCOMP_RANKS_PER_NODE": "0"}, "DCOMP_RANKS_PER_NODE=0: must be"),
    ],
)
def test_bad_settings_are_an_error_on_every_rank(settings, told):
    code = "import dcomp as dc\ntry:\n    dc.size\nexcept dc.SettingError as e:\n    print('TOLD', e)"
    done = mpirun(2, "-c", code, env=settings)
    assert done.stdout.count("TOLD") == 2
    assert done.stdout.count(told) == 2


def test_settings_that_differ_between_ranks():
    code = (
        "import os\nfrom mpi4py import MPI\n"
        "os.environ['DCOMP_CHECK'] = 'off' if MPI.COMM_WORLD.rank else 'local'\n"
        "import dcomp as dc\ntry:\n    dc.size\nexcept dc.SettingError as e:\n    print('TOLD', e)"
    )
    done = mpirun(3, "-c", code)
    told = "DCOMP_CHECK must be the same on every rank; got local on rank 0 and off on ranks 1, 2 of 3"
    assert done.stdout.count(told) == 3, done.stdout + done.stderr
