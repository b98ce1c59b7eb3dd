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
        for (language, program), (following, console) in zip(parts, parts[1:]):
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


# Both lines of a row run from the same state and must leave the same `x` and `out`.
_COMPARE = '''
import json, sys
import numpy as np
from mpi4py import MPI
import dcomp as dc

LENGTH_OF_OUT = {"Scatter(": 2, "Scatterv": (3, 1), "Gather(": 8, "Gatherv": 8, "Allgather(": 8, "Allgatherv": 8,
                 "Reduce_scatter_block": 2, "Alltoallv": (6, 2)}

def state(line):
    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    x = np.arange(4.0) + 10 * rank
    length = next((n for name, n in LENGTH_OF_OUT.items() if name in line), 4)
    length = length[rank] if isinstance(length, tuple) else length
    out = np.zeros(length)
    if "Bcast" in line and rank == 0:
        out[:] = x
    if ("dc.bcast(" in line or "dc.scatter(" in line) and rank != 0:
        x = None
    counts, displs = ([3, 1], [0, 3]) if "v(" in line and "Gatherv" not in line else ([4, 4], [0, 4])
    if "Allgatherv" in line:
        counts, displs = [4, 4], [0, 4]
    got = [[3, 3], [1, 1]][rank]
    return dict(comm=MPI.COMM_WORLD, MPI=MPI, dc=dc, np=np, x=x, out=out, counts=[3, 1] if "dc." in line else counts,
                displs=displs, got=got, got_displs=[0, got[0]], color=rank % 2, left=1 - rank, right=1 - rank,
                obj={"rank": rank})

for left, right in json.loads(sys.argv[1]):
    theirs, ours = state(left), state(left if "dc." not in right else right)
    if ".Send(" in left and dc.rank != 0 or ".Recv(" in left and dc.rank != 1:
        continue
    exec(left, theirs)
    exec(right, ours)
    for name in ("x", "out", "obj"):
        value = ours[name]
        if value is not None:
            assert np.array_equal(theirs[name], value), (left, right, name, theirs[name], value)
print("same")
'''


def test_lines_of_the_table_do_the_same(tmp_path):
    (tmp_path / "compare.py").write_text(_COMPARE)
    done = mpirun(2, tmp_path / "compare.py", json.dumps(table_rows()), timeout=60)
    assert done.stdout.split() == ["same", "same"], done.stdout + done.stderr
