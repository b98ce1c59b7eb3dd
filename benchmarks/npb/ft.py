"""FT: a partial differential equation by Fourier transforms in three dimensions, a new one for each time step.

Source: kernel FT of RNR-94-007; classes and checksums of NAS-95-020 (see `lcg`).

Fast because eight transforms go side by side through the processor's vectors (`fft`); an iteration reads the data
twice: once for the transforms along z, in whose first step the solution is advanced in time, and once for those along y
and x, since a plane stays in the cache between them. A rank has some of the rows of all planes, in which it transforms
along z, and gets for them all rows of some planes, by one `alltoall`; its blocks are put together as they are read.
"""

import math

import lcg
import numpy as np
from fft import LANES, POINT, read_apart, read_together, transform, twiddles, write_apart, write_together
from outcome import Outcome, Stopwatch, agrees

import dcomp as dc

SEED = 314159265
ALPHA = 1e-6
WIDTH = 64  # lines along z that are read and written together
POINTS = np.arange(1, 1025)  # those of the checksum
CLASSES = {  # points along x, y and z, and the checksums
    "S": ((64, 64, 64), """
        554.6087004964 484.5363331978  554.6385409189 486.5304269511  554.6148406171 488.3910722336
        554.5423607415 490.1273169046  554.4255039624 491.7475857993  554.2683411902 493.2597244941"""),
    "W": ((128, 128, 32), """
        567.3612178944 529.3246849175  563.1436885271 528.2149986629  559.4024089970 527.0996558037
        556.0698047020 526.0027904925  553.0898991250 524.9400845633  550.4159734538 523.9212247086"""),
    "A": ((256, 256, 128), """
        504.6735008193 511.4047905510  505.9412319734 509.8809666433  506.9376896287 509.8144042213
        507.7892868474 510.1336130759  508.5233095391 510.4914655194  509.1487099959 510.7917842803"""),
    "B": ((512, 256, 256), """
        517.7643571579 507.7803458597  515.4521291263 508.8249431599  514.6409228649 509.6208912659
        514.2378756213 510.1023387619  513.9626667737 510.3976610617  513.7423460082 510.5948019802
        513.5547056878 510.7404165783  513.3910925466 510.8576573661  513.2470705390 510.9577278523
        513.1197729984 511.0460304483  513.0070319283 511.1252433800  512.9070537032 511.1968077718
        512.8182883502 511.2616233064  512.7393733383 511.3203605551  512.6691062020 511.3735928093
        512.6064276004 511.4218460548  512.5504076570 511.4656139760  512.5002331720 511.5053595966
        512.4551951846 511.5415130407  512.4146770029 511.5744692211"""),
}  # fmt: skip


def run(letter: str, comm: dc.Communicator) -> Outcome:
    """Solve the problem of a class, and compare."""
    shape, text = CLASSES[letter]
    expected = np.array(text.split(), float).view(complex)
    if shape[1] % comm.size or shape[2] % comm.size:
        raise ValueError(
            f"ft: the ranks must divide {shape[1]} and {shape[2]}, the points of class {letter} along y and z; got "
            f"{comm.size}. Start a power of two of them."
        )
    solver = Solver(shape, comm)
    solver.checksums(1)  # compiles
    watch = Stopwatch(comm)
    found = solver.checksums(len(expected))
    seconds = watch.stop()
    is_verified = all(
        agrees(a.real, b.real, 1e-12) and agrees(a.imag, b.imag, 1e-12) for a, b in zip(found, expected, strict=True)
    )
    log = math.log(math.prod(shape))
    operations = math.prod(shape) * (14.8157 + 7.19641 * log + (5.23518 + 7.21113 * log) * len(expected))
    return Outcome(seconds, operations, is_verified, f"checksums {found.tolist()}")


