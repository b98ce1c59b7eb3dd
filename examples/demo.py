"""The demo: a day in the life of a tsunami, in colour.

Follows `tsunami.py` for 24 hours on a grid of 10 arc minutes, checks it against NumPy, measures it on one
and on two ranks, and draws how high the waves came, when they arrived, and which rank computed what.

    mpirun -n 4 python examples/demo.py [--hours 24] [--picture demo.png]
"""

import argparse
import time

import numpy as np
from pacific import draw, load_pacific, time_step, uplift
from tsunami import difference, place, simulate, simulate_numpy

import dcomp as dc

REPORTS, LOOKS = 8, 144  # in a run: lines printed, and looks at where the wave has arrived
ARRIVED = 0.005  # m
CHECKED, TIMED = 60, 400  # steps


def refine(field):
    """Halve the spacing of a field along every axis, by linear interpolation."""
    for axis, n in enumerate(field.shape):
        fine, coarse = np.arange(2 * n - 1) / 2, np.arange(n)
        field = np.apply_along_axis(lambda line, x=fine, xp=coarse: np.interp(x, xp, line), axis, field)
    return field


def cross(cart, height, lat, lon, hours):
    """The maps of the whole crossing, on rank 0: surface, highest surface (m), arrival (hours; 0: not yet)."""
    dt = time_step(height, lat)
    steps = max(LOOKS, round(3600 * hours / dt))
    arrival = np.zeros_like(height[cart.block(height.shape)])

    def watch(n, surface):
        if n % (steps // LOOKS) == 0:
            arrival[(arrival == 0) & (np.abs(surface) > ARRIVED)] = n * dt / 3600
        if n % (steps // REPORTS) == 0:
            highest = cart.reduce(surface.max(), dc.MAX)
            if cart.rank == 0:
                print(f"  {n * dt / 3600:4.1f} h   the highest wave stands at {highest:4.1f} m", flush=True)

    surface, highest = simulate(cart, height, lat, lon, uplift(height, lat, lon), steps, watch)
    return surface, highest, place(cart, arrival, height.shape)


def check(cart, world, surface):
    """How far (m) some steps are from NumPy's, on rank 0.

    They start from the last surface: its waves are everywhere, so that every border of blocks is tested.
    """
    surface = cart.bcast(surface)
    maps = simulate(cart, *world, surface, CHECKED)
    return difference(maps, simulate_numpy(*world, surface, CHECKED)) if cart.rank == 0 else None


def measure(ranks, world):
    """Median seconds per step on the first `ranks` ranks, on rank 0."""
    team, stamps = dc.COMM_WORLD.split(0 if dc.rank < ranks else None), []
    if team is not None:
        with team, team.cart((0, 0)) as cart:
            simulate(cart, *world, uplift(*world), TIMED, lambda n, surface: stamps.append(time.perf_counter()))
    done = dc.ibarrier()
    while not done.test()[0]:
        time.sleep(0.01)  # a plain barrier would take the cores from the ranks that still work
    return np.median(np.diff(stamps)) if dc.rank == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=24.0, help="how long to follow the wave")
    parser.add_argument("--picture", default="demo.png", help="where to write it")
    options = parser.parse_args()
    world = [dc.bcast(field) for field in (map(refine, load_pacific()) if dc.rank == 0 else 3 * [None])]
    shape, cart = world[0].shape, dc.COMM_WORLD.cart((0, 0))
    if dc.rank == 0:
        print(f"demo: a tsunami crosses the Pacific; {shape} cells in {cart.dims} blocks", flush=True)
    begin = time.perf_counter()
    surface, highest, arrival = cross(cart, *world, options.hours)
    seconds = time.perf_counter() - begin
    error = check(cart, world, surface)
    times = {ranks: measure(ranks, world) for ranks in (1, 2) if ranks <= dc.size}
    corners = dc.gather([[part.start for part in cart.block(shape)]])
    if dc.rank != 0:
        return
    print(f"demo: {options.hours:g} hours took {seconds:.1f} s on {dc.size} ranks")
    for ranks, each in times.items():
        print(f"demo: {1000 * each:.2f} ms a step on {ranks} rank(s), {times[1] / each:.2f} times as fast as on 1")
    if error > 1e-9:
        raise SystemExit(f"demo: FAILED: differs from NumPy by {error:.1e} m")
    print(f"demo: OK, agrees with NumPy within {error:.1e} m")
    draw(options.picture, world, highest, arrival, corners)


if __name__ == "__main__":
    main()
