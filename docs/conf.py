"""How the documents are built: ``sphinx-build -W -b html docs docs/_build/html``. Needs dcomp's MPI to be there."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import dcomp  # noqa: E402

project = "dcomp"
author = "the dcomp authors"
copyright = f"2026, {author}"
release = version = dcomp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "dcomp_tables", "dcomp_docstrings"]
exclude_patterns = ["_build"]
default_role = "code"

html_theme = "furo"
html_title = f"dcomp {release}"
html_show_sphinx = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
