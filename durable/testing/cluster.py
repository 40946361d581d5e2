"""The cluster's shared state in memory: answers what Redis would, for workers and gateways of one test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from durable.cluster.redis import GatewaySession, Notice, Wanted, WorkerSession
from durable.identity import ObjectId
from durable.runtime.surroundings import CatalogEntry
from durable.runtime.troubles import TroubleKind


class LocalCluster:
    """Stands in for `durable.cluster.redis.RedisCluster`, with the same meaning of each question.

    Attributes:
        workers: live sessions by id.
        gateways: live gateways by id.
        owners: worker and epoch by object id; a worker of "" has given the object up. Clear it to lose Redis.
        alarms: due time (ms) by "class key:object id".
        listeners: who hears notices, by worker.
    """

    def __init__(self) -> None:
        self.workers: dict[str, WorkerSession] = {}
        self.gateways: dict[str, GatewaySession] = {}
        self.owners: dict[str, tuple[str, int]] = {}
        self.alarms: dict[str, int] = {}
        self.listeners: dict[str, Callable[[Notice], None]] = {}

    # -- sessions

    async def list_workers(self) -> list[WorkerSession]:
        """Live workers."""
        return list(self.workers.values())

    async def session_alive(self, worker: str) -> bool:
        """Whether the worker lives."""
        return worker in self.workers

    async def list_gateways(self) -> list[GatewaySession]:
        """Live gateways."""
        return list(self.gateways.values())

    async def tell(self, notice: Notice) -> None:
        """Tell all workers."""
        for hear in list(self.listeners.values()):
            hear(notice)

    # -- ownership

    async def claim(self, object_id: ObjectId, worker: str, above: int, dead: str = "") -> tuple[str, int]:
        """As scripts/claim.lua does it."""
        owner, epoch = self.owners.get(str(object_id), ("", 0))
        if owner not in ("", worker, dead):
            return owner, epoch
        if owner != worker or epoch <= above:
            epoch = max(epoch, above) + 1
            self.owners[str(object_id)] = (worker, epoch)
        return worker, epoch

    async def claim_each(self, worker: str, wanted: Sequence[Wanted]) -> list[tuple[str, int]]:
        """One after another."""
        return [await self.claim(object_id, worker, above, dead) for object_id, above, dead in wanted]

    async def rest(self, object_id: ObjectId, worker: str, seconds: float) -> bool:
        """As scripts/rest.lua does it, but a resting ownership never lapses."""
        owner, epoch = self.owners.get(str(object_id), ("", 0))
        if owner == worker and not seconds:
            self.owners[str(object_id)] = ("", epoch)
        return owner == worker

    # -- alarms

    async def index_alarms(self, due: Iterable[tuple[str, int | None]]) -> None:
        """Remember or forget due times."""
        for reference, at in due:
            if at is None:
                self.alarms.pop(reference, None)
            else:
                self.alarms[reference] = at

    async def due_alarms(self, now: int, limit: int) -> list[str]:
        """What is due."""
        due = sorted((at, reference) for reference, at in self.alarms.items() if at <= now)
        return [reference for _, reference in due[:limit]]


class CatalogList:
    """Keeps what workers say of stored objects.

    Attributes:
        entries: the last entry of each object that has storage, by id.
    """

    def __init__(self) -> None:
        self.entries: dict[str, CatalogEntry] = {}

    def note(self, entry: CatalogEntry) -> None:
        """Take an entry over at once."""
        if entry.gone:
            self.entries.pop(entry.id, None)
        else:
            self.entries[entry.id] = entry


class TroubleList:
    """Keeps what workers say to be wrong with objects.

    Attributes:
        messages: the last message by object's id and kind of trouble, as long as that is not over.
    """

    def __init__(self) -> None:
        self.messages: dict[tuple[str, TroubleKind], str] = {}

    def seen(self, object_id: ObjectId, kind: TroubleKind, message: str) -> None:
        """Take it down."""
        self.messages[str(object_id), kind] = message

    def over(self, object_id: ObjectId, *kinds: TroubleKind) -> None:
        """Strike it out."""
        for kind in kinds:
            self.messages.pop((str(object_id), kind), None)
