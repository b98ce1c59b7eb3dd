"""Stencils of multigrid on one rank's planes.

Grids are of shape (m + 2, n + 2, n + 2), with one ghost layer around; m and n are even, of the coarser grid half. What
makes them fast:

- Planes are flat: a loop runs over some rows at once, ghost columns included, whose values are set afterwards. Its
  operands are contiguous pieces that begin at 0, so that numba need not look for negative indices, and LLVM vectorises.
- Of the 26 neighbours, sums over those in one column are made once, and used for three points each.
- What follows on another is done plane by plane, while the planes are in the cache.

Source: kernel MG of RNR-94-007 (see `lcg`).
"""

import numpy as np

import dcomp as dc

_PIECE = 1024  # points, so that sums stay in the L1 cache
# Of the Laplacian: the weights of the point itself and of its neighbours at edges and corners; at faces it is 0.
_CENTRE, _EDGE, _CORNER = -8 / 3, 1 / 6, 1 / 12

_jit = dc.jit(nogil=True, error_model="numpy", fastmath={"contract"})


@_jit
def _flat(x, plane):
    return x[plane].reshape(-1)


@_jit
def _sum_columns(faces, edges, x, plane, start, count):
    """The sums of four neighbours each, of those across a face and across an edge, for some points of a plane."""
    s, first, end = x.shape[2], start, start + count
    below, here, above = _flat(x, plane - 1), _flat(x, plane), _flat(x, plane + 1)
    a, b, c, d = below[first:end], above[first:end], here[first - s : end - s], here[first + s : end + s]
    for i in range(count):
        faces[i] = (a[i] + b[i]) + (c[i] + d[i])
    a, b = below[first - s : end - s], below[first + s : end + s]
    c, d = above[first - s : end - s], above[first + s : end + s]
    for i in range(count):
        edges[i] = (a[i] + b[i]) + (c[i] + d[i])


@_jit
def _close(x, plane):
    """Fill the ghost columns and rows of one plane."""
    one = x[plane]
    n = one.shape[0] - 2
    for j in range(1, n + 1):
        one[j, 0], one[j, n + 1] = one[j, n], one[j, 1]
    for i in range(n + 2):
        one[0, i], one[n + 1, i] = one[n, i], one[1, i]


@_jit
def close_planes(x):
    """Fill the ghost planes of a grid of which one rank has all planes."""
    m = x.shape[0] - 2
    x[0], x[m + 1] = x[m], x[1]


@_jit
def _residual_plane(r, v, u, plane, faces, edges):
    s = u.shape[2]
    end = s * (s - 1) - 1  # of the last but one row, without its ghost
    for start in range(s + 1, end, _PIECE):
        count = min(_PIECE, end - start)
        _sum_columns(faces, edges, u, plane, start - 1, count + 2)
        out, right = _flat(r, plane)[start : start + count], _flat(v, plane)[start : start + count]
        centre = _flat(u, plane)[start : start + count]
        left_faces, right_faces, left_edges, mid_edges, right_edges = (
            faces[:count], faces[2 : count + 2], edges[:count], edges[1 : count + 1], edges[2 : count + 2],
        )  # fmt: skip
        for i in range(count):
            at_edges = mid_edges[i] + (left_faces[i] + right_faces[i])
            at_corners = left_edges[i] + right_edges[i]
            out[i] = right[i] - _CENTRE * centre[i] - _EDGE * at_edges - _CORNER * at_corners
    _close(r, plane)


@_jit
def _smooth_plane(u, r, plane, weights, faces, edges):
    centre_weight, face_weight, edge_weight = weights[0], weights[1], weights[2]
    s = u.shape[2]
    end = s * (s - 1) - 1
    for start in range(s + 1, end, _PIECE):
        count = min(_PIECE, end - start)
        _sum_columns(faces, edges, r, plane, start - 1, count + 2)
        out, around = _flat(u, plane)[start : start + count], _flat(r, plane)[start - 1 : start + count + 1]
        left, centre, right = around[:count], around[1 : count + 1], around[2 : count + 2]
        left_faces, mid_faces, right_faces = faces[:count], faces[1 : count + 1], faces[2 : count + 2]
        mid_edges = edges[1 : count + 1]
        for i in range(count):
            at_faces = mid_faces[i] + (left[i] + right[i])
            at_edges = mid_edges[i] + (left_faces[i] + right_faces[i])
            out[i] += centre_weight * centre[i] + face_weight * at_faces + edge_weight * at_edges
    _close(u, plane)


