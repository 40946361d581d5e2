"""How an object is looked at: its owner answers beside its queue, and of a sleeping object a copy of its file is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from durable.client import ClusterClient
from durable.cluster.commands import NotActiveError
from durable.cluster.redis import WorkerSession
from durable.conf import DurableSettings
from durable.core import codec
from durable.core.envelope import Target
from durable.errors import UnavailableError, error_from_wire
from durable.identity import ObjectId
from durable.runtime.exports import MOST_SECONDS
from durable.storage.database import MAX_DATABASE_BYTES
from durable.storage.durability import sync_log
from durable.storage.store import object_path

from .copies import Bounds, Copy, read_copy
from .wholes import AbsentObjectError, draft_in, saving

ASK_SECONDS = 2.0
OTHERS_SECONDS = 0.5  # how long a worker that is not the owner by Redis is waited for
COPY_SECONDS = MOST_SECONDS + 5.0  # a little more than its owner takes for a copy
MOST_FILE_BYTES = 2 * MAX_DATABASE_BYTES  # of a sleeping object with its log
LOOKS = 4

T = TypeVar("T")


class Asked(NamedTuple):
    """An active object's owner, and its answer; without one, the owner is silent."""

    owner: WorkerSession
    answer: Any
    is_silent: bool = False


class Seen(NamedTuple):
    """An answer of the owner, if there is one, and what was read from a copy of the file, if it was."""

    asked: Asked | None
    copied: Any


class Looker:
    """Looks at objects without waking them or waiting for their queue.

    Args:
        client: the way to the cluster; all methods must run on its loop.
        conf: the settings.
    """

    def __init__(self, client: ClusterClient, conf: DurableSettings) -> None:
        self.conf = conf
        self._client = client
        self._root = conf.data_dir / "objects"
        self._exports = conf.data_dir / "exports"
        self._whole = Bounds(MOST_FILE_BYTES, COPY_SECONDS, self._exports)

    @asynccontextmanager
    async def image(self, object_id: ObjectId, *, backup: bool = False) -> AsyncIterator[Path]:
        """A plain SQLite file with what the object stores and cannot lose any more; gone after the block.

        Of a `backup` the object's next write is noted as a change that no backup has. This is not recorded: what is done with
        the file is for the caller to record. Raises AbsentObjectError.
        """
        if backup:
            await (
                self._client.directory.refresh()
            )  # an owner that has just died must not count as a silent one
        with draft_in(self._exports) as draft:
            verb = "backup" if backup else "export"
            asked, copied = await self._look(object_id, verb, saving(draft), COPY_SECONDS, self._whole)
            if asked is not None and asked.is_silent and backup:
                raise UnavailableError(f"worker {asked.owner.worker} owns the object and does not answer")
            if asked is None:
                await asyncio.to_thread(sync_log, object_path(self._root, object_id))
            name = copied if asked is None or asked.is_silent else asked.answer
            if name is None:
                raise AbsentObjectError("this object stores nothing")
            written = self._exports / Path(name).name
            try:
                yield written
            finally:
                written.unlink(missing_ok=True)

    async def _look(
        self,
        object_id: ObjectId,
        verb: str,
        read: Callable[[Copy], T],
        within: float = ASK_SECONDS,
        bounds: Bounds | None = None,
    ) -> Seen:
        """Ask the owner, or read a copy of the file where there is none."""
        for _ in range(LOOKS):
            asked = await self._ask(object_id, verb, within)
            if asked is not None and not asked.is_silent:
                return Seen(asked, None)
            copied = await self._copied(object_id, read, bounds)
            # It may have woken meanwhile, and been copied in the middle of a write.
            again = await self._ask(object_id, "show", ASK_SECONDS) if asked is None else None
            if again is None:
                return Seen(asked, copied)
        raise UnavailableError("the object wakes and sleeps all the time; try again")

    async def _copied(
        self, object_id: ObjectId, read: Callable[[Copy], T], bounds: Bounds | None = None
    ) -> T | None:
        """What `read` makes of a copy of the object's file; None when there is none."""
        path = object_path(self._root, object_id)
        if bounds is not None:
            bounds.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await asyncio.to_thread(read_copy, path, read, apart=self._owns, bounds=bounds)

    @property
    def _owns(self) -> bool:
        """Whether this very process owns objects, as `runserver`'s does."""
        return any(session.pid == os.getpid() for session in self._client.directory.live.values())

    async def _ask(self, object_id: ObjectId, verb: str, within: float) -> Asked | None:
        """Have the owner's worker answer; None when no live worker has the object active."""
        found = await self._client.redis.owner(object_id)
        directory = self._client.directory
        if found is not None and directory.get(found[0]) is None:
            await directory.refresh()
        named = directory.get(found[0]) if found is not None else None
        asked = await self._ask_worker(named, object_id, verb, within) if named is not None else None
        if asked is not None:
            return asked
        # A Redis that came back old, or empty, does not know it; who has the object active has its file.
        others = [session for session in directory.live.values() if session is not named]
        for other in await asyncio.gather(*(self._shows(session, object_id) for session in others)):
            if other is not None:
                return await self._ask_worker(other, object_id, verb, within)
        return None

    async def _shows(self, session: WorkerSession, object_id: ObjectId) -> WorkerSession | None:
        """The worker, if it answers that it has the object active."""
        asked = await self._ask_worker(session, object_id, "show", OTHERS_SECONDS)
        return session if asked is not None and not asked.is_silent else None

    async def _ask_worker(
        self, session: WorkerSession, object_id: ObjectId, verb: str, within: float
    ) -> Asked | None:
        """A worker's answer; None when it does not have the object active."""
        target = Target(object_id.class_key, str(object_id), object_id.name)
        try:
            async with asyncio.timeout(within):
                reply = await self._client.router.command(session.worker, target, verb)
        except NotActiveError:
            return None
        except (TimeoutError, UnavailableError):
            return Asked(session, None, is_silent=True)
        if reply.error is not None:
            raise error_from_wire(reply.error)
        return Asked(session, None if reply.value is None else codec.decode(reply.value))
