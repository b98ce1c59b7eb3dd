"""Directives for the tables that are made of the code's own: collectives, reductions, settings."""

import inspect
import re

from sphinx.util.docutils import SphinxDirective


class Table(SphinxDirective):
    """A table; its rows come from the library."""

    heads: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, ...]]:
        raise NotImplementedError

    def run(self):
        lines = [self.heads, ("---",) * len(self.heads), *self.rows()]
        return self.parse_text_to_nodes("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


class CollectivesTable(Table):
    """Name, MPI's functions, what travels, and what an omitted argument costs."""

    heads = ("name", "MPI", "what travels", "beyond the check and the data")

    def rows(self):
        from dcomp._collectives import Collectives
        from dcomp._table import COLLECTIVES

        rows = []
        for row in COLLECTIVES:
            travels = row.shape.value
            if row.reduces:
                travels += "; combined elementwise"
            if row.rooted and not row.from_root:
                travels += "; the result is on the root"
            functions, costs = _notes(getattr(Collectives, row.name))
            if f"MPI_{row.mpi}" not in functions:
                raise ValueError(f"{row.name}: the notes of its docstring must name MPI_{row.mpi}")
            rows.append((f"`{row.name}`", ", ".join(f"`{name}`" for name in functions), travels, costs))
        return rows


def _notes(method) -> tuple[list[str], str]:
    """The functions of MPI that the notes of a docstring begin with, and the rest of the notes."""
    found = re.search(r"^Notes\n-+\n(.*?)(?:\n\n\S+\n-+\n|\Z)", inspect.getdoc(method) or "", re.DOTALL | re.MULTILINE)
    first, _, rest = " ".join(found.group(1).split()).partition(".") if found else ("", "", "")
    return re.findall(r"MPI_\w+", first), rest.strip() or "nothing"


class ReductionsTable(Table):
    """Name and dtypes of the predefined reductions."""

    heads = ("name", "dtypes")

    _KINDS = {"b": "bool", "iu": "integers", "f": "floats", "c": "complex", "m": "timedelta64", "M": "datetime64"}

    def rows(self):
        from dcomp._ops import PREDEFINED

        rows = []
        for op in PREDEFINED:
            kinds = [text for kind, text in self._KINDS.items() if kind[0] in op._kinds]
            rows.append((f"`{op.name}`", ", ".join(kinds) or "records of (value, index)"))
        return rows


class SettingsTable(Table):
    """The environment variables."""

    heads = ("variable", "values")

    def rows(self):
        from dcomp._settings import VARIABLES

        return [(f"`{name}`", values) for name, values in VARIABLES.items()]


def setup(app):
    app.add_directive("collectives-table", CollectivesTable)
    app.add_directive("reductions-table", ReductionsTable)
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True}
