"""The NAS Parallel Benchmarks give the results of their specification, at any number of ranks."""

from pathlib import Path

import pytest
from launch import mpirun

RUN = Path(__file__).parents[2] / "benchmarks" / "npb" / "run.py"

pytestmark = pytest.mark.timeout(400)  # the first to run compiles


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize("name", ["ep", "cg", "mg", "ft", "is"])
def test_class_s_is_verified(name, ranks, tmp_path):
    done = mpirun(ranks, RUN, "--benchmarks", name, "--classes", "S", timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name.upper()} class S, {ranks} ranks" in done.stdout
    assert "NOT VERIFIED" not in done.stdout
