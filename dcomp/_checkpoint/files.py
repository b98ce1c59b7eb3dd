"""Bytes on the disk: written and read in pieces with their checksums, and made to stay there.

No communication. What goes wrong is a `CheckpointError` that names the file.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable

import numpy as np

from .._errors import CheckpointError
from .manifest import Array, Digest, digest, overlapping

_CACHED = 512 << 10  # bytes that stay in a core's cache
_PATIENCE = 10.0  # seconds after which progress is told, and between two such lines
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link that leads elsewhere, no pipe to hang in
_WRITE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # as CIFS and some of FUSE's say of a folder


def trouble(path: str, error: OSError) -> CheckpointError:
    """What the system says of a file; what is known already stays as it is."""
    if isinstance(error, CheckpointError):
        return error
    made = CheckpointError(f"{path}: {error.strerror or error}")
    made.errno = error.errno
    return made


def damaged(path: str, what: str) -> CheckpointError:
    """A file is not as it was written."""
    return CheckpointError(f"{path} is damaged: {what}")


class Progress:
    """Lines on standard error about what takes long."""

    def __init__(self, title: str, total: int, is_told: bool) -> None:
        self._title, self._total, self._is_told = title, total, is_told
        self._start = self._told = time.monotonic()
        self._done = 0

    def add(self, nbytes: int) -> None:
        """So many bytes more are done; 0: others are waited for."""
        self._done += nbytes
        now = time.monotonic()
        if self._is_told and now - self._told > _PATIENCE:
            self._told = now
            done, total = self._done / 2**30, self._total / 2**30
            print(
                f"dcomp: {self._title}: rank 0 has done {done:.1f} of {total:.1f} GiB in {now - self._start:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def create_file(path: str, header: bytes, size: int) -> None:
    """A new file of this size, of which the header is there."""
    try:
        fd = os.open(path, _WRITE | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_at(fd, header, 0)
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(path, error) from None


def write_whole(path: str, data: bytes) -> None:
    """A new file that has these bytes, on the disk."""
    create_file(path, data, len(data))
    sync(path)


def write_block(path: str, data: np.ndarray, offset: int, piece: int, tell: Callable[[int], None]) -> list[str]:
    """Write some bytes into a file that is there, to the disk; the checksums of pieces of so many bytes."""
    checksums = []
    try:
        fd = os.open(path, _WRITE)
        try:
            view = data.data
            for start in range(0, len(view), piece):
                part = view[start : start + piece]
                checksums.append(digest(part))
                _write_at(fd, part, offset + start)
                # The disk begins at once, while the next pieces are written: dirty pages are not dropped but sent off.
                os.posix_fadvise(fd, offset + start, len(part), os.POSIX_FADV_DONTNEED)
                tell(len(part))
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(path, error) from None
    return checksums


def _write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def sync_names(folder: str) -> None:
    """Bring the names in a folder to the disk, unless the file system can do that with files alone."""
    try:
        sync(folder)
    except CheckpointError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync(path: str) -> None:
    """Bring a file to the disk."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(path, error) from None


def read_whole(path: str) -> bytes:
    """All bytes of a file."""
    try:
        fd = os.open(path, _READ)
        try:
            data = np.empty(_size(fd, path), np.uint8)
            _read_at(fd, data, 0, path)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(path, error) from None
    return data.tobytes()


def read_part(path: str, array: Array, start: int, stop: int, is_kept: bool, tell: Callable[[int], None]) -> np.ndarray:
    """The bytes ``start:stop`` of the elements of an array, if all pieces that have some are as they were written.

    If they are not to be kept, they are only looked at, and nothing is returned.
    """
    try:
        fd = os.open(path, _READ)
        try:
            size = _size(fd, path)
            if size != array.size:
                raise damaged(path, f"it has {size} bytes instead of {array.size}")
            _check_header(fd, path, array)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # so the system reads further ahead
            out = np.empty(stop - start if is_kept else 0, np.uint8)
            spare = np.empty(min(array.piece, array.nbytes), np.uint8)
            for number, low, high in overlapping(array.bounds(), start, stop):
                is_within = is_kept and start <= low and high <= stop
                piece = out[low - start : high - start] if is_within else spare[: high - low]
                if _read_at(fd, piece, array.start + low, path) != array.checksums[1 + number]:
                    raise damaged(path, f"the checksum of bytes {array.start + low} to {array.start + high} is wrong")
                if is_kept and not is_within:
                    begin, end = max(low, start), min(high, stop)
                    out[begin - start : end - start] = piece[begin - low : end - low]
                tell(high - low)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(path, error) from None
    return out


def _check_header(fd: int, path: str, array: Array) -> None:
    if _read_at(fd, np.empty(array.start, np.uint8), 0, path) != array.checksums[0]:
        raise damaged(path, "the checksum of its header is wrong")


def _size(fd: int, path: str) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise damaged(path, "it is no file")
    return status.st_size


def _read_at(fd: int, out: np.ndarray, offset: int, path: str) -> str:
    """Fill `out` from a file; the checksum, which is taken while what was read is still in the core's cache."""
    view, done, checksum = out.data, 0, Digest()
    while done < len(view):
        got = os.preadv(fd, [view[done : done + _CACHED]], offset + done)
        if got == 0:
            raise damaged(path, "it has become shorter")
        checksum.update(view[done : done + got])
        done += got
    return checksum.hexdigest()
