"""A compiled function with a communicator in a global variable."""

import numba

import dcomp as dc

alone = dc.COMM_SELF


@numba.njit(cache=True)
def size():
    return alone.allreduce(1)
