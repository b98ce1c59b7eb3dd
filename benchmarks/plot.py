"""Draw the benchmark's JSON lines: one panel per collective, ratio over the size of the message.

python benchmarks/plot.py results.jsonl picture.png
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from results import (
    BASELINE,
    CHECKED_LARGE_FROM,
    COLLECTIVES,
    LARGE_FROM,
    LARGE_RATIO,
    SMALL_RATIO,
    Group,
    Lines,
    ratio,
    read_results,
)
from text import size_text

COLOURS = ("#0b6fa4", "#d1661a", "#3c8d5a", "#8a5aa8", "#b03a5b")  # one per MPI and number of ranks
STYLES = {"off": "-", "local": ":", "collective": "--"}
INK, SOFT, GRID = "#222222", "#6b6b6b", "#dddddd"
TICKS = (0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
SPARSE_TICKS = (0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def curve(lines: Lines, collective: str, contender: str, against: str) -> list[tuple[int, float, float, float]]:
    """(size, ratio, lower bound, upper bound) of one panel's curve."""
    points = []
    for name, size, who in sorted(lines):
        if (name, who) != (collective, contender):
            continue
        value = ratio(lines, collective, size, contender, against)
        if value is None:
            continue
        line = lines[name, size, who]
        bounds = (line["ratio_low"], line["ratio_high"]) if against == BASELINE else (value, value)
        points.append((size, value, *bounds))
    return points


def label(group: Group) -> str:
    """How the legend calls the curves of a group."""
    used = ", data used" if group.touch else ""
    return f"{group.mpi}, {group.ranks} ranks, {group.state}{used}"


def draw_targets(axes: Axes, checks: set[str], sized: bool, largest: int) -> None:
    """What the ratio may be: solid without checks, dashed with them."""
    if "off" in checks:
        edges = ([1, LARGE_FROM, LARGE_FROM, 2 * largest], [SMALL_RATIO, SMALL_RATIO, LARGE_RATIO, LARGE_RATIO])
        if not sized:
            edges = ([1, 2 * largest], [SMALL_RATIO, SMALL_RATIO])
        axes.plot(*edges, color=SOFT, lw=1.0, zorder=1)
    elif sized and "collective" in checks:
        axes.plot([CHECKED_LARGE_FROM, 2 * largest], [LARGE_RATIO] * 2, color=SOFT, lw=1.0, ls="--", zorder=1)


def draw_panel(axes: Axes, name: str, groups: dict[Group, Lines], contender: str, against: str, colours: dict) -> None:
    """The curves of one collective."""
    for group, lines in groups.items():
        points = curve(lines, name, contender, against)
        if not points:
            continue
        sizes, values, low, high = zip(*points)
        colour = colours[group.mpi, group.ranks, group.touch]
        filled = colour if group.state != "far" else "white"
        sizes = [size or 8 for size in sizes]
        # where one state was met at few sizes only, a line between them would tell of what was not measured
        axes.plot(sizes, values, STYLES[group.check], color=colour, lw=1.5, zorder=3)
        axes.plot(sizes, values, "o", ms=4.5, mfc=filled, mec=colour, mew=1.2, zorder=4)
        axes.vlines(sizes, low, high, color=colour, lw=1.0, alpha=0.5, zorder=2)


def tidy(axes: Axes, name: str, sizes: list[int], limits: tuple[float, float]) -> None:
    """Scales, ticks and title of a panel."""
    axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(sizes[0] / 2, sizes[-1] * 2)
    axes.set_ylim(*limits)
    axes.axhline(1.0, color=INK, lw=0.8, zorder=1)
    shown = [size for size in (8, 2**10, LARGE_FROM, CHECKED_LARGE_FROM, 2**27) if sizes[0] <= size <= sizes[-1]]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: size_text(int(size))))
    ticks = TICKS if limits[1] / limits[0] < 6 else SPARSE_TICKS
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if limits[0] <= tick <= limits[1]]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=SOFT, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_legend(axes: Axes, groups: dict[Group, Lines], colours: dict, against: str) -> None:
    """The last panel explains the others."""
    handles = []
    for group in groups:
        colour = colours[group.mpi, group.ranks, group.touch]
        filled = colour if group.state != "far" else "white"
        text = label(group)
        if text not in [handle.get_label() for handle in handles]:
            handles.append(Line2D([], [], color=colour, marker="o", mfc=filled, mec=colour, ms=5, label=text))
    for check in sorted({group.check for group in groups}, reverse=True):
        handles.append(Line2D([], [], color=INK, ls=STYLES[check], label=f"DCOMP_CHECK={check}"))
    if against == BASELINE:
        handles.append(Line2D([], [], color=SOFT, lw=1.0, label="target without checks"))
    axes.axis("off")
    axes.legend(handles=handles, loc="upper left", fontsize=8.5, frameon=False, labelcolor=INK, borderaxespad=0)


def limits_of(groups: dict[Group, Lines], contender: str, against: str) -> tuple[float, float]:
    """One vertical scale for all panels, so that they can be compared at a glance."""
    values = [
        point[1]
        for lines in groups.values()
        for name in COLLECTIVES
        for point in curve(lines, name, contender, against)
    ]
    return min([0.8, *(value / 1.1 for value in values)]), max([1.4, *(value * 1.1 for value in values)])


def draw(groups: dict[Group, Lines], contender: str, against: str) -> plt.Figure:
    """The whole picture."""
    runs = list(dict.fromkeys((group.mpi, group.ranks, group.touch) for group in groups))
    colours = {run: COLOURS[i % len(COLOURS)] for i, run in enumerate(runs)}
    sizes = sorted({size for lines in groups.values() for _, size, _ in lines if size}) or [8]
    limits = limits_of(groups, contender, against)
    figure, panels = plt.subplots(3, 4, figsize=(14, 9), sharey=True, layout="constrained")
    figure.suptitle(f"Time of {contender} over time of {against}", x=0.01, ha="left", fontsize=14, color=INK)
    for axes, name in zip(panels.flat, COLLECTIVES):
        draw_panel(axes, name, groups, contender, against, colours)
        if against == BASELINE:
            draw_targets(axes, {group.check for group in groups}, name != "barrier", sizes[-1])
        tidy(axes, name, sizes, limits)
    draw_legend(panels.flat[-1], groups, colours, against)
    for axes in panels[-1]:
        axes.set_xlabel("bytes of a message", fontsize=8.5, color=SOFT)
    return figure


def main() -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="files of JSON lines")
    parser.add_argument("picture", type=Path, help="file to write: .png, .svg, .pdf")
    parser.add_argument("--contender", default="dcomp")
    parser.add_argument("--against", default=BASELINE)
    parser.add_argument("--check", action="append", help="only runs with this DCOMP_CHECK; may be repeated")
    arguments = parser.parse_args()
    groups = dict(sorted(read_results(arguments.results).items()))
    if arguments.check:
        groups = {group: lines for group, lines in groups.items() if group.check in arguments.check}
    draw(groups, arguments.contender, arguments.against).savefig(arguments.picture, dpi=130)


if __name__ == "__main__":
    main()
