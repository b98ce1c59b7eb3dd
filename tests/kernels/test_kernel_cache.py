"""Kernels that come from the cache, as they do at every start of a job but the first."""

import shutil

import numba
import numpy as np
import pytest
from numba.core import caching

from dcomp.kernels import _node_cache
from dcomp.kernels._jit import jit, load_compiled
from dcomp.kernels._kernel_cache import KernelCache

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
    monkeypatch.setattr(_node_cache, "_writable", set())
    for _ in range(3):
        KernelCache(scale)
    assert len(tried) == 1


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """One whose cache is its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel = jit(scale)
    kernel.compile(_TYPES)
    assert is_cached()
    return kernel


def is_cached():
    return load_compiled(jit(scale), _TYPES)


@pytest.mark.parametrize("change", ["sources", "types", "processor"])
def test_data_of_something_else_is_not_taken(kernel, change):
    """The disk was full when the index had been written, but not the data."""
    file, key = kernel._cache._cache_file, kernel._cache._index_key(_TYPES, kernel.targetctx.codegen())
    if change == "sources":
        file._source_stamp = "other"
    elif change == "types":
        key = (numba.float32[::1], numba.float32), *key[1:]
    else:
        key = key[0], ("x86_64", "another", ""), key[2]
    file._save_index({key: file._data_name(1)})
    assert file.load(key) is None


def test_a_broken_byte(kernel, tmp_path):
    """Also where it would be read much later, if at all."""
    (path,) = tmp_path.rglob("*.nbc")
    data = bytearray(path.read_bytes())
    data[data.index(b"BC\xc0\xde") + 100] ^= 1
    path.write_bytes(data)
    assert not is_cached()
    jit(scale).compile(_TYPES)
    assert is_cached()


def test_a_folder_that_has_gone(kernel, tmp_path):
    shutil.rmtree(tmp_path)
    assert not is_cached()
    jit(scale).compile(_TYPES)
    assert is_cached()


def test_what_finds_no_folder_is_told(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "NoSuchLocator")
    with pytest.raises(RuntimeError, match="Unknown cache locator class"):
        jit(scale)
