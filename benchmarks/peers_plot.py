"""Draw what peers.py measured: a picture per collective, time over that of the best tuned MPI.

python benchmarks/peers_plot.py peers.jsonl pictures/
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from peers_results import BANDS, TARGETS, Cases, Group, contenders_of, read_peers
from results import COLLECTIVES
from text import size_text

#: kind -> colour and marker; an MPI's settings are drawn as thin grey lines
LOOKS = {
    "dcomp": ("#0b6fa4", "o"),
    "dcomp_out": ("#d1661a", "s"),
    "dcomp_plan": ("#3c8d5a", "^"),
    "dcomp_chain": ("#8a5aa8", "D"),
    "numba_mpi": ("#c9a227", "v"),
    "copyto": ("#b03a5b", "x"),
    "c": ("#222222", "+"),
}
DASHES = ("-", "--", ":")  # of a kind that was measured on several MPIs
INK, SOFT, GRID, PEER = "#222222", "#6b6b6b", "#dddddd", "#b5b5b5"
TICKS = (0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 50.0)
SMALLEST = 8  # where a barrier stands
TALLEST = 12.0  # ratios beyond are not of interest


def points_of(cases: Cases, name: str, contender: str) -> tuple[list[int], list[float]]:
    """Sizes and ratios of one curve."""
    found = sorted(
        (size or SMALLEST, case[contender]["ratio"])
        for (collective, size), case in cases.items()
        if collective == name and case.get(contender, {}).get("ratio") is not None
    )
    return [size for size, _ in found], [ratio for _, ratio in found]


def draw_target(axes: Axes, name: str, largest: int) -> None:
    """The steps of the target."""
    limits = TARGETS[name]
    edges = [SMALLEST / 2, *BANDS[1 : len(limits)], max(2 * largest, 2 * BANDS[len(limits) - 1])]
    axes.stairs(limits, edges, baseline=None, color=INK, lw=1.6, ls=(0, (4, 2)), label="target for dcomp", zorder=2)


def draw_curves(axes: Axes, name: str, cases: Cases) -> None:
    """The MPIs in grey, dcomp and the references in colours."""
    for i, contender in enumerate(contenders_of(cases, ["mpi4py"])):
        label = "an MPI with one of its settings" if i == 0 else None
        axes.plot(*points_of(cases, name, contender), "-", color=PEER, lw=0.8, marker=".", ms=3, label=label, zorder=1)
    for kind, (colour, marker) in LOOKS.items():
        for contender, dash in zip(contenders_of(cases, [kind]), DASHES):
            sizes, ratios = points_of(cases, name, contender)
            if sizes:
                axes.plot(sizes, ratios, dash, color=colour, lw=1.4, marker=marker, ms=5, label=contender, zorder=3)


def tidy(axes: Axes, group: Group, sizes: list[int]) -> None:
    """Scales, ticks and title of a panel."""
    axes.set_title(str(group), loc="left", fontsize=9, color=SOFT)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(sizes[0] / 2, sizes[-1] * 2)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.4), min(max(high, 2.0), TALLEST))
    axes.axhline(1.0, color=INK, lw=0.8, zorder=1)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: size_text(int(size))))
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=SOFT, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def draw(name: str, groups: dict[Group, Cases]) -> plt.Figure:
    """The picture of one collective: a panel per group."""
    figure, panels = plt.subplots(
        1, len(groups), figsize=(1.5 + 6.5 * len(groups), 5), squeeze=False, layout="constrained"
    )
    figure.suptitle(f"{name}: time over that of the best tuned MPI", x=0.01, ha="left", fontsize=13, color=INK)
    for axes, (group, cases) in zip(panels.flat, groups.items()):
        sizes = sorted({size or SMALLEST for collective, size in cases if collective == name})
        draw_target(axes, name, sizes[-1])
        draw_curves(axes, name, cases)
        tidy(axes, group, sizes)
    handles = {label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside right upper", fontsize=8, frameon=False, labelcolor=INK)
    return figure


def main() -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="files of JSON lines")
    parser.add_argument("folder", type=Path, help="where the pictures go: COLLECTIVE.png")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    groups = read_peers(arguments.results)
    for name in COLLECTIVES:
        having = {group: cases for group, cases in groups.items() if any(c == name for c, _ in cases)}
        if having:
            figure = draw(name, having)
            figure.savefig(arguments.folder / f"{name}.png", dpi=130)
            plt.close(figure)


if __name__ == "__main__":
    main()
