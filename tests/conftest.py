"""What all tests share: markers, where numba keeps what it has compiled, and hypothesis without chance."""

import os
import tempfile
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, Phase, settings

# Every rank must draw the same examples and leave the same one out, so: no randomness, no clock, no database
# and no shrinking, whose course would depend on the time that an example takes.
settings.register_profile(
    "same everywhere",
    derandomize=True,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    max_examples=20,
)
settings.load_profile("same everywhere")

_MANY = 6  # cases of a test, of which `--thin` takes some


# Not beside the sources.
os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"dcomp-tests-{os.getuid()}"))

os.environ.setdefault("DCOMP_RULES", "shipped")  # whatever this user has tuned


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--big", action="store_true", help="also run the tests that need some 12 GB of memory")
    parser.addoption(
        "--thin", type=int, default=1, metavar="K", help="of tests with many cases run every K-th case only"
    )
    parser.addoption("--thin-all", action="store_true", help="with --thin: of all tests, whatever number of cases")
    parser.addoption("--first", type=int, default=0, metavar="I", help="with --thin: the case to begin with")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "big: needs some 12 GB of memory; runs with --big only")
    config.addinivalue_line("markers", "every_number: of this number of ranks; --thin-all leaves none of its cases out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = set()
    if not config.getoption("--big"):
        left_out.update(item for item in items if item.get_closest_marker("big"))
    cases = defaultdict(list)
    for item in items:
        if not config.getoption("--thin-all"):
            cases[item.nodeid.partition("[")[0]].append(item)
        elif not item.get_closest_marker("every_number"):
            cases[""].append(item)
    for test, alike in cases.items():
        if len(alike) >= _MANY or not test:
            kept = alike[config.getoption("--first") :: config.getoption("--thin")]
            left_out.update(set(alike).difference(kept))
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]
