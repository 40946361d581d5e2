"""One operator's questions and actions on objects, on the loop of this process's way to the cluster; see `asking`."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from durable.client import ClusterClient
from durable.cluster.redis import WorkerSession
from durable.cluster.router import NotActiveError
from durable.conf import DurableSettings
from durable.core import codec
from durable.core.envelope import Target
from durable.errors import (
    ArgumentError,
    DurableError,
    NotCallableError,
    StorageError,
    UnavailableError,
    error_from_wire,
)
from durable.identity import ObjectId
from durable.models import AuditEntry
from durable.runtime.alarms import RUN_ALARM
from durable.runtime.commands import read_tables
from durable.runtime.exports import DELETE
from durable.runtime.objects import methods_of
from durable.runtime.signatures import find_method
from durable.storage.database import DamagedFileError
from durable.storage.images import ImageError, place_image, prepare_image
from durable.storage.store import object_path

from . import moves
from .console import Result, select
from .copies import Copy, read_copy
from .facts import file_facts, iso, last_active, owner_of
from .records import find_record, in_database
from .targets import find_class
from .values import jsonable
from .wholes import (
    AbsentObjectError,
    ObjectExistsError,
    catalogue,
    draft_in,
    hand_over,
    saving,
    set_aside,
    uncatalogue,
)

ASK_SECONDS = 2.0
ACT_SECONDS = 35.0  # an eviction waits for the running event
ENDING_SECONDS = 10.0  # for what a worker does after it has drained
LOOKS = 4
MAX_AUDITED = 500  # characters of a call's arguments in the audit log

T = TypeVar("T")
Shown = dict[str, Any]
"""What is known of an object, as JSON is made of it; see `Inspector.show`."""
Tables = list[dict[str, Any]]
"""Per table `name`, `columns`, the first `rows`, and whether there are `more`."""


class _Asked(NamedTuple):
    """An active object's owner, and its answer; without one, the owner is silent."""

    owner: WorkerSession
    answer: Any
    is_silent: bool = False


class _Seen(NamedTuple):
    """An answer of the owner, if there is one, and what was read from a copy of the file, if it was."""

    asked: _Asked | None
    copied: Any


