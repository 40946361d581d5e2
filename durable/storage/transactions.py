"""What an event writes is undone or committed as one: begun at its first write, fenced and numbered by the commit.

Events that follow one another without a wait may share a transaction. What each of them writes is then a savepoint in it, so
that one that fails takes nothing back but its own.

Invariant: a commit happens only if the file still names this owner's epoch and incarnation, compared in the same
transaction as the data. Nothing else in the runtime may write to the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from durable.errors import FencedError, SqlError, StorageError, StorageOutsideEventError

from .database import Database
from .failures import storage_failure

_SEAL = "UPDATE _do_meta SET seq = ?1, name = coalesce(name, ?4) WHERE epoch = ?2 AND incarnation = ?3"
_COMMIT = "COMMIT"
_ROLLBACK = "ROLLBACK"
_SHARE = "SAVEPOINT _do_event"
_KEEP = "RELEASE _do_event"
_UNDO = "ROLLBACK TO _do_event"
_DEFER_NO_MORE = "PRAGMA defer_foreign_keys=OFF"


class Transactions:
    """The transaction state of one object's database.

    Attributes:
        seq: number of the last commit; grows by one with each.
        name: of the object, where it is known: a file that was begun without it is told.
        writing: whether the current event has written.
        holding: whether events before it have written what is not committed yet.
        undone: how often something that was written has been taken back.
    """

    def __init__(
        self, database: Database, epoch: int, incarnation: str, seq: int, name: str | None = None
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._incarnation = incarnation
        self.seq = seq
        self.name = name
        self.writing = False
        self.holding = False
        self.undone = 0
        self._is_ending = False  # a commit has begun: what it fails with is all events' failure
        self.doomed: Exception | None = None  # why this event can only be rolled back
        self._defers = False  # until its end it need not keep to foreign keys
        self._parts: list[str] = []  # savepoints that the event has begun and not ended, outermost first

    @property
    def is_blank(self) -> bool:
        """Whether the object has never written anything, so that nobody need ask what it has stored."""
        return self._database.in_memory and not (self.writing or self.holding)

    @property
    def _is_nested(self) -> bool:
        """Whether what the event writes is a savepoint in a transaction that has begun before it."""
        return self.holding or self._database.in_memory

    @property
    def in_part(self) -> bool:
        """Whether a part of the event is under way that may be undone by itself."""
        return bool(self._parts)

    def begin_write(self) -> None:
        """Make sure that a write transaction is open. Called before every write."""
        if self.writing:
            if self.doomed is not None:
                raise self.doomed
            return
        self._database.go_on_in_file()
        self._check_held()
        try:
            if self._is_nested:
                self._database.run(_SHARE)
            else:
                self._database.begin()
        except apsw.Error as error:
            raise storage_failure(error, self._database) from error
        self.writing = True

    def write(self, sql: str, bindings: tuple[Any, ...] = ()) -> None:
        """Run a writing statement of the runtime's as part of the event. Raises StorageError."""
        self.begin_write()
        try:
            self._database.run(sql, bindings)
        except apsw.Error as error:
            failure = storage_failure(error, self._database)
            if self.lost():  # going on would write outside any transaction
                self.doom(failure)
            raise failure from error

    def may_defer_foreign_keys(self) -> None:
        """The event lets foreign keys hold at its end only; for the next one they hold at once again."""
        self.begin_write()
        self._defers = True

    def _defer_no_more(self) -> None:
        if self._defers:
            self._defers = False
            self._database.run(_DEFER_NO_MORE)  # a commit would do it, but others may share that

    def read(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query of the runtime's. Raises StorageError."""
        try:
            return self._database.rows(sql, bindings)
        except apsw.Error as error:
            raise storage_failure(error, self._database) from error

    def hold(self) -> None:
        """The event is over: keep what it wrote, for a commit with what others write. Raises StorageError."""
        self._check_whole()
        if self.writing and self._is_nested:
            try:
                self._database.run(_KEEP)
            except apsw.Error as error:
                raise storage_failure(error, self._database) from error
        self._defer_no_more()
        self.holding = self.holding or self.writing
        self.writing = False

    def commit(self) -> int:
        """Commit what the event wrote, and what was held (not yet synced); returns the commit's number. Raises FencedError."""
        self._check_whole()
        self._is_ending = True
        self._check_held()
        database, seq = self._database, self.seq + 1
        try:
            database.run(_SEAL, (seq, self._epoch, self._incarnation, self.name))
            if database.connection.changes() != 1:
                raise FencedError("another owner has taken this object")
            if database.in_memory:
                database.make_file()
            else:
                database.run(_COMMIT)
                database.ended()
        except apsw.Error as error:
            raise storage_failure(error, database) from error
        self.writing = self.holding = self._is_ending = self._defers = False
        self.seq = seq
        return seq

    def rollback(self) -> bool:
        """Forget what the event wrote; whether what was held is lost with it."""
        self.doomed = None
        self._parts = []
        database = self._database
        # By SQLite itself; in memory also that of an event which only reads.
        ended = (
            self.writing or self._is_ending or database.in_memory
        ) and database.connection.get_autocommit()
        if not self.writing and not self._is_ending and not ended:
            return False
        self.undone += 1
        if self._is_nested and not self._is_ending and not ended:
            self.writing = False
            database.run(_UNDO)
            database.run(_KEEP)
            self._defer_no_more()
            return False
        lost, self.holding = self.holding, False
        self.writing = self._is_ending = self._defers = False
        if not ended:
            database.run(_ROLLBACK)
        database.ended()
        if database.in_memory:
            database.begin_anew()
        return lost

    def _check_held(self) -> None:
        """Raise StorageError when SQLite has ended the transaction of what was before: going on would begin another one."""
        if self._is_nested and self._database.connection.get_autocommit():
            raise StorageError("the disk failed in the middle of a transaction", delivered="no")

    def _check_whole(self) -> None:
        """Raise what the event can only fail with, if anything, before a part of it is committed."""
        if self.doomed is not None:
            raise self.doomed
        if self._parts:
            raise RuntimeError(
                "flush, a call to another object, or the end of the event inside transaction(): leave the block first"
            )
        # The commit would say so too, but it may be that of others.
        if self.writing and self._database.connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise SqlError("FOREIGN KEY constraint failed", apsw.SQLITE_CONSTRAINT_FOREIGNKEY)

    def lost(self) -> bool:
        """Whether SQLite ended the transaction by itself (full disk, interrupted write): the event must fail."""
        return self.writing and self._database.connection.get_autocommit()

    def doom(self, reason: Exception) -> None:
        """From now on this event can only fail: its transaction is not whole any more."""
        if self.writing:
            self.doomed = reason

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the event that is undone as one when an exception leaves it. Nests."""
        self.begin_write()
        parts = self._parts
        name = f"_do_{len(parts) + 1}"
        self._database.run(f"SAVEPOINT {name}")
        parts.append(name)
        try:
            yield
        except BaseException:
            self.undone += 1
            if self._end_part(parts, name) and not self.lost():
                self._database.run(f"ROLLBACK TO {name}")
                self._database.run(f"RELEASE {name}")
            raise
        if not self._end_part(parts, name):
            raise self.doomed or outside_event()
        self._database.run(f"RELEASE {name}")

    def _end_part(self, parts: list[str], name: str) -> bool:
        """Whether the savepoint can be ended: its event goes on, and nobody has begun another in it that goes on too."""
        if parts is not self._parts:  # in a task that was left behind
            return False
        if parts[-1] == name:
            parts.pop()
        elif self.doomed is None:
            self.doom(RuntimeError("transaction() blocks of tasks that run side by side overlap"))
        return self.doomed is None


def outside_event() -> StorageOutsideEventError:
    """The error for storage used where no event would make it atomic."""
    return StorageOutsideEventError(
        "storage can be used inside an event only: in a method, a hook or an alarm, not in __init__, in a task left "
        "behind, or in a @concurrent method (there: await self.ctx.run(function))"
    )
