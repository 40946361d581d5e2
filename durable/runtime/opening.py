"""How a worker comes to an object's storage: it claims the object, waits for who still holds the file, and opens it; and leaves it.

What fell asleep here a moment ago is opened while the claim is on its way: it can be nobody else's yet, and if it is after all,
the file says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import apsw

from durable.errors import DurableError, UnavailableError
from durable.identity import ObjectId
from durable.storage.durability import SyncPool, size_of
from durable.storage.failures import BusyFileError, storage_failure
from durable.storage.journal import Journal
from durable.storage.rewrite import is_marked
from durable.storage.store import Claim, EpochTooOldError, NewerSchemaError, Store, file_name

from .leaving import Leave
from .surroundings import CatalogEntry, NotOwnerError, Owners, RuntimeSettings
from .troubles import TroubleKind, describe, trouble_of

if TYPE_CHECKING:
    from .activation import Activation

log = logging.getLogger(__name__)

AT_ONCE = 64
BUSY_SECONDS = 15.0  # how long to wait for a dead owner's file lock
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1  # seconds between two tries
TELL_SECONDS = 1.0  # between two notices to who still holds the file: a restarting Redis may lose one
LARGE_LOG_BYTES = 1 << 20  # a log above this is recovered off the loop


class Opener:
    """Opens the objects of one worker, and closes them.

    Args:
        settings: limits of a database and its statements.
        root: directory of the objects' files.
        worker: this incarnation's id.
        owners: decides who should own an object.
        pool: where syncs run.
        journal: what many objects are synced by at once, if anything.
        clock: growing seconds.
        now: ms since the epoch.
        open_store: opens an object's storage; given what `Store` is given.
        off_loop: runs something that waits for the disk in a thread.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        root: Path,
        worker: str,
        owners: Owners,
        pool: SyncPool,
        journal: Journal | None,
        clock: Callable[[], float],
        now: Callable[[], int],
        open_store: Callable[..., Store],
        off_loop: Callable[[Callable[[], Any]], asyncio.Future[Any]],
    ) -> None:
        self._settings = settings
        self._root = root
        self._worker = worker
        self._owners = owners
        self._pool = pool
        self._journal = journal
        self._clock = clock
        self._now = now
        self._open_store = open_store
        self._off_loop = off_loop
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def open(self, activation: Activation) -> Store:
        """The storage of an activation's object, claimed and open.

        Raises NotOwnerError, UnavailableError when the file is not let go of in time, StorageError.
        """
        async with self._turns:
            return await self._reopen(activation) or await self._claim_and_open(activation)

    async def _reopen(self, activation: Activation) -> Store | None:
        """The storage of an object that rests here; None when it has to be claimed first."""
        epoch = self._owners.resting(activation.object_id)
        if epoch is None:
            return None
        try:
            store = await self._open(activation, Claim(epoch, self._worker))
        except (EpochTooOldError, BusyFileError, NewerSchemaError):  # somebody has been at it
            return None
        activation.claiming = asyncio.get_running_loop().create_task(self._claim_again(activation, epoch))
        return store

    async def _claim_again(self, activation: Activation, epoch: int) -> None:
        """The object is awake, so its ownership must not lapse; let go of it where it has become somebody else's."""
        try:
            found = await self._owners.claim(activation.object_id, 0)
        except (NotOwnerError, DurableError, OSError) as error:
            log.warning("%s: it is given away, since it could not be claimed: %s", activation, error)
            activation.leave(Leave.MOVE)
        else:
            if found != epoch:
                activation.leave(Leave.MOVE)

    async def _claim_and_open(self, activation: Activation) -> Store:
        object_id = activation.object_id
        epoch = await self._owners.claim(object_id, 0)
        begun, told = self._clock(), 0
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._open(activation, Claim(epoch, self._worker))
            except EpochTooOldError as error:
                epoch = await self._owners.claim(object_id, error.found)
            except NewerSchemaError as error:
                await self._pass_on(object_id, error)
            except BusyFileError as error:
                waited = self._clock() - begun
                if waited > BUSY_SECONDS:
                    raise UnavailableError(error.message) from error
                if waited >= told * TELL_SECONDS:
                    if told:  # it may be another's by now
                        epoch = await self._owners.claim(object_id, 0)
                    told += 1
                    await self._owners.tell_taken(object_id, epoch)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def close(self, activation: Activation, store: Store, why: Leave) -> CatalogEntry | None:
        """Close an activation's file; what the catalog should say of it, None when that is not known.

        A file that cannot be read is closed like any other: whoever opens it next sees what is wrong with it.
        """
        entry = None
        # Who replaces the file tells the catalog and the alarm index what is in the other one.
        if store.has_file and store.successor is None and why is not Leave.LOST:
            try:
                entry = activation.entry()
            except apsw.Error as error:
                problem = storage_failure(error, store.database)
                log.error("%s: its file cannot be read: %s", activation, problem)
                activation.report(trouble_of(problem) or TroubleKind.DISK, describe(problem))
        await self._off_loop(store.abandon if why is Leave.LOST else lambda: store.close(self._now()))
        return None if entry is None else entry._replace(gone=not store.database.path.exists())

    async def give_back(self, activation: Activation, why: Leave, *, has_file: bool) -> None:
        """The file is closed: let the ownership rest, or go."""
        object_id, claiming = activation.object_id, activation.claiming
        if claiming is not None:
            if why is Leave.LOST:
                claiming.cancel()
            await asyncio.wait({claiming})  # coming later, it would undo what is said of the ownership now
        try:
            if why is Leave.MOVE:
                await self._owners.release(object_id)
            elif why is Leave.IDLE:
                await self._owners.rest(object_id, activation.epoch if has_file else None)
        except (DurableError, OSError) as error:
            log.warning("%s: its ownership could not be given back: %s", activation, error)

    async def _pass_on(self, object_id: ObjectId, error: NewerSchemaError) -> NoReturn:
        """This code is too old for the object: name a worker that can own it, or say that there is none."""
        await self._owners.release(object_id)
        able = await self._owners.able(object_id, error.found)
        if able is None:
            raise error
        raise NotOwnerError(able) from None

    async def _open(self, activation: Activation, claim: Claim) -> Store:
        def open_store() -> Store:
            return self._open_store(
                self._root,
                activation.object_id,
                claim,
                class_version=len(activation.kind.migrations),
                pool=self._pool,
                changed=activation.synced,
                now=self._now(),
                clock=self._clock,
                statement_timeout=self._settings.statement_timeout,
                max_bytes=self._settings.max_database_bytes,
                journal=self._journal,
            )

        if not self._takes_long(file_name(self._root, activation.object_id)):
            return open_store()
        opening = self._off_loop(open_store)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_abandon)
            raise

    def _takes_long(self, path: str) -> bool:
        """Whether opening recovers a large log, or has to write the file anew."""
        return (size_of(f"{path}-wal") or 0) > LARGE_LOG_BYTES or is_marked(path)


def _abandon(opening: asyncio.Future[Store]) -> None:
    """Nobody waits any more for the storage that a thread has opened."""
    if not opening.cancelled() and opening.exception() is None:
        # The worker's own threads may have ended.
        _ = opening.get_loop().run_in_executor(None, opening.result().abandon)
