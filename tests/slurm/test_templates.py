"""The templates of `slurm/`, filled in and submitted, on a cluster whose nodes die and are claimed by others.

All jobs run at once, for most of the time goes by in waiting. The tests look at what has become of them.
"""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster, Job, fill
from job_programs import PLACES, STEPS, after_steps
from launch import options

EXAMPLE = Path(__file__).parents[2] / "examples" / "preempted.py"
pytestmark = pytest.mark.timeout(300)

_SRUN = "srun --mpi=pmix" if options() else "srun --mpi=pmi2 -K"
_ELSEWHERE = "--exclude=n3,n4"  # n3 dies, and n4 is claimed


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, tmp_path_factory) -> dict[str, Job]:
    root = tmp_path_factory.mktemp("jobs")
    for name, text in (("places", PLACES), ("steps", STEPS)):
        (root / f"{name}.py").write_text(text)
    places, steps = root / "places.py", root / "steps.py"
    pair = {"program": steps, "nodes": 2, "ntasks_per_node": 1}
    requeue = fill("requeue", **pair, time=1, signal="B:USR1@15")
    dying = fill("requeue", **pair)
    by_srun = dying.replace('mpirun -n "$SLURM_NTASKS"', _SRUN)
    assert by_srun != dying
    to_submit = {
        "requeue": (requeue, [_ELSEWHERE], {"RESTARTS": "2"}),
        "mpirun": (dying, ["--nodelist=n1,n3"], {"RESTARTS": "1"}),
        "srun": (by_srun, ["--nodelist=n2,n3"], {"RESTARTS": "1"}),
        "batch host": (dying, ["--nodelist=n3,n4"], {"RESTARTS": "1"}),
        "preemptible": (
            fill("preemptible", program=steps, nodes=1, ntasks_per_node=2), ["--nodelist=n4"], {"RESTARTS": "1"}
        ),
        "fails": (fill("requeue", **pair), [_ELSEWHERE], {"RESTARTS": "9", "FAILS": "3"}),
        "one_node": (fill("one_node", program=places, ntasks=2), [_ELSEWHERE], {}),
        "many_nodes": (fill("many_nodes", program=places, nodes=2, ntasks_per_node=2), [_ELSEWHERE], {}),
        "threads": (
            fill("ranks_and_threads", program=places, nodes=2, ntasks_per_node=1, cpus_per_task=2), [_ELSEWHERE], {}
        ),
        "array": (fill("array", program=places, ntasks=1, array="3-5:2"), [_ELSEWHERE], {}),
    }  # fmt: skip
    # On four ranks, and on three when it is started again; long enough to be told to stop.
    example = fill("requeue", program=EXAMPLE, checkpoint="preempted", nodes=2, ntasks_per_node=2, time=10)
    example = example.replace('"$SLURM_NTASKS"', "$((SLURM_NTASKS - restarts))")
    example = example.replace('"$program"', '"$program" --steps 150 --every 40 --pause 0.1')
    to_submit["example"] = (example, [_ELSEWHERE], {})
    submitted = {
        name: cluster.submit(root / name, script, *flags, **settings)
        for name, (script, flags, settings) in to_submit.items()
    }
    for name in ("mpirun", "srun", "batch host", "preemptible"):
        submitted[name].wait_for_file("checkpoint/000002.npy")
    submitted["example"].wait_for_file("preempted/*.step-40")
    cluster.do("scancel", "--batch", "--signal=USR1", str(submitted["example"].number))
    claim = ["--nodelist=n4", "--nodes=1", "--ntasks=15"]
    submitted["claim"] = cluster.submit(root / "claim", "#!/bin/bash\nsleep 1\n", *claim)
    cluster.kill("n3")
    deadline = time.monotonic() + 60
    while "down" not in cluster.do("sinfo", "--noheader", "--nodes=n3", "--format=%T"):
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.2)
    cluster.up()
    return submitted


def starts(job: Job) -> list[tuple[int, int]]:
    """Of each start of STEPS its number and its first step; what it has computed is right, and it has finished."""
    last = max((job.folder / "checkpoint").glob("*.npy"))
    assert np.array_equal(np.load(last), after_steps(int(last.stem)))
    assert (job.folder / "finished.txt").exists(), job.output()
    return [(int(number), int(step)) for number, step in re.findall(r"START (\d+) at (\d+)", job.output())]


@pytest.mark.parametrize("name", ["mpirun", "srun", "batch host"])
def test_death_of_a_node(jobs, name):
    """The run goes on: under mpirun and under srun, and if the node was the batch script's."""
    job = jobs[name]
    assert job.wait() == "COMPLETED", job.output()
    (none, start), (again, step) = starts(job)
    assert (none, start, again) == (0, 0, 1)
    assert step >= 2


def test_preemptible(jobs):
    """A job of more weight has claimed the node; the run made room, and went on when that had ended."""
    assert jobs["claim"].wait() == "COMPLETED"
    job = jobs["preemptible"]
    assert job.wait() == "COMPLETED", job.output()
    (stop,) = re.findall(r"STOP at (\d+)", job.output())
    assert starts(job) == [(0, 0), (1, int(stop))]


def test_requeue(jobs):
    """The signal before the limit stops it; the second time one rank alone has got a signal, if that was not first."""
    job = jobs["requeue"]
    assert job.wait() == "COMPLETED", job.output()
    first, second = map(int, re.findall(r"STOP at (\d+)", job.output()))
    assert first < second <= first + 2
    assert starts(job) == [(0, 0), (1, first), (2, second)]


def test_example_is_preempted_and_goes_on_at_another_number_of_ranks(jobs):
    """The program itself compares the bits with those of an undisturbed run."""
    job = jobs["example"]
    assert job.wait() == "COMPLETED", job.output()
    first, again = re.findall(r"preempted: from step (\d+) on (\d) ranks, (\d+) s left", job.output())
    assert first[:2] == ("0", "4")
    assert 40 <= int(again[0]) < 150
    assert again[1] == "3"
    assert all(300 < int(left) <= 600 for *_, left in (first, again))
    assert "MPI_COMM_WORLD is to stop: " in job.output()
    assert "preempted: OK, 150 steps, the bits of an undisturbed run" in job.output()


def test_one_node(jobs):
    job = jobs["one_node"]
    assert job.wait() == "COMPLETED", job.output()
    assert re.search(r"RANKS (n[12]) \1; ", job.output()), job.output()


def test_many_nodes(jobs):
    job = jobs["many_nodes"]
    assert job.wait() == "COMPLETED", job.output()
    assert "RANKS n1 n1 n2 n2; " in job.output()


def test_ranks_and_threads(jobs):
    job = jobs["threads"]
    assert job.wait() == "COMPLETED", job.output()
    assert f"RANKS n1 n2; {min(2, os.cpu_count())} threads" in job.output()


def test_array(jobs):
    job = jobs["array"]
    assert job.wait() == "COMPLETED", job.output()
    # One of the runs has the number of the whole array; each knows its own end.
    assert len(re.findall(r"RANKS n[12]; \d threads; 1[78]\d\d s; \['[35]'\]", job.output())) == 2, job.output()
    assert {path.name for path in job.folder.glob("finished*")} == {"finished-3.txt", "finished-5.txt"}


def test_program_that_fails_is_not_started_for_ever(jobs):
    """Once more, for it had got further; then it had not."""
    job = jobs["fails"]
    assert job.wait() == "FAILED", job.output()
    assert re.findall(r"START (\d+) at (\d+)", job.output()) == [("0", "0"), ("1", "3")]
    assert "not started again: no new checkpoint" in job.output()
    assert not (job.folder / "finished.txt").exists()
