"""Arrays for the tests of kernels, the same in every run."""

import numpy as np


def numbers(dtype, n):
    """So many: of bool and integers any, else normal ones."""
    rng, dtype = np.random.default_rng(n), np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(n) < 0.5
    if dtype.kind in "iu":
        return np.frombuffer(rng.bytes(n * dtype.itemsize), dtype)
    return (
        rng.normal(size=(n, 2)).view(complex)[:, 0].astype(dtype)
        if dtype.kind == "c"
        else rng.normal(size=n).astype(dtype)
    )
