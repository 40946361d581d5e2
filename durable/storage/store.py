"""One object's storage, opened and claimed: the database, its transactions, and what is durable of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

from durable.errors import DamagedFileError, StorageError
from durable.identity import ObjectId

from .database import MAX_DATABASE_BYTES, POISONED, Database
from .durability import Done, SyncPool, size_of
from .failures import BusyFileError, storage_failure
from .journal import Journal
from .kv import KeyValue
from .metadata import Metadata
from .rewrite import mark_unsynced
from .schema import FORMAT, upgrade_from
from .sql import Sql
from .transactions import Transactions
from .wal import Member, WalSync

log = logging.getLogger(__name__)

CHECKPOINT_PAGES = 4000  # 16 MB of log: a checkpoint costs milliseconds, so it should be rare on a hot object


class Claim(NamedTuple):
    """What makes a worker the owner: an epoch from the lease, and the worker's incarnation."""

    epoch: int
    incarnation: str


class EpochTooOldError(StorageError):
    """The file has seen a later (or another holder's equal) epoch: claim again, above `found`."""

    def __init__(self, found: int) -> None:
        super().__init__(f"the file has already seen epoch {found}", delivered="no")
        self.found = found


class NewerSchemaError(StorageError):
    """Newer code has migrated the object; this one leaves its file as it is.

    Args:
        found: how many of the class's migrations have run.
        known: how many this code knows.
    """

    def __init__(self, class_key: str, found: int, known: int) -> None:
        super().__init__(
            f"{class_key} has {known} migrations, but this object has already seen {found}: it needs newer code",
            delivered="no",
        )
        self.found = found


def object_path(root: Path, object_id: ObjectId) -> Path:
    """Where an object's file is: one level of 256 directories under its class's key."""
    return Path(file_name(root, object_id))


def file_name(root: Path, object_id: ObjectId) -> str:
    """The same as text: asked whenever an object is opened, and a `Path` would cost more than the answer."""
    return f"{root}/{_below_root(object_id)}"


def _below_root(object_id: ObjectId) -> str:
    text = str(object_id)
    return f"{object_id.class_key}/{text[:2]}/{text}.sqlite3"


