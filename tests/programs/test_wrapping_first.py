"""Programs whose first use of dcomp is `dc.Communicator(mpi_comm)`."""

from launch import mpirun

_BEGIN = """\
import os, sys, time
from mpi4py import MPI
import dcomp as dc

world = MPI.COMM_WORLD
"""


def _run(tmp_path, program, **env):
    path = tmp_path / "program.py"
    path.write_text(_BEGIN + program)
    done = mpirun(4, path, env=env, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_the_whole_job(tmp_path):
    """The job starts with it: a rank's error ends all, though no one has used COMM_WORLD."""
    status, told = _run(
        tmp_path,
        """
comm = dc.Communicator(world.Dup())
assert comm.allreduce(1) == 4
if comm.rank == 2:
    raise ZeroDivisionError("on purpose")
time.sleep(50)
""",
    )
    assert status != 0
    assert told.count("ZeroDivisionError: on purpose") == 1, told


def test_a_part_of_the_job(tmp_path):
    """The other ranks may know nothing of dcomp; what all use later starts the job."""
    status, told = _run(
        tmp_path,
        """
part = world.Split(world.rank == 3)
if world.rank < 3:
    comm = dc.Communicator(part)
    assert comm.allreduce(1) == 3
    assert comm.split(0).size == 3
    try:
        comm.node
    except dc.UsageError as error:
        os.write(1, f"{error}\\n".encode())
    try:
        comm.allreduce(comm.rank) if comm.rank else comm.barrier()
    except dc.CollectiveMismatchError:
        os.write(1, b"told\\n")
world.Barrier()
assert dc.allreduce(1) == 4
if world.rank < 3:
    assert comm.allreduce(1) == 3
    assert comm.node.size == 3
""",
    )
    assert status == 0, told
    assert told.count("the ranks' nodes are not known yet: use dc.COMM_WORLD on every rank of the job first.") == 3
    assert told.count("told\n") == 3


def test_settings_hold_for_a_part(tmp_path):
    program = """
part = world.Split(world.rank % 2)
try:
    dc.Communicator(part)
except dc.SettingError as error:
    os.write(1, f"{error}\\n".encode())
"""
    status, told = _run(tmp_path, program, DCOMP_CHECK="sometimes")
    assert status == 0
    assert told.count("DCOMP_CHECK=sometimes: must be") == 4, told
