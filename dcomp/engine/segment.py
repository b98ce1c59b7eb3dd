"""Memory that all ranks of a node have mapped: a heap for each rank, from which results come.

One anonymous file (memfd_create) made by the first rank of the node, opened by the others through ``/proc``: it has
no name in any directory, so nothing of it can be left behind, whatever ends the job.
"""

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import prod
from sys import getrefcount
from typing import Any

import numpy as np
from mpi4py import MPI

_HUGE = 2 << 20  # bytes of a huge page
_COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1
_RESERVE = (0, 0x4022)  # PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
_SHARE = (3, 0x4011)  # PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE
_OWN = (3, 0x4032)  # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE
_STAGGER = 4096 * 33  # heaps that lie a power of two apart would meet in the same sets of the caches
_SMALLEST = 1 << 12
_LEAST = 16 << 20  # bytes of a heap: a few meeting places, and some results
_LOOKS = 4  # blocks looked at before a whole pool is, or a new block is made


class Segment:
    """The node's memory as one rank has it mapped.

    Attributes
    ----------
    base : int       Where it begins, in this process.
    heap : int       Bytes of each rank's heap.
    nbytes : int     Of all heaps together.
    bytes : array of uint8     The memory itself.
    pids : array of int64      The processes of all ranks, if they can read each other's own memory; else zeros.
    """

    def __init__(self, base: int, heap: int, index: int, ranks: int) -> None:
        self.pids = np.zeros(ranks, np.int64)
        self.base, self.heap, self.nbytes = base, heap, heap * ranks
        self.bytes = _bytes_at(base, self.nbytes)
        self._top = heap * index + index * _STAGGER
        self._end = heap * (index + 1)
        self._pools: dict[int, _Pool] = {}
        self._pinned: dict[int, np.ndarray] = {}  # by their ids, as threads may change it at the same time
        self._left: dict[int, np.ndarray] = {}  # of arrays for all that were let go: who uses them still

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """A new array in this rank's heap; None if the heap is full.

        The block is free again when neither the array nor a view of it is left.
        """
        block = self.block(prod(shape) * dtype.itemsize)
        return None if block is None else np.ndarray(shape, dtype, block)

    def maker(self, nbytes: int) -> Callable[[tuple[int, ...], np.dtype], np.ndarray]:
        """A function that makes arrays of so many bytes: in the heap, or if it is full in ordinary memory."""
        size = _size_class(nbytes)
        pool = self._pool(size)
        take, ndarray = pool.take, np.ndarray

        def make(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            block = take()
            if block is None:
                block = self._grow(pool, size)
            return np.empty(shape, dtype) if block is None else ndarray(shape, dtype, block)

        return make

    def array_for_all(self, comm: MPI.Intracomm, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """A new array in the heap of the first rank of `comm`, the same memory on all its ranks.

        The first rank keeps it until `let_go`, and then until none of the others has it or a view of it any more: each
        has a byte behind the array that is 1 until then. None if the heap is full. Collective over `comm`, of ranks of
        this node.
        """
        nbytes = prod(shape) * dtype.itemsize
        block: Any = None
        offset: int | None = None
        if comm.rank == 0:
            self._reclaim()
            block = self.block(nbytes + comm.size)
            if block is not None:
                block[nbytes + 1 : nbytes + comm.size] = 1
                offset = address_of(block) - self.base
        offset = comm.bcast(offset)
        if offset is None:
            return None
        if comm.rank != 0:
            block = _bytes_at(self.base + offset, nbytes + comm.size)
        array = np.ndarray(shape, dtype, block)  # only now, for what is wrong with a shape is wrong on all ranks
        if comm.rank == 0:
            self.pin(block)
        else:
            finish = weakref.finalize(block, _leave, self.base + offset + nbytes + comm.rank, os.getpid())
            finish.atexit = False
        return array

    def let_go(self, array: np.ndarray, users: int) -> None:
        """On the rank that keeps it: give an `array_for_all` of so many ranks free when nobody uses it any more."""
        block: Any = array.base
        self._left[id(block)] = block[array.nbytes : array.nbytes + users]
        self._reclaim()

    def _reclaim(self) -> None:
        """Give those arrays free that other ranks have left."""
        for key, users in list(self._left.items()):
            if not users.any():
                self._pinned.pop(key, None)
                self._left.pop(key, None)

    def _pool(self, size: int) -> "_Pool":
        return self._pools.get(size) or self._pools.setdefault(size, _Pool())

    def block(self, nbytes: int) -> np.ndarray | None:
        """At least so many bytes, aligned to 4096 of them; None if the heap is full."""
        size = _size_class(nbytes)
        pool = self._pool(size)
        block = pool.take()
        return block if block is not None else self._grow(pool, size)

    def pin(self, block: np.ndarray) -> None:
        """Keep a block until `unpin`, whoever forgets it: others may be looking at it."""
        self._pinned[id(block)] = block

    def unpin(self, block: np.ndarray) -> None:
        """Undo `pin`."""
        self._pinned.pop(id(block), None)

    def own(self) -> None:
        """In a forked child: move living results into memory of the child's own, at the same addresses."""
        for pool in self._pools.values():
            for index in range(len(pool.blocks)):
                block = pool.blocks[index]
                if getrefcount(block) != _FREE and id(block) not in self._pinned:
                    contents = block.copy()
                    _mmap(address_of(block), block.nbytes, _OWN, -1)
                    block[:] = contents

    def _grow(self, pool: "_Pool", size: int) -> np.ndarray | None:
        """A block from new memory, or a free one that is larger: of large ones up to twice the size, else any.

        If there is no more new memory, all are looked at.
        """
        nbytes = max(size, _HUGE)
        is_full = self._top + nbytes > self._end
        if is_full:
            self._reclaim()
        if is_full or size >= _HUGE:
            for other in sorted(self._pools):
                if size <= other if is_full else size < other <= 2 * size:
                    found = self._pools[other].take(looks_at_all=is_full)
                    if found is not None:
                        return found
        if is_full:
            return None
        start, self._top = self._top, self._top + nbytes
        self._make_huge(start, nbytes)
        block = None  # held here, so that no other thread takes the last one
        for offset in range(start, start + nbytes - size + 1, size):
            block = _bytes_at(self.base + offset, size)
            pool.blocks.append(block)
        return block

    def _make_huge(self, start: int, nbytes: int) -> None:
        """Fault memory in, in huge pages where the kernel gives them: a touch of each, then one call for all."""
        for offset in range(start, start + nbytes, _HUGE):
            ctypes.c_char.from_address(self.base + offset).value = b"\0"
        _libc.madvise(ctypes.c_void_p(self.base + start), ctypes.c_size_t(nbytes), _COLLAPSE)


class _Pool:
    """Blocks of one size. A block is free when only the pool refers to it."""

    def __init__(self) -> None:
        self.blocks: deque[np.ndarray] = deque()
        self._since = 0  # blocks asked for since all were looked at

    def take(self, looks_at_all: bool = False) -> np.ndarray | None:
        """A free block, if one is found: first the last one, which is in the caches."""
        blocks = self.blocks
        if blocks:
            block = blocks[-1]
            if getrefcount(block) == _FREE:
                return block
            block = blocks[0]
            blocks.rotate(-1)
            if getrefcount(block) == _FREE:
                return block
        self._since += 1
        looks = min(_LOOKS, len(blocks))
        if looks_at_all or self._since > len(blocks):  # seldom enough to cost little, often enough to find what is free
            looks, self._since = len(blocks), 0
        for _ in range(looks):
            block = blocks[0]
            blocks.rotate(-1)
            if getrefcount(block) == _FREE:
                return block
        return None


def _leave(address: int, owner: int) -> None:
    """Take this rank off the users of an array; a forked child is none."""
    if os.getpid() == owner:
        ctypes.c_char.from_address(address).value = b"\0"


def _bytes_at(address: int, nbytes: int) -> np.ndarray:
    memory: Any = (ctypes.c_char * nbytes).from_address(address)
    return np.frombuffer(memory, np.uint8)


_segments: list[Segment] = []
_forks: list[tuple[int, int]] = []  # pipes that tell a parent when its child has taken its results


def _before_fork() -> None:
    if _segments:
        _forks.append(os.pipe())


def _after_fork_in_parent() -> None:
    """Wait until the child has copied what it shares with this process, which goes on to change it."""
    if _segments:
        reading, writing = _forks.pop()
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)


def _after_fork_in_child() -> None:
    for segment in _segments:
        segment.own()
    for reading, writing in _forks:  # of forks by other threads, too, whose parents wait for the last to close it
        os.close(reading)
        os.close(writing)
    _forks.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _references_to_a_free_block() -> int:
    blocks = deque([np.empty(0)])
    block = blocks[0]
    return getrefcount(block)


_FREE = _references_to_a_free_block()


def _size_class(nbytes: int) -> int:
    """Sizes at four steps between powers of two: at most a quarter of a block is lost."""
    if nbytes <= _SMALLEST:
        return _SMALLEST
    step = max(1 << ((nbytes - 1).bit_length() - 3), _SMALLEST)
    return -(-nbytes // step) * step


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def make_segment(node: MPI.Intracomm, heap: int | None) -> tuple[Segment | None, str]:
    """The segment of a node's ranks, or None and why there is none; collective over `node`.

    Parameters
    ----------
    heap : bytes per rank, or None: half of the node's memory, shared out evenly
    """
    if heap is None:
        heap = node_memory() // (2 * node.size)
    heap = int(node.allreduce(heap, MPI.MIN)) // _HUGE * _HUGE
    if heap < _LEAST:
        return None, f"{heap >> 20} MiB of shared memory per rank are too little: it takes {_LEAST >> 20} (DCOMP_HEAP)"
    fault, segment, descriptor = "", None, -1
    identity: tuple[int, int] | None = None
    try:
        if node.rank == 0:
            descriptor = os.memfd_create("dcomp")
            os.ftruncate(descriptor, heap * node.size)
            identity = _identity(descriptor)
    except (OSError, AttributeError) as error:
        fault = f"memfd_create: {error}"
    owner, number, identity, fault = node.bcast((os.getpid(), descriptor, identity, fault))
    if not fault:
        try:
            if node.rank != 0:
                descriptor = os.open(f"/proc/{owner}/fd/{number}", os.O_RDWR)
                if _identity(descriptor) != identity:  # in another container that number is another process
                    raise OSError("its process is not the one of that number here")
            segment = Segment(_map(descriptor, heap * node.size), heap, node.rank, node.size)
        except OSError as error:
            fault = f"rank {node.rank} of the node cannot map the memory of its first rank: {error}"
    mark = np.frombuffer(os.urandom(8), np.uint8).copy()  # which the others try to read, and to write as it is
    told = node.allgather((fault, os.getpid(), address_of(mark), mark.tobytes()))
    if descriptor >= 0:
        os.close(descriptor)
    faults = [one for one, *_ in told if one]
    if faults or segment is None:
        return None, faults[0]
    if node.allreduce(all(_reach(pid, address) == value for _, pid, address, value in told), MPI.LAND):
        segment.pids[:] = [pid for _, pid, *_ in told]
    _segments.append(segment)
    return segment, ""


def _reach(pid: int, address: int) -> bytes:
    """Eight bytes of another process's memory, written back; zeros where that is not allowed (ptrace(2), Yama)."""
    result = ctypes.create_string_buffer(8)
    here, there = ((ctypes.c_size_t * 2)(place, 8) for place in (ctypes.addressof(result), address))
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    with suppress(AttributeError):
        _libc.process_vm_readv(pid, here, one, there, one, none)
        if _libc.process_vm_writev(pid, here, one, there, one, none) == 8:
            return result.raw
    return bytes(8)


def _identity(descriptor: int) -> tuple[int, int]:
    """What tells a file from all others of this machine."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def node_memory() -> int:
    """Bytes of memory that the ranks of this node may use: the machine's, or what their control group allows."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError), open(path) as file:
            memory = min(memory, int(file.read()))
    return memory


def _map(descriptor: int, nbytes: int) -> int:
    """Map a file at a multiple of the huge page."""
    reserved = _mmap(0, nbytes + _HUGE, _RESERVE, -1)
    return _mmap(-(-reserved // _HUGE) * _HUGE, nbytes, _SHARE, descriptor)


def _mmap(address: int, nbytes: int, how: tuple[int, int], descriptor: int) -> int:
    result = _libc.mmap(address, nbytes, *how, descriptor, 0)
    if result in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def address_of(array: np.ndarray) -> int:
    """Where an array's data begins."""
    return array.__array_interface__["data"][0]
