"""Random numbers drawn in compiled code. Cached, as in `compiled`."""

import numba


@numba.njit(cache=True)
def arrays(gen, n, out):
    return (
        gen.random(n),
        gen.normal(n, loc=1.0, scale=2.0),
        gen.exponential(n, scale=3.0),
        gen.integers(-5, 6, n),
        gen.integers(7, n=n),
        gen.random((n, 2)),
        gen.normal(n, out=out),
        gen.permutation(n),
        gen.choice(9, n),
    )


@numba.njit(cache=True)
def rows(gen, x, n):
    y = gen.permutation(x)
    z = gen.choice(x, n)
    gen.shuffle(x)
    return x, y, z


@numba.njit(cache=True)
def singles(gen):
    return (
        gen.random(),
        gen.normal(),
        gen.normal(loc=1, scale=2.0),
        gen.exponential(),
        gen.exponential(scale=3),
        gen.integers(7, None),
        gen.integers(-(2**63), 2**63 - 1),
    )


@numba.njit(cache=True)
def many(gen, count):
    total = 0.0
    for _ in range(count):
        total += gen.random()
    return total


@numba.njit(cache=True)
def integer(gen, low, high):
    return gen.integers(low, high)


@numba.njit(cache=True)
def normal(gen, scale):
    return gen.normal(scale=scale)


@numba.njit(cache=True)
def block(gen, n):
    return gen.random(n)
