"""Programs on pretended nodes, under settings that the other tests do not have."""

from launch import mpirun


def test_a_call_that_only_one_rank_can_make_directly(tmp_path):
    """Without checks a call goes straight to MPI where it can; where it cannot, it must meet the others there."""
    path = tmp_path / "program.py"
    path.write_text(
        """
import numpy as np
import dcomp as dc

n = 100_000
x = np.ones(2 * n)[::2] if dc.rank == 0 else np.ones(n)
out = dc.allreduce(x, out=np.empty(n))
assert (out == 4).all()
got = dc.bcast(np.asfortranarray(np.ones((300, 300)) * 3) if dc.rank == 0 else None, root=0, out=np.empty((300, 300)))
assert (got == 3).all()
"""
    )
    done = mpirun(4, path, env={"DCOMP_CHECK": "off", "DCOMP_RANKS_PER_NODE": "2"}, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
