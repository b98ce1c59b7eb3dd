"""The one place where kernels meet numba."""

import numba

#: Compile a kernel: cached on disk, the GIL released while it runs, NumPy's division by zero.
jit = numba.njit(cache=True, nogil=True, error_model="numpy")
