"""Principal components of handwritten digits: how few numbers describe an 8 x 8 picture?

Each rank holds a block of the pictures. The mean and the covariance matrix are sums over pictures, so
each is one `allreduce`; the eigenvectors of the small matrix every rank finds for itself; and `gather`
collects where each picture lies in the plane of the first two components.

Data: data/digits.npz, 1797 pictures (data/README.md has source and licence).
Method: I. T. Jolliffe, Principal Component Analysis, 2nd ed., Springer 2002, section 3.1.

    mpirun -n 4 python examples/principal_components.py
"""

from pathlib import Path

import numpy as np

import dcomp as dc

DIGITS = Path(__file__).parent / "data" / "digits.npz"
SHADES = " .:-=+*#"


def principal_components(block):
    """Mean, variances (largest first) and components (rows) of the pictures whose block this rank holds."""
    n = dc.allreduce(len(block))
    mean = dc.allreduce(block.sum(axis=0)) / n
    centred = block - mean
    covariance = centred.T @ centred
    dc.allreduce(covariance, out=covariance)
    covariance /= n - 1
    variances, vectors = np.linalg.eigh(covariance)
    return mean, variances[::-1], vectors[:, ::-1].T


def principal_components_numpy(pictures):
    """Variances and components on one process, by another road: the singular values of the data."""
    centred = pictures - pictures.mean(axis=0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    return singular**2 / (len(pictures) - 1), components


def print_component(component):
    """Draw a component as a picture: dark pixels weigh most, of either sign."""
    weight = np.abs(component).reshape(8, 8)
    for row in (weight * (len(SHADES) - 1) / weight.max()).round().astype(int):
        print("   ", "".join(2 * SHADES[shade] for shade in row))


def check(pictures, variances, components, plane):
    """Compare with one process; components are known up to their sign only."""
    expected_variances, expected = principal_components_numpy(pictures)
    if not np.allclose(variances, expected_variances, rtol=1e-10, atol=1e-10 * variances[0]):
        raise SystemExit("principal_components: FAILED: the variances differ from NumPy's")
    cosines = np.abs((components[:10] * expected[:10]).sum(axis=1))
    if not np.allclose(cosines, 1, rtol=0, atol=1e-10):
        raise SystemExit(f"principal_components: FAILED: the first components differ from NumPy's: {cosines}")
    if not np.allclose(plane, (pictures - pictures.mean(axis=0)) @ components[:2].T, atol=1e-10):
        raise SystemExit("principal_components: FAILED: the gathered pictures are not in their order")


def main():
    pictures = label = None
    if dc.rank == 0:
        with np.load(DIGITS) as data:
            pictures, label = data["pixels"].astype(np.float64), data["label"]
    block = dc.scatter(pictures)
    mean, variances, components = principal_components(block)
    plane = dc.gather((block - mean) @ components[:2].T)
    if dc.rank != 0:
        return
    share = np.cumsum(variances) / variances.sum()
    for k in (2, 10, 20, 30):
        print(f"{k:2d} components of 64 hold {share[k - 1]:.1%} of the variance")
    print("\nThe first component:")
    print_component(components[0])
    print("\nMean place of each digit in the plane of the first two:")
    for digit in range(10):
        x, y = plane[label == digit].mean(axis=0)
        print(f"    {digit}: {x:6.1f} {y:6.1f}")
    check(pictures, variances, components, plane)
    print(f"principal_components: OK, {len(pictures)} pictures on {dc.size} ranks agree with NumPy's SVD")


if __name__ == "__main__":
    main()
