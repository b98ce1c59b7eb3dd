"""A tsunami crosses the Pacific: the wave equation on the real sea floor, cut into blocks.

The map is cut in both directions, one block per rank. A block carries a frame one cell wide, and
`cart.halo` fills it with the neighbours' cells once a step: that is all the communication there is.
Coasts reflect, a sponge swallows what reaches the edge of the map; no friction, no run-up.

Data and equations: pacific.py. `demo.py` runs this on a finer grid, for a day, and draws it.

    mpirun -n 4 python examples/tsunami.py
"""

import numba
import numpy as np
from pacific import conductances, framed, load_pacific, sponge, time_step, uplift

import dcomp as dc

STEPS = 800
INNER = np.s_[1:-1, 1:-1]


@numba.njit(cache=True)
def step(eta, previous, peak, east, north, secant, damping):
    """Overwrite `previous` with the surface one step after `eta`; both carry frames, that of `eta` is filled."""
    for i in range(peak.shape[0]):
        for j in range(peak.shape[1]):
            here = eta[i + 1, j + 1]
            pull = north[i + 1, j] * (eta[i + 2, j + 1] - here) - north[i, j] * (here - eta[i, j + 1])
            pull *= secant[i, 0]
            pull += east[i, j + 1] * (eta[i + 1, j + 2] - here) - east[i, j] * (here - eta[i + 1, j])
            after = here + damping[i, j] * (here - previous[i + 1, j + 1]) + pull
            previous[i + 1, j + 1] = after
            peak[i, j] = max(peak[i, j], after)


def simulate(cart, height, lat, lon, start, steps, watch=None):
    """Surface and highest surface (m) of the whole map on rank 0 of `cart`, None elsewhere, `steps` after `start`.

    Every rank passes the whole map. After each step `watch(n, block of the surface)` is called.
    """
    rows, columns = block = cart.block(height.shape)
    frame = slice(rows.start, rows.stop + 2), slice(columns.start, columns.stop + 2)
    ground, latitude = framed(height, lat)
    faces = conductances(ground[frame], latitude[frame[0]], lat[1] - lat[0], time_step(height, lat))
    damping, eta = sponge(lat, lon)[block].copy(), np.pad(start[block], 1)
    previous, peak = eta.copy(), eta[INNER].copy()  # the sea is at rest
    for n in range(1, steps + 1):
        cart.halo(eta)
        step(eta, previous, peak, *faces, damping)
        eta, previous = previous, eta
        if watch is not None:
            watch(n, eta[INNER])
    return place(cart, eta[INNER], height.shape), place(cart, peak, height.shape)


def place(cart, block, shape):
    """The whole map, on rank 0: the sum of maps that are zero outside their block."""
    whole = np.zeros(shape)
    whole[cart.block(shape)] = block
    return cart.reduce(whole)


def simulate_numpy(height, lat, lon, start, steps):
    """The same on one process."""
    east, north, secant = conductances(*framed(height, lat), lat[1] - lat[0], time_step(height, lat))
    damping, eta = sponge(lat, lon), np.pad(start, 1)
    previous, peak = eta.copy(), start.copy()
    for _ in range(steps):
        pull = np.diff(north * np.diff(eta[:, 1:-1], axis=0), axis=0) * secant
        pull += np.diff(east * np.diff(eta[1:-1], axis=1), axis=1)
        previous[INNER] = eta[INNER] + damping * (eta[INNER] - previous[INNER]) + pull
        eta, previous = previous, eta
        np.maximum(peak, eta[INNER], out=peak)
    return eta[INNER], peak


def difference(results, expected):
    """The greatest difference (m) between the maps of two runs."""
    return max(np.abs(a - b).max() for a, b in zip(results, expected, strict=True))


def main():
    height, lat, lon = [dc.bcast(field) for field in (load_pacific() if dc.rank == 0 else 3 * [None])]
    start = uplift(height, lat, lon)
    results = simulate(dc.COMM_WORLD.cart((0, 0)), height, lat, lon, start, STEPS)
    if dc.rank != 0:
        return
    hours = STEPS * time_step(height, lat) / 3600
    print(f"{height.shape[0]} x {height.shape[1]} cells, {STEPS} steps, {hours:.1f} hours, {dc.size} ranks")
    error = difference(results, simulate_numpy(height, lat, lon, start, STEPS))
    if error > 1e-9:
        raise SystemExit(f"tsunami: FAILED: differs from NumPy by {error:.1e} m")
    print(f"tsunami: OK, surface and highest surface agree with NumPy within {error:.1e} m")


if __name__ == "__main__":
    main()
