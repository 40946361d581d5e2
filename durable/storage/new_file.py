"""A new object's file: made in one step, and locked until SQLite opens it.

The lock is on the bytes that SQLite locks, so that it keeps other owners out as SQLite's own would; but it belongs to the open
descriptor, not to the process. So it holds against this process too, and is not lost when another descriptor is closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from .durability import size_of
from .rewrite import forget_mark
from .schema import WAL_MODE

_WAL_MODE_AT = 18
_FIRST, _COUNT = 0x40000000, 512  # SQLite's PENDING_BYTE, RESERVED_BYTE, and SHARED_FIRST to its end
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_TMPFILE", os.O_DIRECTORY)
# This file system, or this kernel, has no files without a name.
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class NewFile:
    """The file at `path`, made of a database's bytes: locked, and not synced.

    Raises OSError when it cannot be made, FileExistsError when there is one.

    Attributes:
        descriptor: it is open here.
        inode: its number.
        size: in bytes.
    """

    def __init__(self, path: Path, image: bytes) -> None:
        self._path = path
        self.size = len(image)
        self.descriptor, draft = _begin(path)
        try:
            view = memoryview(image)
            while view:
                view = view[os.write(self.descriptor, view) :]
            os.pwrite(self.descriptor, WAL_MODE, _WAL_MODE_AT)
            _set_lock(self.descriptor, fcntl.F_WRLCK)
            forget_mark(path)
            # Unlike rename, a link never replaces another owner's file.
            if draft is None:
                source = f"/proc/self/fd/{self.descriptor}"
                os.link(source, path, src_dir_fd=self.descriptor, follow_symlinks=True)
            else:
                os.link(draft, path)
        except BaseException:
            os.close(self.descriptor)
            raise
        finally:
            if draft is not None:
                draft.unlink()
        # A log that is there is a deleted predecessor's: nobody has opened our file yet.
        Path(f"{path}-wal").unlink(missing_ok=True)
        made = os.fstat(self.descriptor)
        self.inode, self._made_at = made.st_ino, made.st_mtime_ns

    def unlock(self) -> None:
        """Let SQLite have it: who comes between is found by its lock, or by its epoch in the file."""
        _set_lock(self.descriptor, fcntl.F_UNLCK)

    def lock_again(self) -> bool:
        """Keep everybody else out once more; whether nobody has written to it meanwhile."""
        try:
            _set_lock(self.descriptor, fcntl.F_WRLCK)
            found = self._path.stat()
        except OSError:
            return False
        is_same = (found.st_ino, found.st_mtime_ns) == (self.inode, self._made_at)
        return is_same and not size_of(f"{self._path}-wal")


def _begin(path: Path) -> tuple[int, Path | None]:
    """A file to write to, and its name if it has one. One without a name leaves nothing when this process dies."""
    for _ in range(2):
        try:
            return os.open(path.parent, _UNNAMED, 0o600), None
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
            break
    draft = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
    return os.open(draft, _NAMED, 0o600), draft


def _set_lock(descriptor: int, kind: int) -> None:
    """Raises OSError when somebody else has it."""
    wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, _FIRST, _COUNT, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
