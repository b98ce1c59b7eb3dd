"""The Pacific for `tsunami.py` and `demo.py`: its floor, an earthquake, and what the waves make of them.

Data: data/pacific.npz, 366 x 540 cells of 20 arc minutes (data/README.md has source and licence).
Method: the wave equation of long waves, d2 eta / dt2 = div(g h grad eta), by central differences on the
sphere; F. Mesinger and A. Arakawa, Numerical methods used in atmospheric models, GARP 17 (1976), ch. IV.
"""

from pathlib import Path

import numpy as np

GRAVITY, RADIUS = 9.81, 6.371e6  # m/s^2, m
PLACES = {"Honolulu": (21.3, 202.1), "Crescent City": (41.7, 235.8), "Galápagos": (-0.7, 268.8)}
BLUE = "#7fd4ff"


def load_pacific():
    """Height of the ground (m; the sea is negative), and latitude and longitude (degrees) of its cells."""
    with np.load(Path(__file__).parent / "data" / "pacific.npz") as data:
        return data["height"].astype(np.float64), data["lat"], data["lon"]


def uplift(height, lat, lon):
    """The surface just after the earthquake of 11 March 2011, idealised (m): a ridge of 6 m along the trench."""
    north, east = lat[:, None] - 38.0, (lon - 143.3) * np.cos(np.radians(38.0))
    along, across = 0.94 * north + 0.34 * east, 0.94 * east - 0.34 * north
    return np.where(height < 0, 6.0 * np.exp(-((along / 1.7) ** 2) - (across / 0.6) ** 2), 0)


def sponge(lat, lon):
    """The part of its motion that the sea keeps in a step: all, but for the last 3 degrees of the map."""
    rows, columns = np.minimum(lat - lat[0], lat[-1] - lat), np.minimum(lon - lon[0], lon[-1] - lon)
    return 1 - 0.1 * (1 - np.minimum(np.minimum(rows[:, None], columns) / 3, 1)) ** 2


def time_step(height, lat):
    """Four fifths of the longest stable time step (s): cells are narrowest far from the equator."""
    width = RADIUS * np.radians(lat[1] - lat[0]) * np.cos(np.radians(lat)).min()
    return 0.8 * width / np.sqrt(-2 * GRAVITY * height.min())


def conductances(height, lat, spacing, dt):
    """What each east and each north face of the cells lets through in a step, and 1 / cos(latitude).

    `height` and `lat` carry a frame one cell wide. The results have no dimension, and are 0 beside land.
    """
    depth, lat = np.maximum(-height, 0), np.radians(lat)[:, None]
    scale, secant = GRAVITY * (dt / (RADIUS * np.radians(spacing))) ** 2, 1 / np.cos(lat[1:-1])
    east = scale * np.minimum(depth[1:-1, 1:], depth[1:-1, :-1]) * secant**2
    north = scale * np.minimum(depth[1:, 1:-1], depth[:-1, 1:-1]) * np.cos((lat[1:] + lat[:-1]) / 2)
    return east, north, secant


def framed(height, lat):
    """The map with a frame of land around it."""
    return np.pad(height, 1), np.pad(lat, 1, "reflect", reflect_type="odd")


def draw(path, world, highest, arrival, corners):
    """A map of the highest surface (m), the hours of arrival, and the blocks, whose first cells are `corners`."""
    try:
        from matplotlib import colors, figure
    except ImportError:
        print("no picture without matplotlib: python -m pip install matplotlib")
        return
    height, lat, lon = world
    land, quiet = height >= 0, (arrival == 0) | (lon > 292)
    page = figure.Figure(figsize=(14, 9.5))
    axes = page.add_axes((0, 0, 1, 1), facecolor="#0a0c14", xticks=[], yticks=[])
    box = {"origin": "lower", "extent": (lon[0], lon[-1], lat[0], lat[-1]), "aspect": "auto"}
    centimetres = np.ma.array(100 * highest, mask=land | quiet)
    wave = axes.imshow(centimetres, norm=colors.LogNorm(1, 200, clip=True), cmap="inferno", **box)
    relief = colors.LightSource(315, 45).hillshade(height, vert_exag=0.02)
    axes.imshow(np.ma.array(relief, mask=~land), cmap="bone", vmin=-0.4, vmax=2.2, **box)
    axes.contour(lon, lat, land, levels=[0.5], colors="#0a0c14", linewidths=0.5)
    # Behind islands and in shallow water the lines of arrival would crowd.
    crowded = quiet | (height > -500) | (lon < 127) | (lat[:, None] < lat[0] + 3)
    thin = {"colors": "white", "linewidths": 0.6, "alpha": 0.6}
    hours = axes.contour(lon, lat, np.ma.array(arrival, mask=crowded), levels=np.arange(1, 25), **thin)
    axes.clabel(hours, hours.levels[1::2], fmt="%d h", fontsize=9)
    for rank, (row, column) in enumerate(corners):
        axes.text(lon[column] + 1, lat[row] + 1, f"rank {rank}", color=BLUE, fontsize=10)
    dashed = {"color": BLUE, "linewidth": 0.8, "dashes": (6, 6)}
    for row in np.unique(corners[:, 0]):
        axes.axhline(lat[row], **dashed)
    for column in np.unique(corners[:, 1]):
        axes.axvline(lon[column], **dashed)
    for name, (north, east) in PLACES.items():
        axes.plot(east, north, "o", color="white", markersize=4)
        axes.annotate(name, (east, north), (6, 4), textcoords="offset points", color="white", fontsize=10)
    axes.text(291, 57, "Tsunami of 11 March 2011", color="white", fontsize=22, ha="right", va="center")
    axes.text(291, 54, "linear waves from an idealised source", color="white", fontsize=10, ha="right", va="center")
    inset = axes.inset_axes((0.845, 0.69, 0.13, 0.014))
    page.colorbar(wave, cax=inset, orientation="horizontal", ticks=[1, 10, 100], format="%g")
    inset.set_xlabel("highest surface (cm)", color="white")
    inset.tick_params(colors="white")
    axes.set(xlim=(lon[0], lon[-1]), ylim=(lat[0], lat[-1]))
    page.savefig(path, dpi=100)
    print(f"the map is in {path}")