@_jit
def _restrict_plane(coarse, r, plane, sums):
    """One plane of the coarser grid: the means over 27 points, weighted 1/2, 1/4, 1/8 and 1/16."""
    s, n = r.shape[2], coarse.shape[2] - 2
    below, here, above = _flat(r, 2 * plane - 1), _flat(r, 2 * plane), _flat(r, 2 * plane + 1)
    for row in range(1, n + 1):
        o = 2 * row * s
        a, b, c = below[o - s : o], below[o : o + s], below[o + s : o + 2 * s]
        d, e, f = here[o - s : o], here[o : o + s], here[o + s : o + 2 * s]
        g, h, k = above[o - s : o], above[o : o + s], above[o + s : o + 2 * s]
        for i in range(s):
            sums[i] = 0.5 * e[i] + 0.25 * ((b[i] + d[i]) + (f[i] + h[i])) + 0.125 * ((a[i] + c[i]) + (g[i] + k[i]))
        out, at = coarse[plane, row, 1 : n + 1], sums[1:]
        for i in range(n):
            out[i] = at[2 * i + 1] + 0.5 * (at[2 * i] + at[2 * i + 2])
    _close(coarse, plane)


@_jit
def _expand_row(out, x, adds):
    """Numbers, and between any two of them their mean, into a row or added to it."""
    if adds:
        for i in range(out.size // 2):
            out[2 * i] += x[i]
            out[2 * i + 1] += 0.5 * (x[i] + x[i + 1])
    else:
        for i in range(out.size // 2):
            out[2 * i] = x[i]
            out[2 * i + 1] = 0.5 * (x[i] + x[i + 1])


@_jit
def _interpolate_plane(u, z, plane, adds, means):
    """A correction on the coarser grid, interpolated in one plane of the finer, ghosts included."""
    low, high = z[plane // 2], z[(plane + 1) // 2]  # the same for even planes
    this, following, between = means[0], means[1], means[2]
    for i in range(this.size):
        following[i] = 0.5 * (low[0, i] + high[0, i])
    for row in range(z.shape[1] - 1):
        this, following = following, this
        a, b = low[row + 1], high[row + 1]
        for i in range(this.size):
            following[i] = 0.5 * (a[i] + b[i])
        for i in range(this.size):
            between[i] = 0.5 * (this[i] + following[i])
        _expand_row(u[plane, 2 * row], this, adds)
        _expand_row(u[plane, 2 * row + 1], between, adds)


@_jit
def _sums():
    return np.empty(_PIECE + 2), np.empty(_PIECE + 2)


@_jit
def residual(r, v, u):
    """``r = v - A u``. Cost: 20 operations per point, 2 numbers read and 1 written."""
    faces, edges = _sums()
    for plane in range(1, u.shape[0] - 1):
        _residual_plane(r, v, u, plane, faces, edges)


@_jit
def residual_and_restrict(coarse, r, v, u):
    """The same, and all planes of the coarser residual but the last, which needs a ghost plane of r."""
    faces, edges = _sums()
    sums = np.empty(u.shape[2])
    for plane in range(1, u.shape[0] - 1):
        _residual_plane(r, v, u, plane, faces, edges)
        if plane % 2 == 1 and plane > 1:
            _restrict_plane(coarse, r, plane // 2, sums)


@_jit
def restrict(coarse, r, first):
    """The planes of the coarser residual from `first` on. Cost: 3 operations per point of r."""
    sums = np.empty(r.shape[2])
    for plane in range(first, coarse.shape[0] - 1):
        _restrict_plane(coarse, r, plane, sums)


@_jit
def correct(u, r, v, z, adds, weights):
    """Interpolate z in u, or add it; ``r = v - A u``; smooth the inner planes of u.

    The first plane and the last are left to `smooth`, for they need ghost planes of r. Cost: 40 operations per point,
    2 numbers read and 2 written.
    """
    m = u.shape[0] - 2
    faces, edges = _sums()
    means = np.empty((3, z.shape[2]))
    for plane in range(m + 2):
        _interpolate_plane(u, z, plane, adds, means)
        if plane >= 2:
            _residual_plane(r, v, u, plane - 1, faces, edges)
        if plane >= 4:  # r is known on both sides, and this plane of u is not needed as it was any more
            _smooth_plane(u, r, plane - 2, weights, faces, edges)


@_jit
def smooth(u, r, plane, weights):
    """``u += S r`` in one plane. Cost: 20 operations per point."""
    faces, edges = _sums()
    _smooth_plane(u, r, plane, weights, faces, edges)


@_jit
def sum_squares(r):
    """Over all points but ghosts."""
    total = 0.0
    for plane in range(1, r.shape[0] - 1):
        for row in range(1, r.shape[1] - 1):
            for one in r[plane, row, 1:-1]:
                total += one * one
    return total