class Store:
    """The open storage of one object, held by its owner.

    Args:
        root: directory of all objects' files.
        object_id: whose storage; its name is kept in the file.
        claim: who opens it.
        class_version: how many migrations of its class the code knows; None: no matter how many have run.
        pool: where syncs run.
        changed: told on the loop when more has become durable, or the error that ended syncing.
        now: ms since the epoch.
        clock: growing seconds, for statement deadlines.
        statement_timeout: seconds.
        max_bytes: how large the database may become.
        journal: the worker's, where it keeps one.

    Attributes:
        took_over: the file was last held by another owner (or this is its first opening since that one ended).
        name: the object's name as the file knows it.
        successor: a file that takes this one's place when the store is closed.
        needed_until: when the file of a store that is closed will be needed no more (ms), where that is known.
    """

    def __init__(
        self,
        root: Path,
        object_id: ObjectId,
        claim: Claim,
        *,
        class_version: int | None = None,
        pool: SyncPool,
        changed: Done,
        now: int,
        clock: Callable[[], float],
        statement_timeout: float,
        max_bytes: int = MAX_DATABASE_BYTES,
        journal: Journal | None = None,
    ) -> None:
        self.claim = claim
        self.took_over = False
        self.database = Database(object_path(root, object_id), clock, statement_timeout, max_bytes)
        has_log = self._has_log()
        self.database.open()
        has_log = has_log or self.database.has_log  # its owner may have died only now
        try:
            seq, durable = self._take(object_id, class_version, now, pool, has_log=has_log)
            member = None
            if journal is not None:
                found = None if has_log or self.database.in_memory else seq - self.took_over
                member = Member(journal, _below_root(object_id), self.created_at, found)
            self.log = WalSync(self.database.path, pool, durable, changed, member)
            self.log.note(seq)
            self.log.frames = self.database.wal_pages
            before = seq - self.took_over
            if not self.database.in_memory and (has_log or durable < before <= 1):
                # Who made the file, or wrote to it, may have died before its first sync.
                self.log.sync_main_by(self.database.hold_main())
        except BaseException:
            self.database.close()
            raise
        self.transactions = Transactions(self.database, claim.epoch, claim.incarnation, seq, object_id.name)
        self.kv = KeyValue(self.database, self.transactions)
        self.sql = Sql(self.database, self.transactions, object_id.class_key)
        self.metadata = Metadata(self.database, self.transactions)
        self._was_in_memory = self.database.in_memory
        self.successor: Path | None = None
        self.needed_until: int | None = None

    def _take(
        self, object_id: ObjectId, class_version: int | None, now: int, pool: SyncPool, *, has_log: bool
    ) -> tuple[int, int]:
        """Write this owner's epoch into the file; returns (last commit, last commit known to be durable)."""
        database, claim = self.database, self.claim
        if database.in_memory:
            database.begin_in_memory(
                (FORMAT, object_id.class_key, str(object_id), object_id.name, *claim, now)
            )
            self.name, self.created_at = object_id.name, now
            return 0, 0
        try:
            row = database.row(
                "SELECT format, id, name, epoch, incarnation, seq, created_at, class_version FROM _do_meta WHERE one = 1"
            )
            if row is None or row[1] != str(object_id):
                raise DamagedFileError("this object's file does not name it", delivered="no")
            form, _, self.name, epoch, incarnation, seq, self.created_at, migrated = row
            try:
                upgrade = upgrade_from(form)
            except ValueError as error:
                raise StorageError(f"this object's file cannot be read: {error}", delivered="no") from None
            if epoch == POISONED:
                raise self._poisoned()
            if class_version is not None and migrated > class_version:
                raise NewerSchemaError(object_id.class_key, migrated, class_version)
            if (epoch, incarnation) == claim:
                is_synced = not has_log and (seq > 1 or pool.has_synced(database.inode))
                return seq, seq if is_synced else seq - 1
            if epoch >= claim.epoch:
                raise EpochTooOldError(epoch)
            self.took_over = True
            database.begin()
            if upgrade:
                database.run(upgrade)
            database.run("UPDATE _do_meta SET epoch = ?1, incarnation = ?2, seq = ?3", (*claim, seq + 1))
            database.run("COMMIT")
            database.ended()
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
            raise DamagedFileError(f"this object's file is damaged: {error}", delivered="no") from error
        except apsw.Error as error:
            raise storage_failure(error, database) from error
        return seq + 1, seq - 1

    def _poisoned(self) -> StorageError:
        """The file was being removed. We hold its lock, so who did that has ended; finish the work if it is left."""
        if self.database.is_at_path():
            self.database.path.unlink()
        busy = BusyFileError("this object's file is being removed", delivered="no")
        busy.retryable = True
        return busy

    def _has_log(self) -> bool:
        """Whether a log lies beside the file: its owner has died, with commits in it that nobody may have synced."""
        return bool(size_of(f"{self.database.path}-wal"))

    # -- the end of an event

    def commit(self) -> int:
        """Commit the event's writes; they are durable once `log.durable` has reached the returned number."""
        seq = self.transactions.commit()
        self.log.frames = self.database.wal_pages
        self.log.exists = self.database.new_file is None
        if self._was_in_memory:
            self._was_in_memory = False
            self.log.sync_main_by(self.database.hold_main())
        return seq

    @property
    def has_file(self) -> bool:
        """Whether the object has ever written."""
        return not self.database.in_memory

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the log has grown past its size: copy it into the main file when nobody writes."""
        return self.database.wal_pages >= CHECKPOINT_PAGES

    def checkpoint(self) -> None:
        """Copy the log into the main file (waits for the disk; run it in a thread, between events)."""
        self.database.checkpoint()

    def checkpointed(self) -> None:
        """The log has been copied; nobody has written since."""
        self.log.restarted(self.transactions.seq)

    def shrink(self) -> None:
        """Give back what is not needed while nothing happens: memory that a burst has left, a descriptor."""
        self.log.rest()
        self.database.shrink()

    def close(self, now: int = 0) -> None:
        """Close the file; an object left empty loses it. Waits for the disk. No sync may be running.

        One that has answered another object's event lately keeps it: that event may be repeated, and what the object gave
        away is then found in its answer only.

        Args:
            now: ms since the epoch.

        Raises StorageError or OSError when its successor could not take its place; then the file is closed and stays.
        """
        try:
            self.log.finish()
        except OSError as error:
            log.error("%s could not be synced: %s", self.database.path, error)
            self.abandon()
            return
        self.log.close()
        if self.successor is not None and self.has_file:
            try:
                self.database.hand_over(self.successor)
            finally:
                self.database.close()
        elif self._is_needed(now):
            self.database.close()
        else:
            self.database.remove()
        self.log.left(durable=True)

    def _is_needed(self, now: int) -> bool:
        """Whether the file has to stay, if there is one."""
        is_resting = self.database.new_file is not None
        try:
            if not self.has_file or not (is_resting or self.database.connection.get_autocommit()):
                return True
            self.needed_until = self.metadata.needed_until()
        except apsw.Error as error:
            log.error("%s cannot be read, and is kept: %s", self.database.path, error)
            return True
        return self.needed_until is None or self.needed_until > now

    def abandon(self) -> None:
        """Let go of everything after a failure, without judging what is in it.

        After a failed sync its log is left as it is: copying it into the main file would spread what nobody knows.
        """
        self.log.close()
        if self.log.failed and self.has_file:
            if self.database.new_file is None:
                self.database.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                mark_unsynced(self.database.path)
            except OSError as error:
                log.error("%s could not be marked as not synced: %s", self.database.path, error)
        try:
            self.database.close()
        finally:
            self.log.left(durable=False)
