"""The twelve colours that paint a photograph best: k-means on its pixels, in RGB.

Each rank holds a block of the pixels. One iteration is local work, finding the nearest colour of every
pixel, and one `allreduce` of twelve sums and counts.

Data: data/temple.npz, 68 160 pixels (data/README.md has source and licence).
Method: S. Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 28 (1982) 129-137.

    mpirun -n 4 python examples/kmeans.py
"""

from pathlib import Path

import numpy as np

import dcomp as dc

PHOTO = Path(__file__).parent / "data" / "temple.npz"
COLOURS = 12
STILL = 0.5  # of 255: a colour that moves less looks the same


def load_pixels():
    """All pixels of the photograph, shape (n, 3)."""
    with np.load(PHOTO) as data:
        return data["rgb"].reshape(-1, 3).astype(np.float64)


def first_colours(pixels):
    """Pixels at equal steps from the darkest to the brightest, to start from."""
    order = np.argsort(pixels.sum(axis=1), kind="stable")
    return pixels[order[np.linspace(0, len(pixels) - 1, COLOURS).astype(int)]]


def nearest(pixels, colours):
    """The index of the colour nearest to each pixel."""
    # |p - c|^2 = |p|^2 - 2 p.c + |c|^2, and the first term is the same for every colour.
    return np.argmin((colours**2).sum(axis=1) - 2 * pixels @ colours.T, axis=1)


def kmeans(pixels, colours):
    """Move the colours to the means of the pixels nearest to them, until they stay; each rank passes its block."""
    shift, iterations = np.inf, 0
    while shift > STILL:
        label = nearest(pixels, colours)
        totals = np.empty((COLOURS, 4))  # three sums and a count for each colour: one message, not two
        for channel in range(3):
            totals[:, channel] = np.bincount(label, weights=pixels[:, channel], minlength=COLOURS)
        totals[:, 3] = np.bincount(label, minlength=COLOURS)
        dc.allreduce(totals, out=totals)
        # A colour that no pixel of any rank is nearest to stays where it is.
        moved = np.divide(totals[:, :3], totals[:, 3:], out=colours.copy(), where=totals[:, 3:] > 0)
        shift, colours, iterations = np.abs(moved - colours).max(), moved, iterations + 1
    return colours, totals[:, 3], iterations


def kmeans_numpy(pixels, colours):
    """The same on one process, to compare with."""
    shift = np.inf
    while shift > STILL:
        label = nearest(pixels, colours)
        moved = np.array([pixels[label == k].mean(axis=0) for k in range(COLOURS)])
        shift, colours = np.abs(moved - colours).max(), moved
    return colours


def main():
    pixels = load_pixels() if dc.rank == 0 else None
    start = dc.bcast(first_colours(pixels) if dc.rank == 0 else None)
    colours, counts, iterations = kmeans(dc.scatter(pixels), start)
    if dc.rank != 0:
        return
    for k in np.argsort(-counts):
        red, green, blue = np.rint(colours[k]).astype(int)
        share = counts[k] / len(pixels)
        print(f"#{red:02x}{green:02x}{blue:02x}  {share:6.1%}  " + "*" * round(200 * share))
    error = np.abs(colours - kmeans_numpy(pixels, start)).max()
    print(f"{len(pixels)} pixels, {COLOURS} colours, {iterations} iterations, {dc.size} ranks")
    if error > 1e-6:
        raise SystemExit(f"kmeans: FAILED: the colours differ from NumPy's by {error:.1e}")
    print(f"kmeans: OK, the colours agree with NumPy's within {error:.1e}")


if __name__ == "__main__":
    main()
