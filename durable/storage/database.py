"""One connection to one object's SQLite file: how it is opened, what it may do, and who is asking.

Invariants:
- One connection per file, ever: the file is locked exclusively while it is open, and never opened beside SQLite by the
  owner's process (closing such a descriptor would drop the lock).
- An object that never wrote lives in memory, in one transaction (see `blanks`). Its first commit makes a file of what is there, which
  is opened when something is asked of it again: what is written once costs neither log nor connection.
- The log stays beside the file when it is closed, emptied: making and deleting it would cost more than all else that
  opening does. So a log that is there says nothing; one that is not empty does.
- Statements of the object's class are "untrusted": the authorizer refuses them the runtime's own tables and everything
  that would break the one-transaction-per-event rule. Statements of the runtime run inside `guard.trusted()`.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from durable.errors import FencedError, StorageError

from . import blanks
from .durability import remove_empty, size_of, sync_directory, sync_file
from .failures import busy, disk_failure, open_failure
from .guard import Guard, set_up
from .new_file import NewFile
from .rewrite import copy_whole, is_marked, replace_marked
from .schema import ASKED_OF_ALL

CACHE_KIB = 512
SMALL_CACHE_BYTES = 64 * 1024  # a cache up to this is not worth giving back
POISONED = 2**62
"""The epoch in a file that is being removed: no claim is above it."""
MAX_DATABASE_BYTES = 1024 * 1024 * 1024
PAGE_BYTES = 4096
LOG_BYTES = 64 * 1024 * 1024
"""What a log keeps of its size when it begins anew: a sync of pages that had their place before costs half of one that makes place."""

_IDENTITY = (
    "INSERT INTO _do_meta (one, format, class_key, id, name, epoch, incarnation, seq, created_at) "
    "VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)"
)
_OPEN_FILE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW


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
        self._max_pages = max(1, max_bytes // PAGE_BYTES)
        self.guard = Guard(clock, statement_timeout)
        self.in_memory = False  # there is no file
        self.new_file: NewFile | None = None  # made by the last commit, and not opened yet
        # To sync the main file by. Closing it would drop SQLite's lock, so it stays open until SQLite has closed its own.
        self.main_fd: int | None = None
        self.wal_pages = 0  # pages in the log after the last commit
        self._log_is_empty = False  # nothing of an earlier time is in the log's file, nor anything of ours
        self.inode = 0
        self._known: dict[str, list[Any]] = {}  # what a new file answers though it is not open
        self._identity: tuple[Any, ...] = ()
        self._blank: blanks.Blank | None = None  # in memory
        self._connection: apsw.Connection | None = None
        self._cursor: apsw.Cursor | None = None

    def open(self) -> None:
        """Open the file, or an empty database in memory where there is none. Raises StorageError."""
        size = size_of(str(self.path))
        if size == 0:
            remove_empty(self.path)
        if size:
            if is_marked(self.path):
                self._rewrite()
            self._open_file()
        else:
            blank = self._blank = blanks.borrow(self.guard)
            self._connection, self._cursor = blank.connection, blank.cursor
            self.in_memory = True
            if blank.max_pages != self._max_pages:
                blank.max_pages = self._max_pages
                with self.guard.trusted():
                    blank.cursor.execute(self._bound, can_cache=False).fetchall()

    @property
    def has_log(self) -> bool:
        """Whether the log that lies beside the file has something in it."""
        return not self.in_memory and not self._log_is_empty

    @property
    def connection(self) -> apsw.Connection:
        """What statements run in. A new file is opened for it; see `go_on_in_file` for what that raises."""
        if self._connection is None:
            self.go_on_in_file()
        if self._connection is None:
            raise apsw.ConnectionClosedError("the database is closed")
        return self._connection

    @property
    def cursor(self) -> apsw.Cursor:
        """For the runtime's statements, one after another. Raises what `connection` does."""
        if self._cursor is None:
            self._cursor = self.connection.cursor()
        return self._cursor

    @property
    def _bound(self) -> str:
        return f"PRAGMA max_page_count={self._max_pages}"

    def _open_file(self) -> None:
        connection: apsw.Connection | None = None
        try:
            self.inode = self.path.stat().st_ino
            connection = apsw.Connection(str(self.path), flags=_OPEN_FILE)
            set_up(connection, self.guard)
            connection.set_wal_hook(self._logged)  # also switches SQLite's own checkpoints off
            self._connection, self._cursor = connection, None
            self._keep_log(True)
            with self.guard.trusted():
                # EXCLUSIVE before the first access: the WAL index then lives in memory and there is no -shm file.
                # The immediate transaction takes the lock now, so that a live owner elsewhere is noticed here.
                self.cursor.execute(
                    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=NORMAL;"
                    f"PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit={LOG_BYTES}; BEGIN IMMEDIATE; ROLLBACK;"
                    + self._bound,
                    can_cache=False,
                ).fetchall()
                self._empty_cache()
            self._log_is_empty = Path(f"{self.path}-wal").stat().st_size == 0  # one that is gone was replaced
        except apsw.Error as error:
            if connection is not None:
                with suppress(apsw.Error):
                    self._close_connection(connection)
            raise open_failure(error) from error
        except FileNotFoundError:
            raise busy("this object's file has just been replaced") from None
        if not self.is_at_path():  # replaced by its holder, who has let go of it only now
            self._close_connection(connection)
            raise busy("this object's file has just been replaced")

    def _close_connection(self, connection: apsw.Connection) -> None:
        self._connection = self._cursor = None
        connection.close(True)

    def _rewrite(self) -> None:
        """Replace the file, which the disk has refused to sync, by a new one with its content. Raises StorageError."""
        self._open_file()
        try:
            # Its log must not be removed by name when it is closed: by then the name may be another's.
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if is_marked(self.path):
                replace_marked(self.path, lambda draft: copy_whole(self.connection, draft))
        except (apsw.Error, OSError) as error:
            failure = StorageError(f"the disk refuses to keep this object: {error}", delivered="no")
            failure.retryable = True
            raise failure from error
        finally:
            self._close_connection(self.connection)

    def _keep_log(self, keep: bool) -> None:
        """Whether closing leaves the emptied log where it is, or deletes it."""
        wanted = ctypes.c_int(keep)
        self.connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(wanted))

    def _empty_cache(self) -> None:
        """Give back the page cache, and keep SQLite from taking more than it needs for the next one.

        The first page of an empty cache would bring memory for 20, unless the cache may have one or two only.
        """
        self.cursor.execute("PRAGMA cache_size=1", can_cache=False).fetchall()
        self.connection.release_memory()
        again = f"SELECT 1 FROM _do_meta; PRAGMA cache_size=-{CACHE_KIB}"
        self.cursor.execute(again, can_cache=False).fetchall()

    def shrink(self) -> None:
        """Give back memory that is not worth keeping while nobody asks for anything. Between events only."""
        if self.in_memory or self.new_file is not None:
            return
        used, _ = self.connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
        if used > SMALL_CACHE_BYTES:
            with self.guard.trusted():
                self._empty_cache()

    # -- in memory

    def begin_in_memory(self, identity: tuple[Any, ...]) -> None:
        """Begin the transaction in which the object lives until it has a file; the values are those of `_IDENTITY`."""
        self._identity = identity
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin that transaction again, after its end: nothing of it is left."""
        self.run("BEGIN IMMEDIATE")
        self.run(_IDENTITY, self._identity)

    def make_file(self) -> None:
        """Commit the first transaction that writes, by making the file: it holds what is in memory, and is not synced.

        It is opened when something is asked of it (see `go_on_in_file`). No statement may be under way.

        Raises FencedError when somebody else has made the file meanwhile, and StorageError when it cannot be made; then
        nothing is committed.
        """
        self.run("SAVEPOINT _do_whole")  # has full-text indexes write what they hold back until a commit
        self._known = {question: self.rows(question) for question in ASKED_OF_ALL}
        with self.guard.trusted():
            image = self.connection.serialize("main")
        try:
            self.new_file = NewFile(self.path, image)
        except FileExistsError:
            raise FencedError("another owner has created this object's storage") from None
        except OSError as error:
            raise disk_failure(error) from error
        self.main_fd, self.inode = self.new_file.descriptor, self.new_file.inode
        self._leave_memory()
        self.in_memory = False

    def _leave_memory(self) -> None:
        if self._blank is not None:
            with self.guard.trusted():
                blanks.give_back(self._blank)
            self._blank = self._connection = self._cursor = None

    def go_on_in_file(self) -> None:
        """Let SQLite open the new file, if it has not yet.

        Raises FencedError when somebody else has taken the file meanwhile, and StorageError when it cannot be opened; then
        everything is as before.
        """
        if self.new_file is None:
            return
        self.new_file.unlock()
        try:
            self._open_file()
        except StorageError as error:
            if not self.new_file.lock_again():
                raise FencedError("another owner has taken this object's file") from error
            raise
        self.new_file = None

    def close(self) -> None:
        """Checkpoint everything into the main file, empty the log, and let go of the file."""
        try:
            self._leave_memory()
            if self._connection is not None:
                self._connection.close(True)
        finally:
            if self.main_fd is not None:
                os.close(self.main_fd)
                self.main_fd = None

    def remove(self) -> None:
        """Delete the file while its lock is held, so that no other owner can be writing to it.

        The epoch is poisoned first: who has opened the file meanwhile, and gets the lock when we close, then sees that
        it is gone. The log is given up before, since closing deletes it by name, and the name may be another's by then.
        """
        try:
            self.go_on_in_file()
            self._keep_log(False)
            with self.guard.trusted():
                self.cursor.execute(
                    f"UPDATE _do_meta SET epoch = {POISONED}; PRAGMA journal_mode=DELETE"
                ).fetchall()
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def hold_main(self) -> int:
        """A descriptor to sync the main file by, kept until `close`. Raises OSError."""
        if self.main_fd is None:
            self.main_fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self.main_fd

    def hand_over(self, successor: Path) -> None:
        """Put another file in the place of this one, which is kept beside it as `….replaced-<ms>`; close this then.

        The path leads to one of the two whole files at every instant. Our lock keeps everybody from writing to this one;
        who opens it only now finds, once the lock is free, that it is not at its path (see `open`). The log is emptied
        before, since by its name it is the successor's then: SQLite does not touch it when it closes a file that is no
        longer at its path. Raises StorageError, OSError.
        """
        self.go_on_in_file()
        try:
            with self.guard.trusted():
                self.cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except apsw.Error as error:
            raise StorageError(f"the log could not be emptied: {error}", delivered="no") from error
        if Path(f"{self.path}-wal").stat().st_size:
            raise StorageError("the log could not be emptied", delivered="no")
        sync_file(Path(f"{self.path}-wal"))  # or a power cut could give its old frames to the successor
        os.link(self.path, f"{self.path}.replaced-{time.time_ns() // 1_000_000}")
        successor.rename(self.path)
        sync_directory(self.path.parent)

    def is_at_path(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return self.path.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def checkpoint(self) -> None:
        """Copy the log into the main file. Waits for the disk; nothing else may use the connection meanwhile."""
        self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        self.wal_pages = 0

    def _logged(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    # -- transactions

    def begin(self) -> None:
        """Begin a write transaction.

        A log begins with a header, which SQLite syncs on the spot, while everybody waits: a header that reached the disk after
        its frames could let frames of the log's earlier use count again. In an empty file there are none, so there the
        header may wait for the sync of its frames.
        """
        if self._log_is_empty:
            self._synchronous("OFF")
        self.run("BEGIN IMMEDIATE")

    def ended(self) -> None:
        """The write transaction has ended: from now on SQLite syncs what it has to, checkpoints above all."""
        if self._log_is_empty:
            self._log_is_empty = False
            self._synchronous("NORMAL")

    def _synchronous(self, level: str) -> None:
        with self.guard.trusted():
            self.cursor.execute(f"PRAGMA synchronous={level}", can_cache=False).fetchall()

    # -- statements of the runtime

    def run(self, sql: str, bindings: tuple[Any, ...] = ()) -> None:
        """Run a statement of the runtime."""
        guard = self.guard
        guard.trusts = True
        try:
            (self._cursor or self.cursor).execute(sql, bindings)
        finally:
            guard.trusts = False

    def row(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The only row of a query of the runtime, or None."""
        found = self.rows(sql, bindings)
        return found[0] if found else None

    def rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query of the runtime."""
        if self.new_file is not None and sql in self._known:
            return self._known[sql]
        guard = self.guard
        guard.trusts = True
        try:
            return (self._cursor or self.cursor).execute(sql, bindings).fetchall()
        finally:
            guard.trusts = False

    # -- figures

    @property
    def size(self) -> int:
        """Bytes of the database, without its log."""
        if self.new_file is not None:
            return self.new_file.size
        return int(self.row("PRAGMA page_count")[0]) * PAGE_BYTES

    @property
    def most_bytes(self) -> int:
        """How large the database may become."""
        if self.new_file is not None:
            return self._max_pages * PAGE_BYTES
        return int(self.row("PRAGMA max_page_count")[0]) * PAGE_BYTES
