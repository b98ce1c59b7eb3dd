"""One cluster for all tests here; when it goes, its nodes must be as they were."""

import time

import pytest
from cluster import Cluster, why_not
from launch import mpirun


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if fault := why_not():
        pytest.skip(fault)
    # Once here what every job would compile, all at the same time: what ranks of a node need, and of several nodes.
    mpirun(4, "-c", "import dcomp; dcomp.barrier()", env={"DCOMP_RANKS_PER_NODE": "2"}, timeout=250)
    four = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        four.up()
        yield four
        four.do("scancel", "--user=root")  # what a test that has failed does not wait for
        for node in ("n1", "n2", "n3", "n4"):
            deadline = time.monotonic() + 20  # Slurm ends what a job has left behind
            while left := four.processes(node):
                assert time.monotonic() < deadline, f"left behind on {node}: {left}"
                time.sleep(0.1)
            # Named files of dcomp's there are none; MPIs leave some of ranks that were killed.
            assert not [name for name in four.shared_memory(node) if "dcomp" in name]
    finally:
        four.down()
