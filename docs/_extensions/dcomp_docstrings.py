"""From the docstrings' short form to numpydoc's.

In the code a parameter and its description may share a line, and an example is a line with an arrow::

    x : array, shape (n, ...)     Same shape and dtype on every rank.
    rank 0 [1 2], rank 1 [3 4]  ->  both [4 6]
"""

import re

_SECTION = re.compile(r"^(Parameters|Attributes|Returns|Raises|Notes|References|Examples)$")
_TWO_PARTS = re.compile(r"^(\S.*?\S)\s{3,}(\S.*)$")


def reshape(app, what, name, obj, options, lines):
    """Called by autodoc with each docstring, and before napoleon."""
    lines[:] = _shared_margin_removed(lines)
    section, result = "", []
    for line in lines:
        if _SECTION.match(line):
            section = line
        elif section in ("Parameters", "Attributes", "Raises", "Returns") and _TWO_PARTS.match(line):
            head, text = _TWO_PARTS.match(line).groups()
            result += [head, f"    {text}"]
            continue
        elif section == "Examples" and "  ->  " in line:
            result += ["", "::", "", f"    {line}", ""]
            continue
        result.append(line)
    lines[:] = result


def _shared_margin_removed(lines):
    """The function's last line, `comm`, is written without the margin of the method's lines."""
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip() and not line.startswith("`comm`")]
    margin = min(margins, default=0)
    return [line[margin:] if line[:margin].isspace() else line for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", reshape, priority=100)  # napoleon's is 500
    return {"parallel_read_safe": True}
