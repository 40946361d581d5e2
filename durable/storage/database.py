"""One connection to one object's SQLite file: how it is opened, what it may do, and who is asking.

Invariants:
- One connection per file, ever: the file is locked exclusively while it is open, and never opened beside SQLite by the
  owner's process (closing such a descriptor would drop the lock).
- An object that never wrote lives in memory; its first write turns it into a file.
- Statements of the object's class are "untrusted": the authorizer refuses them the runtime's own tables and everything
  that would break the one-transaction-per-event rule. Statements of the runtime run inside `trusted()`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from durable.errors import FencedError, StorageError, StorageLimitError

from .authorizer import authorize
from .schema import SCHEMA

CACHE_KIB = 512
PROGRESS_STEPS = 20_000  # virtual machine steps between two looks at the clock: well under a millisecond
POISONED = 2**62
"""The epoch in a file that is being removed: no claim is above it."""
MAX_VALUE_BYTES = 4 * 1024 * 1024
MAX_DATABASE_BYTES = 1024 * 1024 * 1024
PAGE_BYTES = 4096
FULL_DISK_BYTES = (
    32 * 1024 * 1024
)  # with less room than this, a database that cannot grow is the disk's fault

_OPEN_FILE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW
_template: list[bytes] = []


def template() -> bytes:
    """The bytes of a database that holds the runtime's tables and nothing else."""
    if not _template:
        with apsw.Connection(":memory:") as connection:
            connection.execute(SCHEMA)
            _template.append(connection.serialize("main"))
    return _template[0]


