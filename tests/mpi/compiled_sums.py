"""Sums, dot products and norms called from compiled code. Cached, as in `compiled`."""

import numba

import dcomp as dc


@numba.njit(cache=True)
def exact(comm, x, y):
    return dc.dot(x, y, reproducible=True, comm=comm), dc.norm(x, reproducible=True, comm=comm)


@numba.njit(cache=True)
def plain_norm(x):
    return dc.norm(x)


@numba.njit(cache=True)
def of_integers(x):
    return dc.sum(x), dc.dot(x, x, reproducible=True)


@numba.njit(cache=True)
def exact_sum(x):
    return dc.sum(x, reproducible=True)


@numba.njit
def with_a_variable(x, reproducible):
    return dc.sum(x, reproducible=reproducible)
