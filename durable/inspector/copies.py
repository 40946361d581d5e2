"""Reads an object's file in a copy, since opening it in place would create files beside it and could lock out its owner.

A copy taken while somebody wrote is noticed: the file's times and sizes are compared before and after, and the copy is
checked before it is read. That nobody *owns* the object is for the caller to make sure, before and after.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import apsw

from durable.errors import (
    DamagedFileError,
    StatementTimeoutError,
    StorageError,
    StorageLimitError,
    UnavailableError,
)
from durable.storage.database import POISONED

TRIES = 5
PAUSE = 0.02
MOST_BYTES = 512 * 1024 * 1024
READ_SECONDS = 5.0

T = TypeVar("T")
_PROGRESS_STEPS = 50_000


class Copy:
    """An open copy; called with a statement it gives all rows.

    Attributes:
        connection: for statements that need more care. It is interrupted at the deadline.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def __call__(self, sql: str) -> list[Any]:
        """All rows of a statement of ours."""
        return self.connection.execute(sql).fetchall()


def copy_apart(source: str, target: str) -> None:
    """Copy a file in a process of its own: closing it in the process of its owner would drop the owner's lock."""
    copied = subprocess.run(["cp", "--", source, target], capture_output=True, text=True, check=False)
    if copied.returncode:
        if not Path(source).exists():
            raise FileNotFoundError(source)
        raise StorageError(f"the file cannot be copied: {copied.stderr.strip()}", delivered="no")


class Bounds(NamedTuple):
    """How much a copy may cost: the bytes of the file with its log, the seconds of reading, and where it is made."""

    most_bytes: int
    seconds: float
    folder: Path


def read_copy(
    path: Path, read: Callable[[Copy], T], *, apart: bool = False, bounds: Bounds | None = None
) -> T | None:
    """What `read(copy)` makes of the database at `path`; None when there is no such file, or it is being removed.

    `apart` must be set in a process that owns objects. Waits for the disk. Raises a StorageError for a damaged file and one that is too large, UnavailableError for a
    file that does not hold still.
    """
    most_bytes, seconds, folder = bounds or (MOST_BYTES, READ_SECONDS, None)
    damage: apsw.Error | None = None
    copy_file = copy_apart if apart else shutil.copyfile
    for _ in range(TRIES):
        with TemporaryDirectory(prefix="durable-look-", dir=folder) as draft:
            copy = Path(draft) / "object.sqlite3"
            before = _figures(path, most_bytes)
            if before is None:
                return None
            try:
                copy_file(str(path), str(copy))
                if before[1] is not None:
                    copy_file(f"{path}-wal", f"{copy}-wal")
            except FileNotFoundError:
                continue
            if _figures(path, most_bytes) == before:
                try:
                    return _read(copy, read, seconds)
                except (apsw.CorruptError, apsw.NotADBError) as error:
                    damage = error
                except apsw.InterruptError:
                    raise StatementTimeoutError(f"reading the copy took longer than {seconds:g} s") from None
                except apsw.Error as error:
                    raise StorageError(f"the copy cannot be read: {error}", delivered="no") from error
        time.sleep(PAUSE)
    if damage is not None:
        raise DamagedFileError(f"this object's file is damaged: {damage}", delivered="no")
    raise UnavailableError("this object's file changes all the time; try again")


def _figures(path: Path, most_bytes: int) -> tuple[tuple[int, ...], tuple[int, ...] | None] | None:
    """What changes whenever the file or its log does."""
    try:
        main = path.stat()
    except FileNotFoundError:
        return None
    try:
        log = Path(f"{path}-wal").stat()
    except FileNotFoundError:
        log = None
    if main.st_size + (log.st_size if log else 0) > most_bytes:
        raise StorageLimitError(
            f"a sleeping object of more than {most_bytes} bytes is not read", delivered="no"
        )
    return _figure(main), _figure(log) if log is not None and log.st_size else None


def _figure(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path, read: Callable[[Copy], T], seconds: float) -> T | None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    deadline = time.monotonic() + seconds
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()  # the log's index stays in memory

        copy = Copy(connection)
        found = copy("PRAGMA quick_check(1)")
        if found != [("ok",)]:
            raise apsw.CorruptError(str(found[0][0]) if found else "the check gave no answer")
        epoch = copy("SELECT epoch FROM _do_meta")
        return None if not epoch or epoch[0][0] == POISONED else read(copy)
    finally:
        connection.close(True)
