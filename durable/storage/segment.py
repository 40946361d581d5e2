"""One file of a journal: records, one after the other, and room for more."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Protocol

from .durability import sync_directory
from .records import Part, head

STEP_BYTES = 1024 * 1024
"""By which a file grows: a sync of bytes that had their place before costs half of one that makes place."""


class Log(Protocol):
    """An object's own log, as the journal sees it."""

    path: Path

    def part(self) -> Part | None:
        """What is to be made durable; None when that is better done by the log's own sync."""

    def journaled(self, last: int) -> None:
        """Commit `last`, and all before it, are durable in the journal."""

    def sync_itself(self) -> None:
        """Make everything durable by the log's own sync."""

    def settle(self) -> None:
        """The same, as soon as nothing else is under way; the journal is told by `settled`."""


class Segment:
    """One file of a journal, locked as long as its worker lives.

    Attributes:
        logs: the objects that have something in it, and whose own files may lack it; None: who wrote it is gone.
        size: bytes of its head and its records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs: dict[Path, Log | None] = {}
        self.size = 0
        self._room = 0  # bytes that the file has, zeros behind the last record
        self._fd: int | None = None
        self._is_closed = False
        # A descriptor that is closed while a thread writes to it may be another file's.
        self._lock = threading.Lock()

    def write(self, blob: bytes | bytearray) -> int | None:
        """Append without syncing; the descriptor to sync it by. None where that takes longer, or fails: `append` it in a thread."""
        end = self.size + len(blob)
        if self._fd is None or end > self._room:
            return None
        try:
            _write_at(self._fd, blob, self.size)
        except OSError:
            return None  # `append` will say why
        self.size = end
        return self._fd

    def append(self, blob: bytes | bytearray) -> None:
        """Append and sync (in a thread). Raises OSError, also when it has been closed: what is in it stays as it is."""
        with self._lock:
            if self._is_closed:
                raise OSError(f"{self.path} is closed")
            if self._fd is None:
                self._create()
            assert self._fd is not None
            end = self.size + len(blob)
            if end > self._room:
                room = end + STEP_BYTES
                _write_at(self._fd, bytes(room - self._room), self._room)
                self._room = room
            _write_at(self._fd, blob, self.size)
            os.fdatasync(self._fd)
            self.size = end

    def _create(self) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = self.path.with_suffix(".starting")  # unlocked, it would look like a dead worker's
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            begin = head()
            _write_at(descriptor, begin, 0)
            self.size = self._room = len(begin)
            os.fsync(descriptor)
            os.link(draft, self.path)  # unlike rename, it never replaces what is there
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            draft.unlink()
        self._fd = descriptor
        sync_directory(folder)
        sync_directory(folder.parent)

    def close(self) -> None:
        """Let go of the file, for good."""
        with self._lock:
            self._is_closed = True
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def delete(self) -> None:
        """Delete the file."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
        self.close()


def _write_at(descriptor: int, data: bytes | bytearray, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written
