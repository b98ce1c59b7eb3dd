"""The matrix of CG: random, sparse, symmetric, of a known condition number.

Source: kernel CG of RNR-94-007 (see `lcg`): a sum of n outer products of sparse random vectors, weighted from 1 down to
the reciprocal of the condition number, and a multiple of the identity.
"""

import lcg
import numpy as np

import dcomp as dc

SEED = 314159265
SMALLEST = 0.1  # the reciprocal of the condition number
ON_DIAGONAL = 0.5  # element i of vector i


def make_rows(rows: slice, n: int, nonzeros: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """These rows of the matrix of order n: compressed, columns in order, indices of 4 bytes.

    Every rank draws all vectors, for each depends on the numbers that the ones before have taken.
    """
    places, values = np.empty((n, nonzeros + 1), np.int32), np.empty((n, nonzeros + 1))
    draw(places, values, lcg.advanced(SEED, 1))
    owners, bounds = by_element(places, n)
    # Entries of a row at most, before equal places are added up; the sums are collected in an array of all columns.
    room = int((bounds[rows.stop] - bounds[rows.start]) * (nonzeros + 1))
    indptr = np.zeros(rows.stop - rows.start + 1, np.int32)
    indices, data = np.empty(room, np.int32), np.empty(room)
    assemble(indptr, indices, data, rows.start, places, values, owners, bounds, SMALLEST - shift)
    return indptr, indices[: indptr[-1]].copy(), data[: indptr[-1]].copy()


@dc.jit
def draw(places, values, seed):
    """The sparse vectors, one in each row: places and values of what is not zero; unused places are -1."""
    n, most = places.shape
    length = 1
    while length < n:
        length *= 2
    numbers = np.empty(2)
    for i in range(n):
        count = 0
        while count < most - 1:
            seed = lcg.fill(numbers, seed)  # a value and a place
            place = int(numbers[1] * length)
            if place < n and not (places[i, :count] == place).any():
                values[i, count], places[i, count] = numbers[0], place
                count += 1
        places[i, count] = -1
        for k in range(count):
            if places[i, k] == i:
                values[i, k] = ON_DIAGONAL
                break
        else:
            values[i, count], places[i, count] = ON_DIAGONAL, i


@dc.jit
def by_element(places, n):
    """For each element the vectors in which it is not zero, in order: ``vectors[bounds[j]:bounds[j + 1]]``."""
    bounds = np.zeros(n + 1, np.int64)
    for place in places.flat:
        if place >= 0:
            bounds[place + 1] += 1
    bounds = np.cumsum(bounds)
    vectors, ends = np.empty(bounds[n], np.int32), bounds.copy()
    for i in range(n):
        for place in places[i]:
            if place >= 0:
                vectors[ends[place]] = i
                ends[place] += 1
    return vectors, bounds


@dc.jit
def assemble(indptr, indices, data, first, places, values, vectors, bounds, diagonal):
    """The rows from `first` on of the sum of outer products, and of a diagonal."""
    n, most = places.shape
    row, is_there = np.zeros(n), np.zeros(n, np.bool_)
    end = 0
    for i in range(indptr.size - 1):
        start = end
        for vector in vectors[bounds[first + i] : bounds[first + i + 1]]:
            scale = SMALLEST ** (vector / n)
            for k in range(most):
                if places[vector, k] == first + i:
                    scale *= values[vector, k]
            for k in range(most):
                place = places[vector, k]
                if place >= 0:
                    row[place] += scale * values[vector, k]
                    if not is_there[place]:
                        is_there[place] = True
                        indices[end] = place
                        end += 1
        row[first + i] += diagonal
        indices[start:end].sort()  # neighbours in x are read one after the other
        for k in range(start, end):
            data[k], row[indices[k]], is_there[indices[k]] = row[indices[k]], 0.0, False
        indptr[i + 1] = end
