"""What the documents show is what happens.

A Python block followed by a console block is a program and what it prints::

    ```python
    ...
    ```
    ```console
    $ mpirun -n 4 python program.py
    what is printed; a line of dots stands for lines that are left out
    ```

Every such pair is run. Ranks print in any order, so lines are compared sorted, except where some are left out.
"""

import ast
import itertools
import json
import os
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from launch import mpirun

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("slurm/*.md"), *ROOT.glob("docs/**/*.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_LEFT_OUT = "..."
_NODE = "node1"  # the documents' name for this machine


class Example(NamedTuple):
    """A program in a document."""

    page: Path
    program: str
    command: str
    printed: list[str]

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.command.split()[-1]}"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks of a page."""
    return _BLOCK.findall(page.read_text())


def examples() -> list[Example]:
    found = []
    for page in PAGES:
        parts = blocks(page)
        for (language, program), (following, console) in itertools.pairwise(parts):
            if language == "python" and following == "console" and "mpirun" in console.splitlines()[0]:
                command, *printed = console.splitlines()
                found.append(Example(page, program, command, printed))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_program_prints_what_is_shown(example, tmp_path):
    words = shlex.split(example.command)
    assert words[0] == "$"
    start = words.index("mpirun")
    env = dict(word.split("=", 1) for word in words[1:start])
    env["PYTHONUNBUFFERED"] = ""  # else a rank's line and its end are two writes, and another rank's come between
    option, ranks, python, program = words[start + 1 :]
    assert (option, python) == ("-n", "python"), "the documents' commands look alike"
    (tmp_path / program).write_text(example.program)
    done = mpirun(int(ranks), program, env=env, timeout=90, cwd=tmp_path)
    stdout, stderr = (
        text.replace(f"{tmp_path}{os.sep}", "").replace(f" on {os.uname().nodename}]", f" on {_NODE}]")
        for text in (done.stdout, done.stderr)
    )
    told = stdout + stderr
    if _LEFT_OUT in example.printed:
        remaining = iter(told.splitlines())
        for line in example.printed:
            assert line == _LEFT_OUT or line in remaining, f"missing, or out of order: {line!r}\n{told}"
        assert done.returncode != 0
    else:
        assert done.returncode == 0, told
        printed = [line for line in stdout.splitlines() if line.strip()]
        assert sorted(printed) == sorted(line for line in example.printed if line.strip()), told


def test_readme_and_tutorial_have_programs():
    counts = Counter(str(example.page.relative_to(ROOT)) for example in examples())
    assert counts["README.md"] >= 1
    tutorial = {page for page in PAGES if page.parent.name == "tutorial" and page.name != "index.md"}
    assert all(counts[str(page.relative_to(ROOT))] for page in tutorial)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_compiles(page):
    for language, text in blocks(page):
        if language == "python":
            compile(text, str(page), "exec")


def anchors(page: Path) -> set[str]:
    """The anchors that headings make."""
    titles = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in _LINK.findall(_BLOCK.sub("", page.read_text())):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page}: {link}"


def table_rows() -> list[tuple[str, str]]:
    """README's table of mpi4py's lines and dcomp's."""
    rows = re.findall(r"^\| `([^`|]+)` \| `([^`|]+)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return [(left, right) for left, right in rows if "dc." in right]


def test_table_compiles():
    rows = table_rows()
    assert 15 <= len(rows) <= 25
    for left, right in rows:
        ast.parse(left)
        ast.parse(right)


# Both lines of a row run on two ranks from the same state, and must leave the same `x`, `out` and `obj`.
_COMPARE = """
import json
import sys

import numpy as np
from mpi4py import MPI

import dcomp as dc

rank = dc.rank
UNEVEN = [3, 1]
# The length of mpi4py's `out`; 4 where a call is not listed.
LENGTHS = {
    "Scatter": 2, "Reduce_scatter_block": 2, "Scatterv": UNEVEN[rank], "Alltoallv": 2 * UNEVEN[rank],
    "Gather": 8, "Gatherv": 8, "Allgather": 8, "Allgatherv": 8,
}


def state(call, from_root):
    x = np.arange(4.0) + 10 * rank
    out = np.zeros(LENGTHS.get(call, 4))
    if call == "Bcast" and rank == 0:
        out[:] = x
    counts = [4, 4] if call in ("Gatherv", "Allgatherv") else UNEVEN
    got = [UNEVEN[rank]] * 2
    return {
        "MPI": MPI, "comm": MPI.COMM_WORLD, "dc": dc, "np": np,
        "x": None if from_root and rank != 0 else x, "out": out, "obj": {"rank": rank},
        "counts": counts, "displs": [0, counts[0]], "got": got, "got_displs": [0, got[0]],
        "color": rank % 2, "left": 1 - rank, "right": 1 - rank,
    }


for theirs, ours in json.loads(sys.argv[1]):
    call = theirs.replace("sub = comm.Split(color); ", "").split("comm.")[-1].split("(")[0]
    if (call, rank) in (("Send", 1), ("Recv", 0)):
        continue
    expected, result = state(call, False), state(call, call in ("Bcast", "Scatter", "Scatterv"))
    exec(theirs, expected)
    exec(ours, result)
    for name in ("x", "out", "obj"):
        if result[name] is not None:  # off the root, mpi4py leaves an array alone that dcomp does not return
            assert np.array_equal(expected[name], result[name]), (ours, name, expected[name], result[name])
print("same")
"""


def test_lines_of_the_table_do_the_same(tmp_path):
    (tmp_path / "compare.py").write_text(_COMPARE)
    done = mpirun(2, tmp_path / "compare.py", json.dumps(table_rows()), timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same") == 2


def test_design_names_every_module():
    text = (ROOT / "docs" / "design" / "index.md").read_text()
    modules = [path.stem for path in (ROOT / "dcomp").glob("*.py")] + [
        path.stem for path in (ROOT / "dcomp" / "engine").glob("*.py")
    ]
    missing = [name for name in modules if name != "__init__" and not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_reference_has_every_name():
    import dcomp

    text = "\n".join(page.read_text() for page in ROOT.glob("docs/reference/*.md"))
    own = {"COMM_WORLD", "COMM_SELF", "rank", "size"}  # in prose
    reductions = {name for name in dcomp.__all__ if name.isupper()} - {"ANY_SOURCE", "ANY_TAG"}  # in a table
    missing = [name for name in dcomp.__all__ if not re.search(rf"dcomp\.{name}\b", text)]
    assert set(missing) <= own | reductions