class Database:
    """The open database of one object.

    Args:
        path: where its file is, or would be.
        clock: seconds, growing; bounds how long a statement may run.
        statement_timeout: seconds.
        max_bytes: how large the database may become, without its log.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        statement_timeout: float,
        max_bytes: int = MAX_DATABASE_BYTES,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._statement_timeout = statement_timeout
        self._deadline = float("inf")
        self._trusted = False
        self.in_memory = False
        self.created_fd: int | None = (
            None  # of a file we made: closing it would drop SQLite's lock, so it stays open
        )
        self.wal_pages = 0  # pages in the log after the last commit
        self._inode = 0
        self.connection: apsw.Connection
        self.cursor: apsw.Cursor

    def open(self) -> None:
        """Open the file, or an empty database in memory where there is none. Raises StorageError."""
        try:
            found = self.path.stat()
            self._inode = found.st_ino
        except FileNotFoundError:
            found = None
        if found is not None and found.st_size > 0:
            self._open_file()
        else:
            connection = apsw.Connection(":memory:")
            connection.deserialize("main", template())
            self._adopt(connection)
            self.in_memory = True

    def _adopt(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.authorizer = self._authorize
        connection.set_progress_handler(self._overdue, PROGRESS_STEPS)
        connection.set_wal_hook(self._logged)  # also switches SQLite's own checkpoints off

    def _open_file(self) -> None:
        connection: apsw.Connection | None = None
        try:
            connection = apsw.Connection(str(self.path), flags=_OPEN_FILE)
            self._adopt(connection)
            self.in_memory = False
            with self.trusted():
                # EXCLUSIVE before the first access: the WAL index then lives in memory and there is no -shm file.
                # The immediate transaction takes the lock now, so that a live owner elsewhere is noticed here.
                self.cursor.execute(
                    f"PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{CACHE_KIB};"
                    "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=1048576; BEGIN IMMEDIATE; ROLLBACK;"
                    f"PRAGMA max_page_count={max(1, self._max_bytes // PAGE_BYTES)}"
                ).fetchall()
        except apsw.Error as error:
            if connection is not None:
                with suppress(apsw.Error):
                    connection.close(True)
            raise open_error(error) from error

    def materialise(self) -> None:
        """Turn the database in memory into a file (not yet synced) and go on there.

        Raises FencedError when somebody else has made the file meanwhile, and StorageError when it cannot be made or opened;
        the database is then in memory as before.
        """
        memory = self.connection
        with self.trusted():
            image = bytearray(memory.serialize("main"))
        image[18] = image[19] = 2  # "write-ahead log" in SQLite's header: the file opens in WAL mode at once
        try:
            created = self._create(image)
        except OSError as error:
            raise StorageError(f"this object's file could not be made: {error.strerror}") from error
        with suppress(FileNotFoundError):
            Path(f"{self.path}-wal").unlink()  # of a deleted predecessor; nobody has opened our file yet
        try:
            self._open_file()
        except StorageError:
            # The file is ours and stays: whoever opens it next finds it empty, and it should be whole by then.
            with suppress(OSError):
                os.fsync(created)
            os.close(created)
            self._adopt(memory)
            self.in_memory = True
            raise
        self.created_fd = created
        memory.close(True)

    def _create(self, image: bytearray) -> int:
        """Make the file in one step; its descriptor. Raises OSError, or FencedError when there is one."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.{id(self)}")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(image)
            while view:
                view = view[os.write(descriptor, view) :]
            os.link(draft, self.path)  # unlike rename, it never replaces another owner's file
        except FileExistsError:
            os.close(descriptor)
            raise FencedError("another owner has created this object's storage") from None
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            draft.unlink()
        return descriptor

    def close(self) -> None:
        """Checkpoint everything into the main file, truncate the log, and let go of the file."""
        try:
            self.connection.close(True)
        finally:
            if self.created_fd is not None:
                os.close(self.created_fd)
                self.created_fd = None

    def remove(self) -> None:
        """Delete the file while its lock is held, so that no other owner can be writing to it.

        The epoch is poisoned first: who has opened the file meanwhile, and gets the lock when we close, then sees that
        it is gone. The log is given up before, since closing deletes it by name, and the name may be another's by then.
        """
        with self.trusted():
            self.cursor.execute(
                f"UPDATE _do_meta SET epoch = {POISONED}; PRAGMA journal_mode=DELETE"
            ).fetchall()
        self.path.unlink(missing_ok=True)
        self.close()

    def is_at_path(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def checkpoint(self) -> None:
        """Copy the log into the main file. Waits for the disk; nothing else may use the connection meanwhile."""
        self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        self.wal_pages = 0

    def _logged(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    # -- who is asking

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Within this block the authorizer lets everything pass and no deadline runs."""
        before, deadline = self._trusted, self._deadline
        self._trusted, self._deadline = True, float("inf")
        try:
            yield
        finally:
            self._trusted, self._deadline = before, deadline

    def run(self, sql: str, bindings: tuple[Any, ...] = ()) -> None:
        """Run a statement of the runtime."""
        self._trusted = True
        try:
            self.cursor.execute(sql, bindings)
        finally:
            self._trusted = False

    def row(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The only row of a query of the runtime, or None."""
        found = self.rows(sql, bindings)
        return found[0] if found else None

    def rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query of the runtime."""
        self._trusted = True
        try:
            return self.cursor.execute(sql, bindings).fetchall()
        finally:
            self._trusted = False

    def _authorize(
        self, action: int, first: str | None, second: str | None, _db: str | None, inner: str | None
    ) -> int:
        if self._trusted:
            return apsw.SQLITE_OK
        return authorize(action, first, second, inner)

    def start_deadline(self) -> None:
        """From now on a statement of the class may run for `statement_timeout` seconds."""
        self._deadline = self._clock() + self._statement_timeout

    def _overdue(self) -> bool:
        return not self._trusted and self._clock() > self._deadline

    # -- figures

    @property
    def size(self) -> int:
        """Bytes of the database, without its log."""
        pages = self.row("PRAGMA page_count")[0]
        return int(pages) * PAGE_BYTES

    def full(self) -> StorageError:
        """What it means that SQLite calls the database full: its limit, or the disk's end."""
        room = os.statvfs(self.path.parent)
        if room.f_bavail * room.f_frsize < FULL_DISK_BYTES:
            return StorageError("the disk is full; nothing of this event was stored")
        limit = int(self.row("PRAGMA max_page_count")[0]) * PAGE_BYTES
        return StorageLimitError(
            f"this object's database is full: it may have {limit} bytes; nothing of this event was stored"
        )


def open_error(error: apsw.Error) -> StorageError:
    """What it means that a file could not be opened."""
    if isinstance(error, apsw.BusyError):
        busy = BusyFileError("another process still holds this object's file", delivered="no")
        busy.retryable = True
        return busy
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return DamagedFileError(f"this object's file is damaged: {error}", delivered="no")
    return StorageError(f"this object's file could not be opened: {error}", delivered="no")


class BusyFileError(StorageError):
    """Another process still holds the file: its owner lives, or is stopped in the middle of a transaction."""


class DamagedFileError(StorageError):
    """The file is not a whole database any more."""
