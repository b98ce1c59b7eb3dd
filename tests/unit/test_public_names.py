"""What `import dcomp` offers, what it costs, and that functions and methods agree."""

import inspect
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import dcomp as dc

_ROOT = Path(dc.__file__).parents[1]
_CODE = """
import sys, time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import dcomp
end = time.perf_counter()
print(end - middle, *(name for name in ("mpi4py.MPI", "numba", "mpi4py") if name in sys.modules))
"""
_FUNCTIONS = [
    name for name in dc.__all__ if inspect.isroutine(inspect.getattr_static(dc, name, None)) or name[0].islower()
]
_FUNCTIONS = [name for name in _FUNCTIONS if name not in ("rank", "size")]
_SECTIONS = ("Parameters", "Returns", "Raises", "Notes", "Examples")


def _python(*arguments: str, cwd: object = None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=cwd)


def test_import_starts_neither_mpi_nor_numba():
    _, *loaded = _run_code().split()
    assert loaded == []


def _run_code() -> str:
    done = _python("-c", _CODE, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_generators_need_no_mpi_until_they_are_made():
    done = _python(
        "-c", "import sys; from dcomp.random import Generator; print('mpi4py.MPI' in sys.modules)", cwd=_ROOT
    )
    assert done.stdout.split() == ["False"], done.stderr


def test_import_takes_a_tenth_of_a_second():
    seconds = [float(_run_code().split()[0]) for _ in range(5)]
    assert min(seconds) < 0.1, f"median {statistics.median(seconds):.3f} s"


def test_star_import_and_dir_load_nothing():
    done = _python("-c", "import sys, dcomp; dir(dcomp); print('mpi4py.MPI' in sys.modules)", cwd=_ROOT)
    assert done.stdout.split() == ["False"], done.stderr


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'dcomp' has no attribute 'allreduc'"):
        dc.allreduc


def test_all_is_what_dir_says():
    assert sorted(dc.__all__) == dir(dc)
    assert len(set(dc.__all__)) == len(dc.__all__)


@pytest.mark.parametrize("name", dc.__all__)
def test_every_public_name_is_there(name):
    assert getattr(dc, name) is not None


def test_nothing_else_is_public():
    """What stands in the module beside is private, or a module."""
    others = {name for name in vars(dc) if name[0] != "_"} - set(dc.__all__)
    assert {name for name in others if not inspect.ismodule(getattr(dc, name))} <= {
        "Any",
        "TYPE_CHECKING",
        "import_module",
    }


def test_the_contract_is_there():
    collectives = [
        "barrier", "bcast", "scatter", "gather", "allgather", "alltoall",
        "reduce", "allreduce", "reduce_scatter", "scan", "exscan",
    ]  # fmt: skip
    wanted = [
        *collectives,
        *(f"i{name}" for name in collectives),
        *(f"{name}_init" for name in collectives),
        *("exchange", "send", "recv", "sendrecv", "isend", "irecv", "probe", "wait_all"),
        *(f"{name}_object" for name in ("bcast", "scatter", "gather", "allgather", "send", "recv")),
        *("SUM", "PROD", "MIN", "MAX", "LAND", "LOR", "LXOR", "BAND", "BOR", "BXOR", "MINLOC", "MAXLOC", "Op"),
        *("COMM_WORLD", "COMM_SELF", "Communicator", "rank", "size", "block", "ANY_SOURCE", "ANY_TAG"),
        *("DcompError", "CollectiveMismatchError", "ShapeMismatchError", "DeadlockError", "RankFailedError"),
        "LaunchError",
    ]
    assert set(wanted) <= set(dc.__all__)


def test_tree_of_errors():
    assert issubclass(dc.ShapeMismatchError, (dc.CollectiveMismatchError, ValueError))
    assert dc.ShapeMismatchError.__mro__[1:3] == (dc.CollectiveMismatchError, dc.DcompError)
    assert issubclass(dc.ShapeMismatchError, ValueError)
    assert issubclass(dc.DeadlockError, TimeoutError)
    for name in dc.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(dc, name), dc.DcompError)


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_functions_and_methods_agree(name):
    """The same parameters in the same order, with `comm` at the end."""
    function = getattr(dc, name)
    if not hasattr(dc.Communicator, name):
        pytest.skip("no method of a communicator")
    here = dict(inspect.signature(function).parameters)
    there = dict(inspect.signature(getattr(dc.Communicator, name)).parameters)
    del there["self"]
    there = {key: value for key, value in there.items() if key[0] != "_"}
    comm = here.pop("comm")
    assert comm.kind is inspect.Parameter.KEYWORD_ONLY
    assert comm.default is None
    assert list(here) == list(there)
    for key, parameter in here.items():
        assert (parameter.kind, parameter.default) == (there[key].kind, there[key].default)
    assert (
        inspect.signature(function).return_annotation
        == inspect.signature(getattr(dc.Communicator, name)).return_annotation
    )


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_every_function_has_a_docstring(name):
    text = inspect.getdoc(getattr(dc, name))
    assert text
    first = text.splitlines()[0]
    assert first.endswith((".", "`.")) or first.endswith(tuple(".;:,")) or len(text.splitlines()) > 1


@pytest.mark.parametrize(
    "name",
    ["bcast", "scatter", "gather", "allgather", "alltoall", "reduce", "allreduce", "reduce_scatter", "scan", "exscan"],
)
def test_collectives_have_all_sections(name):
    text = inspect.getdoc(getattr(dc.Communicator, name))
    found = [section for section in _SECTIONS if re.search(rf"^{section}\n-+$", text, re.MULTILINE)]
    assert found == list(_SECTIONS)
    parameters = [key for key in inspect.signature(getattr(dc.Communicator, name)).parameters if key != "self"]
    body = text.partition("Parameters\n")[2].partition("Returns\n")[0]
    for key in parameters:
        assert re.search(rf"^{key}\b", body, re.MULTILINE), f"{key} is not described"


@pytest.mark.parametrize("name", ["Communicator", "CartComm", "Op", "Plan", "Request"])
def test_classes_and_their_methods_have_docstrings(name):
    cls = getattr(dc, name)
    assert inspect.getdoc(cls)
    for key, value in vars(cls).items():
        if key[0] != "_" and (callable(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{key} has no docstring"


def test_kernels_are_reached_through_dcomp_only():
    """Outside the root of the repository there is no `kernels`; in it, nothing of ours imports it by that name."""
    code = f"import sys; sys.path = [p for p in sys.path if p not in ('', {str(_ROOT)!r})]; import kernels"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(sys.executable).parent
    )
    assert done.returncode != 0
    assert "No module named 'kernels'" in done.stderr
    pattern = re.compile(r"^\s*(import kernels|from kernels)\b", re.MULTILINE)
    for folder in ("dcomp", "kernels", "tests", "benchmarks", "examples"):
        for path in (_ROOT / folder).rglob("*.py"):
            assert not pattern.search(path.read_text()), path


def test_typed():
    assert (_ROOT / "dcomp" / "py.typed").exists()