class Inspector:
    """Looks at objects and acts on them for one operator; what it shows and does is recorded in the audit log.

    Args:
        client: the way to the cluster; all methods must run on its loop.
        conf: the settings.
        who: as the audit log names the operator: "user:alice", "token:1a2b", "shell:root".
    """

    def __init__(self, client: ClusterClient, conf: DurableSettings, who: str) -> None:
        self._client = client
        self._root = conf.data_dir / "objects"
        self._exports = conf.data_dir / "exports"
        self._drain_seconds = conf.drain_seconds
        self._who = who

    # -- looking

    async def show(self, object_id: ObjectId) -> Shown:
        """Everything about an object but its contents.

        `class`, `name`, `id`, `state` (active, asleep, absent), `owner` (worker, pid, host) or None, `epoch`, `sockets`,
        `alarm` (ms since the epoch), `alarm_retries`, `alarm_error`, `storage_bytes`, `queue_depth`, `running` (the
        event), `created_at`, `last_active_at` (ISO 8601), `sockets_list` (the first hundred), `problem` (what kept us
        from knowing more).
        """
        record = await in_database(find_record, object_id.class_key, str(object_id))
        problem = None
        try:
            seen = await self._look(object_id, "show", file_facts)
        except UnavailableError:
            raise
        except DurableError as error:  # a damaged or very large file; that it is there is known
            seen, problem = _Seen(None, {}), str(error)
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
        """The live workers: `worker`, `pid`, `host`, `state`, `objects`."""
        sessions = await self._client.redis.list_workers()
        sessions.sort(key=lambda session: (session.host, session.pid))
        return [
            {**owner_of(session), "state": session.state, "objects": session.objects} for session in sessions
        ]

    async def export(self, object_id: ObjectId, target: Path) -> int:
        """Write the object to a plain SQLite file at `target`, replacing what is there; its bytes.

        An active object is copied by its owner between two events, as far as it is durable. Sockets and answered calls
        are left out. Raises AbsentObjectError, OSError.
        """
        async with self._recorded("object.export", object_id):
            with draft_in(self._exports) as draft:
                asked, copied = await self._look(object_id, "export", saving(draft), ACT_SECONDS)
                name = copied if asked is None or asked.is_silent else asked.answer
                if name is None:
                    raise AbsentObjectError("this object stores nothing")
                written = self._exports / Path(name).name
                try:
                    return await asyncio.to_thread(hand_over, written, target)
                finally:
                    written.unlink(missing_ok=True)

    async def _look(
        self, object_id: ObjectId, verb: str, read: Callable[[Copy], T], within: float = ASK_SECONDS
    ) -> _Seen:
        """Ask the owner, or read a copy of the file where there is none."""
        for _ in range(LOOKS):
            asked = await self._ask(object_id, verb, within)
            if asked is not None and not asked.is_silent:
                return _Seen(asked, None)
            copied = await self._copied(object_id, read)
            # It may have woken meanwhile, and been copied in the middle of a write.
            again = await self._ask(object_id, "show", ASK_SECONDS) if asked is None else None
            if again is None:
                return _Seen(asked, copied)
        raise UnavailableError("the object wakes and sleeps all the time; try again")

    async def _copied(self, object_id: ObjectId, read: Callable[[Copy], T]) -> T | None:
        """What `read` makes of a copy of the object's file; None when there is none."""
        path = object_path(self._root, object_id)
        return await asyncio.to_thread(read_copy, path, read, apart=self._owns)

    @property
    def _owns(self) -> bool:
        """Whether this very process owns objects, as `runserver`'s does."""
        return any(session.pid == os.getpid() for session in self._client.directory.live.values())

    async def _ask(self, object_id: ObjectId, verb: str, within: float) -> _Asked | None:
        """Have the owner's worker answer; None when no live worker has the object active."""
        found = await self._client.redis.owner(object_id)
        if found is None:
            return None
        directory = self._client.directory
        if directory.get(found[0]) is None:
            await directory.refresh()
        session = directory.get(found[0])
        if session is None:
            return None
        target = Target(object_id.class_key, str(object_id), object_id.name)
        try:
            async with asyncio.timeout(within):
                reply = await self._client.router.command(session.worker, target, verb)
        except NotActiveError:
            return None
        except (TimeoutError, UnavailableError):
            return _Asked(session, None, is_silent=True)
        if reply.error is not None:
            raise error_from_wire(reply.error)
        return _Asked(session, None if reply.value is None else codec.decode(reply.value))

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
            return await self._delete(object_id)

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
            await self._copied(object_id, lambda _: None)
        except DamagedFileError:
            pass
        else:
            return False
        if not await asyncio.to_thread(set_aside, object_path(self._root, object_id)):
            return False
        await in_database(uncatalogue, object_id)
        await self._client.redis.index_alarms([(f"{object_id.class_key}:{object_id}", None)])
        return True

    async def import_file(self, object_id: ObjectId, source: Path, *, replace: bool = False) -> int:
        """Make the object from a file that `export` has written; its bytes. With `replace`, delete the one there is.

        Raises ImageError for a file that does not fit, ObjectExistsError.
        """
        kind = find_class(object_id.class_key)
        async with self._recorded(
            "object.import", object_id, file=str(source)[:MAX_AUDITED], replace=replace
        ):
            owner = await self._client.redis.owner(object_id)
            epoch = 0 if owner is None else owner[1]
            with draft_in(self._exports) as draft:
                facts = await asyncio.to_thread(
                    prepare_image, source, draft, object_id, epoch=epoch, migrations=len(kind.migrations)
                )
                await self._place(object_id, draft, replace=replace)
            await self._ask(object_id, "evict", ACT_SECONDS)  # an instance that knows of nothing stored
            await in_database(catalogue, object_id, facts, time.time_ns() // 1_000_000)
            if facts.alarm is not None:
                reference = f"{object_id.class_key}:{object_id}"
                await self._client.redis.index_alarms([(reference, facts.alarm)])
            return facts.size

    async def _place(self, object_id: ObjectId, draft: Path, *, replace: bool) -> None:
        for _ in range(LOOKS):
            try:
                await asyncio.to_thread(place_image, self._root, object_id, draft)
                return
            except FileExistsError:
                if not replace:
                    raise ObjectExistsError("this object exists; --replace deletes it first") from None
            await self._delete(object_id)
        raise UnavailableError("the object is made anew all the time; try again when nobody uses it")

    async def call(self, object_id: ObjectId, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a method as any stub does; what it returns. Raises NotCallableError, RemoteError and the like."""
        kind = find_class(object_id.class_key)
        shown = json.dumps(jsonable([args, kwargs]), ensure_ascii=False)
        async with self._recorded(
            "object.call", object_id, method=method[:200], arguments=shown[:MAX_AUDITED]
        ):
            find_method(methods_of(kind), kind.key, method)
            return await getattr(kind.namespace.get(object_id), method)(*args, **kwargs)

    @asynccontextmanager
    async def _recorded(self, what: str, object_id: ObjectId | None, **details: Any) -> AsyncIterator[None]:
        """Enter it in the audit log before it is done, and there afterwards if it came to nothing."""
        entry = await in_database(
            AuditEntry.record,
            self._who,
            what,
            class_key="" if object_id is None else object_id.class_key,
            object_id="" if object_id is None else str(object_id),
            name="" if object_id is None else object_id.name or "",
            **details,
        )
        try:
            yield
        except Exception as error:
            refused = isinstance(error, NotCallableError | ArgumentError | ObjectExistsError | ImageError)
            entry.result = AuditEntry.Result.REFUSED if refused else AuditEntry.Result.FAILED
            entry.details = {**details, "error": f"{type(error).__name__}: {error}"[:MAX_AUDITED]}
            await in_database(entry.save, update_fields=["result", "details"])
            raise
