"""The folder of a checkpoint: which steps it has, how one comes into it as a whole, and how old ones leave.

::

    lock                        held by the job that saves; the system lets go of it however the job ends
    00000004.step-300/          the fourth step that was saved
        manifest.json
        temperature.npy
    .00000005.step-400.writing/ one that is being written, or was when its job was killed

A step has its number in the order of saving before its own, so a step that is saved again replaces nothing: it is a
new one, and the last. One rank uses it, and does so under the lock if it changes anything.
"""

import errno
import fcntl
import os
import re
import shutil
import weakref
from typing import NamedTuple

from .._errors import CheckpointError
from .files import sync_names, trouble, write_whole
from .manifest import NAME, Manifest

_SAVED = re.compile(r"([0-9]{8,})\.step-([0-9]+)")
#: Lustre, mounted without flock, and others have no locks at all.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
_LEFT = re.compile(r"\.[0-9]{8,}\.step-[0-9]+\.(writing|deleting)")


class Saved(NamedTuple):
    """A step in the folder."""

    number: int  # in the order of saving
    step: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:08d}.step-{self.step}"


class Folder:
    """The folder at `path`, which need not exist until something is saved."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.complaint: str | None = None  # why there is no lock, where the file system has none
        self._lock: int | None = None
        _folders.add(self)

    def saved(self) -> list[Saved]:
        """The steps that are there, the last one at the end."""
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise trouble(self.path, error) from None
        return sorted(Saved(int(found[1]), int(found[2])) for name in names if (found := _SAVED.fullmatch(name)))

    def file(self, saved: Saved, name: str) -> str:
        """The path of a file of a step."""
        return os.path.join(self.path, saved.name, name)

    def draft(self, saved: Saved) -> str:
        """The folder of a step while it is written."""
        return os.path.join(self.path, f".{saved.name}.writing")

    def begin(self, step: int) -> Saved:
        """Take the lock, if it is not ours, remove what killed jobs have left, and make the folder of a new step."""
        try:
            self._make()
            self._take_lock()
            self._clean()
            saved = Saved(max((one.number for one in self.saved()), default=0) + 1, step)
            os.mkdir(self.draft(saved))
        except OSError as error:
            raise trouble(error.filename or self.path, error) from None
        return saved

    def commit(self, saved: Saved, manifest: Manifest) -> None:
        """Put a step whose arrays are on the disk into its place."""
        draft = self.draft(saved)
        write_whole(os.path.join(draft, NAME), manifest.packed())
        sync_names(draft)
        try:
            os.rename(draft, os.path.join(self.path, saved.name))
        except OSError as error:
            raise trouble(draft, error) from None
        sync_names(self.path)

    def give_up(self, saved: Saved) -> None:
        """Remove a step that cannot be written; what cannot be removed the next save tries again."""
        shutil.rmtree(self.draft(saved), ignore_errors=True)

    def keep(self, count: int) -> None:
        """Remove all but the last steps."""
        try:
            for saved in self.saved()[:-count]:
                # By another name first, so that a part of a step is never taken for a damaged one.
                leaving = os.path.join(self.path, f".{saved.name}.deleting")
                os.rename(os.path.join(self.path, saved.name), leaving)
                shutil.rmtree(leaving)
        except OSError as error:
            raise trouble(error.filename or self.path, error) from None

    def _make(self) -> None:
        """Make the folder, and those above it, if need be, to stay there."""
        missing, path = [], self.path
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        if missing:
            os.makedirs(self.path, exist_ok=True)
        for path in missing:
            sync_names(os.path.dirname(path))

    def _clean(self) -> None:
        for name in os.listdir(self.path):
            if _LEFT.fullmatch(name):
                shutil.rmtree(os.path.join(self.path, name))

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        path, us = os.path.join(self.path, "lock"), f"process {os.getpid()} on {os.uname().nodename}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{us}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(fd)
            what = "which saves there. Wait until it has ended, or use another path"
            if holder == us:
                what = "by another Checkpoint of this program. Close that one, or save with it"
            raise CheckpointError(f"{path} is held by {holder}, {what}") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(fd)
                raise
            self.complaint = f"{path}: {error.strerror}: nothing keeps two jobs from saving there at the same time"
        self._lock = fd

    def __del__(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


_folders: "weakref.WeakSet[Folder]" = weakref.WeakSet()


def _after_fork() -> None:
    """A child that outlives the job must not hold the lock."""
    for folder in list(_folders):
        folder.let_go()


os.register_at_fork(after_in_child=_after_fork)
