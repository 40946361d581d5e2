"""One operator's questions and actions on objects, on the loop of this process's way to the cluster; see `asking`."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from durable.client import ClusterClient
from durable.conf import DurableSettings
from durable.core import codec
from durable.errors import (
    DamagedFileError,
    DurableError,
    StorageError,
    UnavailableError,
)
from durable.identity import ObjectId
from durable.runtime.alarms import RUN_ALARM
from durable.runtime.commands import read_tables
from durable.runtime.exports import DELETE, REPLACE
from durable.runtime.objects import methods_of
from durable.runtime.signatures import find_method
from durable.storage.images import place_image, prepare_image
from durable.storage.store import object_path

from . import moves
from .audit import MAX_AUDITED, recorded
from .console import Result, select
from .facts import file_facts, iso, last_active, owner_of
from .looks import ASK_SECONDS, LOOKS, Looker, Seen
from .records import find_record, in_database
from .targets import find_class
from .troubles import forget_damage, forget_troubles, troubles_of
from .values import jsonable
from .wholes import (
    ObjectExistsError,
    catalogue,
    check_target,
    draft_in,
    hand_over,
    set_aside,
    uncatalogue,
)

ACT_SECONDS = 35.0  # an eviction waits for the running event
ENDING_SECONDS = 10.0  # for what a worker does after it has drained

T = TypeVar("T")
Shown = dict[str, Any]
"""What is known of an object, as JSON is made of it; see `Inspector.show`."""
Tables = list[dict[str, Any]]
"""Per table `name`, `columns`, the first `rows`, and whether there are `more`."""


class Inspector(Looker):
    """Looks at objects and acts on them for one operator; what it shows and does is recorded in the audit log.

    Args:
        client: the way to the cluster; all methods must run on its loop.
        conf: the settings.
        who: as the audit log names the operator: "user:alice", "token:1a2b", "shell:root".
    """

    def __init__(self, client: ClusterClient, conf: DurableSettings, who: str) -> None:
        super().__init__(client, conf)
        self._drain_seconds = conf.drain_seconds
        self.who = who

    # -- looking

    async def show(self, object_id: ObjectId) -> Shown:
        """Everything about an object but its contents.

        `class`, `name`, `id`, `state` (active, asleep, absent), `owner` (worker, pid, host) or None, `epoch`, `sockets`,
        `alarm` (ms since the epoch), `alarm_retries`, `alarm_error`, `storage_bytes`, `queue_depth`, `running` (the
        event), `created_at`, `last_active_at` (ISO 8601), `sockets_list` (the first hundred), `problem` (what kept us
        from knowing more), `troubles` (what is wrong with it: kind, message, first_at, last_at, times).
        """
        record = await in_database(find_record, object_id.class_key, str(object_id))
        troubles = await in_database(troubles_of, object_id)
        problem = None
        try:
            seen = await self._look(object_id, "show", file_facts)
        except UnavailableError:
            raise
        except DurableError as error:  # a damaged or very large file; that it is there is known
            seen, problem = Seen(None, {}), str(error)
        asked, found = seen
        state = "active" if asked is not None else "absent" if found is None else "asleep"
        facts: dict[str, Any] = dict(found or {})
        if asked is not None and not asked.is_silent:
            facts = asked.answer
        elif asked is not None:
            problem = "its worker does not answer; shown is what its file says"
        return {
            "class": object_id.class_key,
            "name": object_id.name or facts.get("name") or (record.name if record is not None else None),
            "id": str(object_id),
            "state": state,
            "owner": None if asked is None else owner_of(asked.owner),
            "epoch": facts.get("epoch"),
            "sockets": facts.get("sockets", 0),
            "alarm": facts.get("alarm"),
            "alarm_retries": facts.get("alarm_retries", 0),
            "alarm_error": facts.get("alarm_error"),
            "storage_bytes": facts.get("storage_bytes", 0),
            "queue_depth": facts.get("queue_depth", 0),
            "running": facts.get("running"),
            "created_at": iso(facts.get("created_at")),
            "last_active_at": last_active(state, facts, record),
            "sockets_list": facts.get("sockets_list", []),
            "problem": problem,
            "troubles": [trouble.of_object() for trouble in troubles],
        }

    async def tables(self, object_id: ObjectId) -> Tables:
        """The object's tables with their first rows, values shortened; none of an absent object."""
        async with self._recorded("object.look", object_id):
            asked, copied = await self._look(object_id, "tables", read_tables)
            found: Tables | None = copied if asked is None or asked.is_silent else asked.answer
            return found or []

    async def sql(self, object_id: ObjectId, statement: str, limit: int) -> Result | None:
        """What a reading statement gives on a copy of the object's file, up to `limit` rows; None when there is no file.

        Of an active object the copy has what was committed; one that never stops writing is refused.
        """
        async with self._recorded("object.sql", object_id, statement=statement[:MAX_AUDITED]):
            return await self._copied(object_id, lambda copy: select(copy, statement, limit))

    async def workers(self) -> list[dict[str, Any]]:
        """The live workers: `worker`, `pid`, `host`, `state`, `objects`, and `code`, which changes with what they run."""
        sessions = await self._client.redis.list_workers()
        sessions.sort(key=lambda session: (session.host, session.pid))
        return [
            {
                **owner_of(session),
                "state": session.state,
                "objects": session.objects,
                "code": session.code,
            }
            for session in sessions
        ]

    async def export(self, object_id: ObjectId, target: Path) -> int:
        """Write the object to a plain SQLite file at `target`, replacing the file that is there; its bytes.

        An active object is copied by its owner between two events, as far as it is durable. Sockets and answered calls
        are left out. Raises AbsentObjectError, OSError.
        """
        async with self._recorded("object.export", object_id):
            check_target(target)
            async with self.image(object_id) as written:
                return await asyncio.to_thread(hand_over, written, target)

    # -- acting

    async def evict(self, object_id: ObjectId) -> bool:
        """Put the object to sleep after its running event; False when it was not active."""
        return await self._act(object_id, "evict")

    async def abort(self, object_id: ObjectId) -> bool:
        """Discard the instance now: its running event is undone; False when it was not active."""
        return await self._act(object_id, "abort")

    async def rerun(self, object_id: ObjectId) -> bool:
        """Run an alarm again that was given up, with all its tries before it; False when there is none.

        Wakes the object.
        """
        find_class(object_id.class_key)
        async with self._recorded("object.rerun", object_id):
            found = await self._client.router.call(object_id, RUN_ALARM, codec.encode([[], {}]))
            return bool(codec.decode(found))

    async def transfer(self, object_id: ObjectId, worker: str) -> bool:
        """Move the object to a worker (its id, the beginning of that, or its process id); False when it is there."""
        find_class(object_id.class_key)
        async with self._recorded("object.transfer", object_id, worker=worker[:MAX_AUDITED]):
            to = await moves.find_worker(self._client, worker)
            if to.state != "serving":
                raise UnavailableError(f"worker {to.worker} is {to.state}")
            active = await self._ask(object_id, "show", ASK_SECONDS) is not None
            return await moves.move(self._client, object_id, to, active=active)

    async def drain(self, worker: str) -> None:
        """Have a worker give its objects away, busiest first, and end; running events finish."""
        async with self._recorded("worker.drain", None, worker=worker[:MAX_AUDITED]):
            session = await moves.find_worker(self._client, worker)
            await moves.drain(self._client, session, self._drain_seconds + ENDING_SECONDS)

    async def _act(self, object_id: ObjectId, verb: str) -> bool:
        async with self._recorded(f"object.{verb}", object_id):
            asked = await self._ask(object_id, verb, ACT_SECONDS)
            if asked is not None and asked.is_silent:
                raise UnavailableError(f"worker {asked.owner.worker} owns the object and does not answer")
            return asked is not None

    async def delete(self, object_id: ObjectId) -> bool:
        """Delete everything the object stores, its alarm included, and close its sockets; False when it stored nothing."""
        find_class(object_id.class_key)
        async with self._recorded("object.delete", object_id):
            stored = await self._delete(object_id)
            await in_database(forget_troubles, object_id)
            return stored

    async def _delete(self, object_id: ObjectId) -> bool:
        """Delete the object through its owner, and return when its file is gone."""
        try:
            stored = codec.decode(await self._client.router.call(object_id, DELETE, codec.encode([[], {}])))
        except StorageError:
            if not await self._set_aside(object_id):
                raise
            return True
        await self._ask(object_id, "evict", ACT_SECONDS)
        return bool(stored)

    async def _set_aside(self, object_id: ObjectId) -> bool:
        """Move the object's file away if it is damaged, so that no owner can open it, and nobody holds it."""
        if self._owns:
            return False
        try:
            await self._copied(object_id, lambda _: None, self._whole)
        except DamagedFileError:
            pass
        else:
            return False
        if not await asyncio.to_thread(set_aside, object_path(self._root, object_id)):
            return False
        await in_database(uncatalogue, object_id)
        await in_database(forget_damage, object_id)
        await self._client.redis.index_alarms([(f"{object_id.class_key}:{object_id}", None)])
        return True

    async def import_file(self, object_id: ObjectId, source: Path, *, replace: bool = False) -> int:
        """Make the object from a file that `export` has written; its bytes. With `replace`, in the place of the one there is.

        What was there before is kept beside it, as `….replaced-<ms>`. Raises ImageError for a file that does not fit,
        ObjectExistsError.
        """
        find_class(object_id.class_key)
        async with self._recorded(
            "object.import", object_id, file=str(source)[:MAX_AUDITED], replace=replace
        ):
            return await self._install(object_id, source, replace=replace)

    async def restore(self, object_id: ObjectId, source: Path, copy: str) -> int:
        """`import_file(..., replace=True)` of a backup's file; `copy` names it in the audit log."""
        find_class(object_id.class_key)
        async with self._recorded("object.restore", object_id, copy=copy[:MAX_AUDITED]):
            return await self._install(object_id, source, replace=True)

    async def _install(self, object_id: ObjectId, source: Path, *, replace: bool) -> int:
        kind = find_class(object_id.class_key)
        owner = await self._client.redis.owner(object_id)
        epoch = 0 if owner is None else owner[1]
        with draft_in(self._exports) as draft:
            facts = await asyncio.to_thread(
                prepare_image, source, draft, object_id, epoch=epoch, migrations=len(kind.migrations)
            )
            await self._place(object_id, draft, replace=replace)
        await self._ask(object_id, "evict", ACT_SECONDS)  # an instance that knows of nothing stored
        await in_database(catalogue, object_id, facts, time.time_ns() // 1_000_000)
        await self._client.redis.index_alarms([(f"{object_id.class_key}:{object_id}", facts.alarm)])
        return facts.size

    async def _place(self, object_id: ObjectId, draft: Path, *, replace: bool) -> None:
        for _ in range(LOOKS):
            try:
                await asyncio.to_thread(place_image, self._root, object_id, draft)
                return
            except FileExistsError:
                if not replace:
                    raise ObjectExistsError(
                        "this object exists; --replace puts the file in its place"
                    ) from None
            if await self._replace(object_id, draft):
                return
        raise UnavailableError("the object could not be replaced; its worker's log says why")

    async def _replace(self, object_id: ObjectId, draft: Path) -> bool:
        """Have the owner put `draft` in the place of the object's file, or move a damaged one away; whether it is there."""
        path = object_path(self._root, object_id)
        inode = await asyncio.to_thread(_inode, draft)
        try:
            await self._client.router.call(object_id, REPLACE, codec.encode([[draft.name], {}]))
        except StorageError:
            if not await self._set_aside(object_id):
                raise
            return False
        await self._ask(object_id, "evict", ACT_SECONDS)  # answered when the file is closed
        if await asyncio.to_thread(_inode, path) == inode:
            return True
        await self._set_aside(object_id)
        return False

    async def call(self, object_id: ObjectId, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a method as any stub does; what it returns. Raises NotCallableError, RemoteError and the like."""
        kind = find_class(object_id.class_key)
        shown = json.dumps(jsonable([args, kwargs]), ensure_ascii=False)
        async with self._recorded(
            "object.call", object_id, method=method[:200], arguments=shown[:MAX_AUDITED]
        ):
            find_method(methods_of(kind), kind.key, method)
            return await getattr(kind.namespace.get(object_id), method)(*args, **kwargs)

    def _recorded(
        self, what: str, object_id: ObjectId | None, **details: Any
    ) -> AbstractAsyncContextManager[None]:
        return recorded(self.who, what, object_id, **details)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