class Solver:
    """One rank's part of the problem: all rows of some planes, and some rows of all planes."""

    def __init__(self, shape: tuple[int, int, int], comm: dc.Communicator) -> None:
        self.comm = comm
        self.nx, self.ny, self.nz = shape
        self.planes, self.rows = comm.block(self.nz), comm.block(self.ny)
        self.few_planes = dc.empty((self.nz // comm.size, self.ny, self.nx), complex)
        self.few_rows = dc.empty((self.nz, self.ny // comm.size, self.nx), complex)
        self.spectrum = np.empty_like(self.few_rows)
        self.arrived = dc.empty(self.few_rows.shape, complex)
        self.ones = np.ones(LANES)
        self.buffers = [np.empty(max(max(shape), self.nz * WIDTH // LANES) * POINT) for _ in range(2)]

    def checksums(self, iterations: int) -> np.ndarray:
        """Those of so many time steps; collective."""
        nx, ny, nz = self.nx, self.ny, self.nz
        self.factors = [twiddles(n) for n in (nx, ny, nz)]  # what the specification has timed begins here
        start = 2 * nx * ny * self.planes.start
        lcg.fill(numbers(self.few_planes), lcg.advanced(SEED, start))
        self.transform_planes(self.few_planes, 1, is_inverse=False)
        self.transform_rows(self.spectrum, self.spread(), [np.ones(n) for n in (nx, ny, nz)], is_inverse=False)
        sums = np.empty(iterations, complex)
        for step in range(1, iterations + 1):
            decay = [np.exp(-4 * ALPHA * math.pi**2 * step * frequencies(n) ** 2) for n in (nx, ny, nz)]
            self.transform_rows(self.few_rows, self.spectrum, decay, is_inverse=True)
            blocks = self.few_rows if self.comm.size == 1 else self.comm.alltoall(self.few_rows, out=self.arrived)
            self.transform_planes(blocks, self.comm.size, is_inverse=True)
            sums[step - 1] = self.checksum()
        return self.comm.allreduce(sums) / (nx * ny * nz)

    def transform_rows(self, out: np.ndarray, x: np.ndarray, decay: list[np.ndarray], *, is_inverse: bool) -> None:
        """Along z, after a product with a factor for each x, y and z."""
        by_x, by_y, by_z = decay
        along_z(numbers(out), numbers(x), x.shape, by_x, by_y[self.rows], by_z, self.factors[2], *self.buffers,
                is_inverse)  # fmt: skip

    def transform_planes(self, x: np.ndarray, blocks: int, *, is_inverse: bool) -> None:
        """Along y and x, into `few_planes`."""
        out = self.few_planes
        along_x_and_y(numbers(out), numbers(x), out.shape, blocks, self.ones, *self.factors[:2], *self.buffers,
                      is_inverse)  # fmt: skip

    def spread(self) -> np.ndarray:
        """All planes of some rows; collective."""
        if self.comm.size == 1:
            return self.few_planes
        return self.comm.alltoall(self.few_planes, split_axis=1, concat_axis=0)

    def checksum(self) -> complex:
        """This rank's part of the sum over some points."""
        z = 5 * POINTS % self.nz
        mine = (z >= self.planes.start) & (z < self.planes.stop)
        x, y, z = POINTS % self.nx, 3 * POINTS % self.ny, z - self.planes.start
        return self.few_planes[z[mine], y[mine], x[mine]].sum()


def frequencies(n: int) -> np.ndarray:
    """0, 1, 2, ... n / 2 - 1, -n / 2, ... -1."""
    return np.fft.fftfreq(n, 1 / n)


def numbers(array: np.ndarray) -> np.ndarray:
    """The real and imaginary parts in one dimension."""
    return array.reshape(-1).view(float)


@dc.jit(error_model="numpy")
def along_z(out, x, shape, by_x, by_y, by_z, factors, a, b, is_inverse):
    """Transform ``x by_x by_y by_z`` along the first of three axes.

    An inverse transform is the transform of what has its real and its imaginary parts interchanged.
    """
    planes, rows, columns = shape
    re, im = (LANES, 0) if is_inverse else (0, LANES)
    for row in range(rows):
        for start in range(0, columns, WIDTH):  # of which a page of memory has several, and each plane is another page
            for plane in range(planes):
                place = 2 * ((plane * rows + row) * columns + start)
                for part in range(WIDTH // LANES):
                    read_together(a, part * planes + plane, re, im, x, place + part * POINT, by_x, start + part * LANES,
                                  by_y[row] * by_z[plane])  # fmt: skip
            is_in_b = False
            for part in range(WIDTH // LANES):
                points = slice(part * planes * POINT, (part + 1) * planes * POINT)
                is_in_b = transform(a[points], b[points], planes, factors)
            result = b if is_in_b else a
            for plane in range(planes):
                place = 2 * ((plane * rows + row) * columns + start)
                for part in range(WIDTH // LANES):
                    write_together(out, place + part * POINT, result, part * planes + plane, re, im)


@dc.jit(error_model="numpy")
def along_x_and_y(out, x, shape, blocks, ones, x_factors, y_factors, a, b, is_inverse):
    """Transform along the last two of three axes; of `x`, which may be `out`, so many blocks have some rows each."""
    planes, rows, columns = shape
    few = rows // blocks
    re, im = (LANES, 0) if is_inverse else (0, LANES)
    for plane in range(planes):
        whole = 2 * plane * rows * columns
        for start in range(0, columns, LANES):
            for row in range(rows):
                line = (row // few * planes + plane) * few + row % few
                read_together(a, row, re, im, x, 2 * (line * columns + start), ones, 0, 1.0)
            result = b if transform(a, b, rows, y_factors) else a
            for row in range(rows):
                write_together(out, whole + 2 * (row * columns + start), result, row, re, im)
        for start in range(0, rows, LANES):
            first = whole + 2 * start * columns
            for column in range(columns):
                read_apart(a, column, re, im, out, first + 2 * column, 2 * columns)
            result = b if transform(a, b, columns, x_factors) else a
            for column in range(columns):
                write_apart(out, first + 2 * column, 2 * columns, result, column, re, im)
