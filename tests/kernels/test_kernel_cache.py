"""Kernels that come from the cache, as they do at every start of a job but the first."""

import numba
import numpy as np
from numba.core import caching

from dcomp.kernels import _kernel_cache
from dcomp.kernels._jit import jit, load_compiled

_TYPES = (numba.float64[::1], numba.float64)


def scale(out, factor):
    for i in range(len(out)):
        out[i] *= factor


def from_cache():
    """A kernel that this process has not compiled."""
    jit(scale).compile(_TYPES)
    kernel = jit(scale)
    assert load_compiled(kernel, _TYPES)
    return kernel


def test_is_called():
    x = np.arange(5.0)
    from_cache()(x, 3.0)
    np.testing.assert_array_equal(x, 3 * np.arange(5.0))


def test_is_inlined_in_other_code():
    kernel = from_cache()
    (loaded,) = kernel.overloads.values()
    assert loaded.library._shared_module is None  # has not been read

    @numba.njit
    def scale_twice(out):
        kernel(out, 3.0)
        kernel(out, 5.0)

    x = np.arange(5.0)
    scale_twice(x)
    np.testing.assert_array_equal(x, 15 * np.arange(5.0))
    assert loaded.library._shared_module is not None


def test_the_folder_is_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", lambda self: tried.append(self.get_cache_path()))
    monkeypatch.setattr(_kernel_cache, "_writable", set())
    for _ in range(3):
        _kernel_cache.KernelCache(scale)
    assert len(tried) == 1
