"""Every example runs on 1, 3 and 4 ranks, and agrees with NumPy by its own check."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from launch import mpirun

EXAMPLES = Path(__file__).parents[2] / "examples"
# Programs and the arguments that keep them short.
PROGRAMS = {
    "kmeans": [],
    "principal_components": [],
    "flight_delays": [],
    "pagerank": [],
    "tsunami": [],
    "rod": [],
    "preempted": [],
    "lost_rank": [],
    "demo": ["--hours", "0.5"],
}


@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize("name", PROGRAMS)
def test_example_agrees_with_numpy(name, ranks, tmp_path):
    done = mpirun(ranks, EXAMPLES / f"{name}.py", *PROGRAMS[name], timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name}: OK" in done.stdout, done.stdout + done.stderr
    if name == "demo" and find_spec("matplotlib"):  # without it, it says so
        assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_every_example_is_tested():
    # `pacific` is what `tsunami` and `demo` have in common, no program.
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PROGRAMS, "pacific"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 100


def test_data_is_small():
    assert sum(path.stat().st_size for path in (EXAMPLES / "data").iterdir() if path.is_file()) < 1_000_000
