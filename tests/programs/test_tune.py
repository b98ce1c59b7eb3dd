"""`python -m dcomp tune`, and the file that it writes."""

import json
import os

import pytest
from launch import mpirun

_SHOW = """
import os
import dcomp as dc

channel = dc.COMM_WORLD._channel
bcast, reduce = (channel.rules.of(name, channel.size) for name in ("bcast", "reduce"))
os.write(1, f"RULES {bcast.lanes} {reduce.lanes} {reduce.heap}\\n".encode())  # in one piece, unlike what print writes
"""


# The command, with arrays that take less time.
_TUNE = """
import dcomp._tune, sys
from dcomp.__main__ import main
dcomp._tune._MEMORY = 32 << 20
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_rules_are_measured_written_and_read(nodes, tmp_path):
    path = tmp_path / "rules.json"
    ranks, settings = 2 * nodes, {"DCOMP_RANKS_PER_NODE": "2"}
    tuned = mpirun(ranks, "-c", _TUNE, "tune", "--seconds", "0.01", "--output", path, env=settings)
    assert tuned.returncode == 0, tuned.stdout + tuned.stderr
    assert f"Written to {path}" in tuned.stdout
    (of_mpi,) = json.loads(path.read_text()).values()
    # Whether the cores are near or far, and whether that stays so, is the machine's affair.
    possible = {"once", "mpi", "once_far", "mpi_far", "alone"} if nodes == 1 else {"lanes"}
    assert of_mpi["bcast"].keys() <= possible, of_mpi
    (number,) = of_mpi["reduce"].values() or (1 << 20,)
    done = mpirun(ranks, "-c", _SHOW, env={**settings, "DCOMP_RULES": str(path)})
    assert [line.split()[-2 if nodes == 2 else -1] for line in done.stdout.splitlines()] == [str(number)] * ranks


def test_one_rank_has_nothing_to_tune():
    done = mpirun(1, "-m", "dcomp", "tune")
    assert done.returncode == 1
    assert "mpirun -n 8 python -m dcomp tune" in done.stderr


def test_the_users_own_rules_are_found(tmp_path):
    (tmp_path / "dcomp").mkdir()
    (tmp_path / "dcomp" / "rules.json").write_text(
        json.dumps({mpi: {"bcast": {"lanes": 77}} for mpi in ("MPICH", "Open MPI", "Intel MPI")})
    )
    for given, lanes in (("", 77), ("shipped", 128 << 10)):
        done = mpirun(2, "-c", _SHOW, env={"XDG_CONFIG_HOME": str(tmp_path), "DCOMP_RULES": given})
        assert done.stdout.count(f"RULES {lanes} ") == 2, done.stdout + done.stderr


def test_no_home_is_no_error():
    done = mpirun(2, "-c", _SHOW, env={"HOME": os.devnull, "XDG_CONFIG_HOME": "", "DCOMP_RULES": ""})
    assert done.stdout.count("RULES ") == 2, done.stdout + done.stderr


@pytest.mark.parametrize("text", ["{", "[" * 100_000, None], ids=["no JSON", "too deep", "no file"])
def test_a_bad_file_is_an_error_on_every_rank(text, tmp_path):
    path = tmp_path / "rules.json"
    if text is not None:
        path.write_text(text)
    code = (
        "import os\nimport dcomp as dc\ntry:\n    dc.size\n"
        "except dc.SettingError as e:\n    os.write(1, f'TOLD {e}\\n'.encode())"
    )
    done = mpirun(2, "-c", code, env={"DCOMP_RULES": str(path)})
    assert done.stdout.count(f"TOLD the rules in {path} cannot be used") == 2, done.stdout + done.stderr
