"""What errors of SQLite's and of the disk mean for an object."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import apsw

from durable.errors import DamagedFileError, SqlError, StorageError, StorageLimitError

if TYPE_CHECKING:
    from .database import Database

FULL = "the disk is full; nothing of this event was stored"
FULL_DISK_BYTES = 32 * 1024 * 1024
"""With less room than this, a database that cannot grow is the disk's fault."""


class BusyFileError(StorageError):
    """Another process still holds the file: its owner lives, or is stopped in the middle of a transaction."""


def busy(text: str) -> BusyFileError:
    """The file cannot be had yet."""
    error = BusyFileError(text, delivered="no")
    error.retryable = True
    return error


def open_failure(error: apsw.Error) -> StorageError:
    """A file could not be opened."""
    if isinstance(error, apsw.BusyError):
        return busy("another process still holds this object's file")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return DamagedFileError(f"this object's file is damaged: {error}", delivered="no")
    return StorageError(f"this object's file could not be opened: {error}", delivered="no")


def disk_failure(error: OSError) -> StorageError:
    """A file could not be made."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(FULL, delivered="no")
    return StorageError(f"the disk failed: {error}")


def storage_failure(error: apsw.Error, database: Database) -> StorageError:
    """A statement of the runtime's failed, or a commit."""
    if isinstance(error, apsw.FullError):
        return full(database)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return DamagedFileError(f"this object's file is damaged: {error}")
    if isinstance(error, apsw.IOError):
        return StorageError(f"the disk failed: {error}")
    if isinstance(error, apsw.ConstraintError | apsw.SQLError):  # of the class's schema, not of the disk
        return SqlError(str(error), getattr(error, "extendedresult", 0))
    return StorageError(f"SQLite failed: {error}")


def full(database: Database) -> StorageError:
    """SQLite calls the database full: it has come to its limit, or to the disk's end."""
    room = os.statvfs(database.path.parent)
    if room.f_bavail * room.f_frsize < FULL_DISK_BYTES:
        return StorageError(FULL, delivered="no")
    return StorageLimitError(
        f"this object's database is full: it may have {database.most_bytes} bytes; nothing of this event was stored"
    )
