"""The benchmark of scaling measures, fits and draws."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from launch import mpirun

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scaling.py"

pytestmark = pytest.mark.timeout(400)  # the first to run compiles


def test_three_programs_both_kinds(tmp_path):
    picture = ["--picture", "scaling.png"] if find_spec("matplotlib") else []
    done = mpirun(
        3, BENCHMARK, "--elements", "10000", "--rounds", "1", "--output", "lines", *picture, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    found = [(line["program"], line["kind"], line["ranks"], line["elements"]) for line in lines]
    assert found == [
        (program, kind, ranks, 10000 * ranks if kind == "weak" else 10000)
        for program in ("stencil", "sort", "option")
        for kind in ("strong", "weak")
        for ranks in (1, 2, 3)
    ]
    assert all(line["seconds"] > 0 and line["mpi"] for line in lines)
    assert done.stdout.count("serial fraction") == 6
    assert not picture or (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
