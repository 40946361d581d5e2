"""What a power cut leaves of a directory: file contents as of their last sync, names as of their directory's, and luck.

All syncs of this process pass by here: Python's (`os.fsync`, `os.fdatasync`), those that the kernel is asked for, and those that
SQLite makes by itself, through a VFS that wraps its own. What was written and not synced may be on disk or not, page by page: chance decides. A file that
was never synced is there as a whole, or empty, or not at all, and one that was emptied has either all that it had before
or some of what came afterwards, as journaling file systems leave them.
"""

import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from durable.storage.kernel_sync import KernelSyncs

PAGE = 4096
DIRECTORY = -1
_VFS = "power-cut"


class Disk:
    """The durable state of everything below `root`, which must be empty. Inodes must not be used again: use tmpfs."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.syncs = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._contents: dict[int, bytes] = {}
        self._emptied: set[int] = set()  # since their last sync
        self._names: dict[str, dict[str, int]] = {}

    # -- what is synced

    def note(self, descriptor: int) -> None:
        """A file or a directory is about to be synced: what it holds now is durable."""
        found = os.fstat(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not path.startswith(str(self.root)):
            return
        if stat.S_ISDIR(found.st_mode):
            self.note_names(path)
        else:
            self.note_content(found.st_ino, lambda: os.pread(descriptor, os.fstat(descriptor).st_size, 0))

    def note_names(self, directory: str) -> None:
        """A directory is about to be synced."""
        with self._lock:
            self.syncs += 1
            self._names[directory] = _listing(Path(directory))

    def note_content(self, inode: int, read: Callable[[], bytes]) -> None:
        """A file, of which `read` gives the content, is about to be synced.

        It is read under the lock: else of two threads that sync at once, the one that has read before could be noted last.
        """
        with self._lock:
            self.syncs += 1
            self._contents[inode] = read()
            self._emptied.discard(inode)

    def note_emptied(self, inode: int) -> None:
        """A file has lost all that it had."""
        with self._lock:
            self._emptied.add(inode)

    # -- a power cut

    def cut(self, target: Path) -> None:
        """Make `target` what would be found if the power failed now."""
        with self._lock:
            self._restore(self.root, target)

    def _restore(self, source: Path, target: Path) -> None:
        target.mkdir()
        durable = self._names.get(str(source), {})
        now = _listing(source)
        for name in durable.keys() | now.keys():
            is_there = (
                self._random.random() < 0.5
            )  # whether what was done to this name since has come to the disk
            inode = now.get(name) if is_there or name not in durable else durable[name]
            if name not in durable and not is_there:
                continue
            if inode == DIRECTORY:
                self._restore(source / name, target / name)
            elif inode is not None:
                current = (source / name).read_bytes() if now.get(name) == inode else None
                synced = self._contents.get(inode)
                if inode in self._emptied and self._random.random() < 0.5:
                    synced = b""
                elif inode in self._emptied:
                    current = None
                (target / name).write_bytes(self._mixed(synced, current))

    def _mixed(self, synced: bytes | None, current: bytes | None) -> bytes:
        """The synced content with some of the pages that were written since, as far as the file may have grown."""
        if current is None or current == synced:
            return synced or b""
        if synced is None:
            return self._random.choice((current, b""))
        chance = self._random.choice((0.0, 0.5, 1.0))
        size = len(current) if self._random.random() < max(chance, 0.2) else len(synced)
        pages = [
            (current if self._random.random() < chance else synced)[at : at + PAGE].ljust(PAGE, b"\0")
            for at in range(0, size, PAGE)
        ]
        return b"".join(pages)[:size]


def _listing(path: Path) -> dict[str, int]:
    try:
        with os.scandir(path) as entries:
            return {one.name: DIRECTORY if one.is_dir() else one.inode() for one in entries}
    except FileNotFoundError:
        return {}


@contextmanager
def watched(disk: Disk) -> Iterator[None]:
    """Within this block `disk` is told of every sync of this process."""
    real = {name: getattr(os, name) for name in ("fsync", "fdatasync")}

    def patched(name: str) -> Any:
        def sync(descriptor: int) -> None:
            disk.note(descriptor)
            real[name](descriptor)

        return sync

    asked = {name: getattr(KernelSyncs, name) for name in real}

    def asking(name: str) -> Any:
        def ask(syncs: KernelSyncs, descriptor: int, done: Any) -> bool:
            disk.note(descriptor)
            found: bool = asked[name](syncs, descriptor, done)
            return found

        return ask

    vfs = _WatchedVfs(disk)
    for name in real:
        setattr(os, name, patched(name))
        setattr(KernelSyncs, name, asking(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)
            setattr(KernelSyncs, name, asked[name])
        vfs.unregister()


class _WatchedVfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(_VFS, "", makedefault=True)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:
        return _WatchedFile(self._disk, name, flags)


class _WatchedFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: Any) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        is_new = path is not None and not os.path.exists(path)
        super().__init__("unix", name, flags)
        self._disk = disk
        self._inode = os.stat(path).st_ino if path else None
        # With a new log's first sync SQLite syncs its directory too (unixSync, by its flag UNIXFILE_DIRSYNC).
        self._unnamed = os.path.dirname(path) if is_new and flags[0] & apsw.SQLITE_OPEN_WAL else None

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        if size == 0 and self._inode is not None:
            self._disk.note_emptied(self._inode)

    def xSync(self, flags: int) -> None:
        if self._inode is not None:
            self._disk.note_content(self._inode, lambda: self.xRead(self.xFileSize(), 0))
        super().xSync(flags)
        if self._unnamed is not None:
            self._disk.note_names(self._unnamed)
            self._unnamed = None
