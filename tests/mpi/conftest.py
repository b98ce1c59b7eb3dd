"""Tests under mpirun: ``mpirun -n N python -m pytest --with-mpi tests/mpi``.

All ranks run the same tests in the same order. Only rank 0 prints; what failed elsewhere it prints too.
"""

import faulthandler
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

_HERE = Path(__file__).parent

# A rank whose neighbours have failed and left ends its wait, tells so, and the run goes on. That a neighbour compiles a
# kernel for what no other rank has is no failure, however busy the machine is.
os.environ.setdefault("DCOMP_TIMEOUT", "40")
_SECONDS_TO_PRINT = 3.0


def _runs_with_mpi(config: pytest.Config) -> bool:
    return bool(config.getoption("--with-mpi", False) or config.getoption("--only-mpi", False))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder alone, and MPI unloaded, without the option that asks for it."""
    return None if _runs_with_mpi(config) else True


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not _runs_with_mpi(config):
        return
    from mpi4py import MPI

    reporter = config.pluginmanager.getplugin("terminalreporter")
    if MPI.COMM_WORLD.rank > 0 and reporter is not None:
        reporter._tw._file = io.StringIO()
        for name in ("lfplugin", "nfplugin"):  # one rank writes the cache
            plugin = config.pluginmanager.getplugin(name)
            if plugin is not None:
                config.pluginmanager.unregister(plugin)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.mpi)


def pytest_collection_finish(session: pytest.Session) -> None:
    if _runs_with_mpi(session.config):
        from parallel import is_same_everywhere

        if not is_same_everywhere("\n".join(item.nodeid for item in session.items)):
            pytest.exit("the ranks have collected different tests", returncode=3)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the silent ranks speak if it is not a test that failed."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    session = getattr(reporter, "_session", None)
    if session is not None and session.exitstatus not in (0, 1, 5) and isinstance(reporter._tw._file, io.StringIO):
        print(reporter._tw._file.getvalue(), file=sys.__stderr__)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that fails on one rank fails on all."""
    from parallel import end_of_test

    error: BaseException | None = None
    try:
        yield
    except (Exception, pytest.fail.Exception) as raised:
        error = raised
    except pytest.skip.Exception:
        end_of_test(None)
        raise
    told = end_of_test(None if error is None else "".join(traceback.format_exception(error)))
    if error is not None:
        raise error
    if told is not None:
        pytest.fail(told, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: SimpleNamespace) -> bool | None:
    """pytest-timeout's thread would end this rank only, and not every mpirun notices."""
    if _HERE not in item.path.parents:
        return None

    def give_up() -> None:
        from mpi4py import MPI

        where = f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}"
        print(
            f"\n{item.nodeid} took longer than {settings.timeout:g} s; {where} is here:", file=real_stderr, flush=True
        )
        faulthandler.dump_traceback(real_stderr, all_threads=True)
        time.sleep(_SECONDS_TO_PRINT)  # the other ranks want to print, too
        os.kill(os.getpid(), signal.SIGKILL)

    real_stderr = _real_stderr(item.config)
    timer = threading.Timer(settings.timeout, give_up)
    timer.daemon = True

    def cancel() -> None:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()

    item.cancel_timeout = cancel
    timer.start()
    # Also where compiled code holds the GIL, and so the timer up.
    faulthandler.dump_traceback_later(settings.timeout + _SECONDS_TO_PRINT / 2, file=real_stderr)
    return True


def _real_stderr(config: pytest.Config) -> io.TextIOBase:
    """The process's own standard error, not what pytest puts in its place to capture it."""
    capture = getattr(config.pluginmanager.getplugin("capturemanager"), "_global_capturing", None)
    saved = getattr(getattr(capture, "err", None), "targetfd_save", None)
    return sys.__stderr__ if saved is None else _duplicate(saved)


_files: dict[int, io.TextIOBase] = {}


def _duplicate(fd: int) -> io.TextIOBase:
    if fd not in _files:
        _files[fd] = os.fdopen(os.dup(fd), "w")
    return _files[fd]


class _Communicators(dict):
    """WORLD, SELF, a duplicate, and a split one whose ranks are in reverse order; each made when first asked for."""

    def __init__(self, anew: bool) -> None:
        self.anew = anew

    def __missing__(self, name: str):
        import dcomp as dc

        if name == "WORLD":
            made = dc.Communicator(dc.COMM_WORLD.mpi.Dup()) if self.anew else dc.COMM_WORLD
        elif name == "SELF":
            made = dc.COMM_SELF
        elif name == "duplicate":
            made = self["WORLD"].dup()
        else:
            world = self["WORLD"]
            made = world.split(world.rank % 2, key=-world.rank)
        self[name] = made
        return made


_made: dict[int, _Communicators] = {}


@pytest.fixture
def communicators() -> _Communicators:
    """Communicators by name.

    After a test that failed the ranks may be out of step in them: then there are new ones, and a communicator of its
    own stands for WORLD.
    """
    import parallel

    return _made.setdefault(parallel.failures, _Communicators(parallel.failures > 0))


@pytest.fixture(params=["WORLD", "SELF", "duplicate", "split"])
def comm(request: pytest.FixtureRequest, communicators: dict):
    """Each kind of communicator."""
    return communicators[request.param]


@pytest.fixture
def world(communicators: dict):
    return communicators["WORLD"]


@pytest.fixture
def needs_checks() -> None:
    """For tests of what only the comparison of all ranks' calls can see."""
    if os.environ.get("DCOMP_CHECK", "collective") != "collective":
        pytest.skip("the checks are off")
