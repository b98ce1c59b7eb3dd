"""The Parallel Research Kernels verify their results, at any number of ranks."""

from pathlib import Path

import pytest
from launch import mpirun

RUN = Path(__file__).parents[2] / "benchmarks" / "prk" / "run.py"
KERNELS = ("stencil", "transpose", "nstream", "p2p")

pytestmark = pytest.mark.timeout(400)  # the first to run compiles


@pytest.mark.parametrize("ranks", [1, 4])
def test_all_are_verified(ranks, tmp_path):
    done = mpirun(ranks, RUN, "--size", "67", "--iterations", "3", timeout=300, cwd=tmp_path)  # blocks are not alike
    assert done.returncode == 0, done.stdout + done.stderr
    for name in KERNELS:
        assert f"{name} 67, {ranks} ranks" in done.stdout
    assert done.stdout.count(" verified") == len(KERNELS)


@pytest.mark.parametrize("name", ["stencil", "p2p"])
def test_a_size_with_too_little_for_a_rank_is_refused(name, tmp_path):
    done = mpirun(2, RUN, "--kernels", name, "--size", "3", timeout=300, cwd=tmp_path)
    assert done.returncode != 0
    assert f"{name}: size must" in done.stderr
