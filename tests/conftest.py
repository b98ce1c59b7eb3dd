"""What all tests share: markers, where numba keeps what it has compiled, and hypothesis without chance."""

import os
import tempfile
import zlib
from collections import Counter

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
    parser.addoption("--thin", type=int, default=1, metavar="K", help="of tests with many cases run one case in K")
    parser.addoption("--thin-all", action="store_true", help="with --thin: of all tests, whatever number of cases")
    parser.addoption("--part", type=int, default=0, metavar="I", help="with --thin: which of K parts; names tell")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "big: needs some 12 GB of memory; runs with --big only")
    config.addinivalue_line("markers", "whole: --thin leaves none of its cases out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    cases = Counter(_test_of(item) for item in items)
    left_out = set()
    for item in items:
        is_big = item.get_closest_marker("big") and not config.getoption("--big")
        has_many = config.getoption("--thin-all") or cases[_test_of(item)] >= _MANY
        if is_big or (has_many and not item.get_closest_marker("whole") and not _is_in_part(item, config)):
            left_out.add(item)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def _test_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _is_in_part(item: pytest.Item, config: pytest.Config) -> bool:
    """By the name: in turns, parts would have some values of a parameter only, and a new test would move all others."""
    name = f"{item.path.name}::{item.nodeid.partition('::')[2]}"
    return zlib.crc32(name.encode()) % config.getoption("--thin") == config.getoption("--part")
