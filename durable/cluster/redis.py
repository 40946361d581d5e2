"""Everything that is said to Redis: sessions, ownership, due alarms, notices. No other module speaks Redis.

Keys: `durable:worker:<id>` and `durable:gateway:<id>` (sessions, with a life), `durable:workers` and `durable:gateways`
(who has registered), `durable:owner:{<class>:<object id>}` (ownership), `durable:alarms` (due times of sleeping
objects), `durable:holding` and `durable:held:<gateway id>` (whose sockets a gateway holds), `durable:swept` and
`durable:sweeping` (when the due times were last looked for in the files, and by whom now), `durable:volume` (the data directory that belongs here). Redis is a hint that the epoch in the object's file
confirms: losing it costs availability, never a double write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import msgspec
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError

from durable.core.envelope import LINK_VERSION
from durable.errors import UnavailableError
from durable.identity import ObjectId

log = logging.getLogger(__name__)

COMMAND_SECONDS = 2.0
CONNECTIONS = 8
POOL_SECONDS = 10.0  # how long a command waits for a connection
_NOTICES = "durable:notices"
_ALARMS = "durable:alarms"
_HOLDING = "durable:holding"
_SWEPT = "durable:swept"
_SWEEPING = "durable:sweeping"


class RedisUnavailableError(UnavailableError):
    """Redis cannot be reached, or refuses."""

    code = "unavailable"


class WorkerSession(msgspec.Struct, frozen=True):
    """One worker incarnation that has registered.

    `address` is the path of its link socket; `pid_started` the process's start time in clock ticks since boot. `classes`
    has the object classes it has code for, with how many migrations each has; `code` changes with that code; `link` is
    the version of the link it speaks. Workers of one `place` come after one another; alone in its own where that is empty.
    """

    worker: str
    pid: int
    pid_started: int
    host: str
    state: str
    objects: int
    address: str
    classes: dict[str, int] = {}
    code: str = ""
    link: int = LINK_VERSION
    place: str = ""

    @property
    def slot(self) -> str:
        """Where placement puts it: the place on its host that it fills, or itself."""
        return f"{self.host}/{self.place}" if self.place else self.worker

    @property
    def started(self) -> int:
        """Of two workers in one slot, which came later."""
        return self.pid_started


class GatewaySession(msgspec.Struct, frozen=True):
    """One gateway incarnation that has registered."""

    gateway: str
    pid: int
    host: str


class Wanted(NamedTuple):
    """An ownership that is asked for, with an epoch `above` one, though the worker `dead` may have it."""

    object_id: ObjectId
    above: int = 0
    dead: str = ""


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something the other processes should know at once.

    Kinds: "worker" (came or changed its state), "gone" (ended), "taken" (`worker` owns `object_id` since `epoch`).
    """

    kind: str
    worker: str = ""
    object_id: str = ""
    epoch: int = 0


S = TypeVar("S", WorkerSession, GatewaySession)

_encode = msgspec.json.encode
_decode_worker = msgspec.json.Decoder(WorkerSession).decode
_decode_gateway = msgspec.json.Decoder(GatewaySession).decode
_decode_notice = msgspec.json.Decoder(Notice).decode


def _owner_key(object_id: ObjectId) -> str:
    return f"durable:owner:{{{object_id.class_key}:{object_id}}}"


def check_url(url: str) -> None:
    """Raise ValueError where an address of Redis cannot be used; contacts nothing."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it must begin with redis://, rediss:// or unix://")
    pool = redis.asyncio.ConnectionPool.from_url(url)
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError:
        raise ValueError("there is an option in its query that Redis clients do not have") from None


class RedisCluster:
    """The cluster's state in one Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
    """

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=POOL_SECONDS,
            socket_timeout=COMMAND_SECONDS,
            socket_connect_timeout=COMMAND_SECONDS,
            decode_responses=True,
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._listening = redis.asyncio.from_url(url, socket_timeout=None, decode_responses=True)
        scripts = files(__package__) / "scripts"
        self._claim = self._redis.register_script((scripts / "claim.lua").read_text())
        self._rest = self._redis.register_script((scripts / "rest.lua").read_text())
        self._take_volume = self._redis.register_script((scripts / "take_volume.lua").read_text())

    async def _ask(self, answer: Any) -> Any:
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        try:
            found = await answer
        except (RedisError, OSError) as error:
            raise RedisUnavailableError(f"Redis cannot be reached: {error}") from error
        if task and task.cancelling() > cancelled_before:
            # The client sends under `asyncio.wait_for`, which before Python 3.12 may swallow a cancellation.
            raise asyncio.CancelledError
        return found

    async def ping(self) -> None:
        """Raise RedisUnavailableError unless Redis answers."""
        await self._ask(self._redis.ping())

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
        await self._listening.aclose()

    # -- sessions

    async def register_worker(self, session: WorkerSession, ttl: float) -> None:
        """Begin a worker's session."""
        await self._begin(f"durable:worker:{session.worker}", "durable:workers", session.worker, session, ttl)
        await self.announce(session.worker)

    async def announce(self, worker_id: str) -> None:
        """Tell everybody that a worker has come, or has changed its state."""
        await self.tell(Notice("worker", worker_id))

    async def renew_worker(self, session: WorkerSession, ttl: float) -> bool:
        """Prolong a worker's session and update what it says; False when it is over, for good."""
        return await self._renew(f"durable:worker:{session.worker}", session, ttl)

    async def revoke_worker(self, worker_id: str) -> None:
        """End a worker's session now; harmless when it has ended."""
        await self._ask(self._redis.delete(f"durable:worker:{worker_id}"))
        await self._ask(self._redis.srem("durable:workers", worker_id))
        await self.tell(Notice("gone", worker_id))

    async def session_alive(self, worker_id: str) -> bool:
        """Whether a worker's session has not expired."""
        return bool(await self._ask(self._redis.exists(f"durable:worker:{worker_id}")))

    async def list_workers(self) -> list[WorkerSession]:
        """All workers whose session lives."""
        return await self._list("durable:workers", "durable:worker:", _decode_worker)

    async def register_gateway(self, session: GatewaySession, ttl: float) -> None:
        """Begin a gateway's session."""
        await self._begin(
            f"durable:gateway:{session.gateway}", "durable:gateways", session.gateway, session, ttl
        )

    async def renew_gateway(self, session: GatewaySession, ttl: float) -> bool:
        """Prolong a gateway's session; False when it is over."""
        return await self._renew(f"durable:gateway:{session.gateway}", session, ttl)

    async def end_gateway(self, gateway_id: str) -> None:
        """End a gateway's session."""
        await self._ask(self._redis.delete(f"durable:gateway:{gateway_id}"))
        await self._ask(self._redis.srem("durable:gateways", gateway_id))

    async def list_gateways(self) -> list[GatewaySession]:
        """All gateways whose session lives."""
        return await self._list("durable:gateways", "durable:gateway:", _decode_gateway)

    async def _begin(self, key: str, index: str, member: str, session: Any, ttl: float) -> None:
        await self._ask(self._redis.set(key, _encode(session), px=int(ttl * 1000)))
        await self._ask(self._redis.sadd(index, member))

    async def _renew(self, key: str, session: Any, ttl: float) -> bool:
        return bool(await self._ask(self._redis.set(key, _encode(session), px=int(ttl * 1000), xx=True)))

    async def _list(self, index: str, prefix: str, decode: Any) -> list[Any]:
        members = sorted(await self._ask(self._redis.smembers(index)))
        if not members:
            return []
        found = await self._ask(self._redis.mget([prefix + member for member in members]))
        gone = [member for member, text in zip(members, found, strict=True) if text is None]
        if gone:
            await self._ask(self._redis.srem(index, *gone))
        sessions = []
        for member, text in zip(members, found, strict=True):
            try:
                if text is not None:
                    sessions.append(decode(text))
            except msgspec.DecodeError as error:
                log.error("the session %s%s cannot be read: %s", prefix, member, error)
        return sessions

    # -- what gateways hold, so that somebody can tell their objects when they die

    async def gateway_holds(self, gateway_id: str, references: Iterable[str]) -> None:
        """Remember that a gateway holds sockets of these objects (`class:object id`)."""
        await self._ask(self._redis.sadd(_HOLDING, gateway_id))
        await self._ask(self._redis.sadd(f"durable:held:{gateway_id}", *references))

    async def holding_gateways(self) -> list[str]:
        """Gateways that hold, or held when they died, sockets of some object."""
        return sorted(await self._ask(self._redis.smembers(_HOLDING)))

    async def held_by(self, gateway_id: str, limit: int) -> list[str]:
        """Some of the objects of which a gateway holds sockets."""
        return list(await self._ask(self._redis.srandmember(f"durable:held:{gateway_id}", limit)))

    async def gateway_lets_go(self, gateway_id: str, references: Iterable[str]) -> None:
        """A gateway does not hold sockets of these objects any more."""
        key = f"durable:held:{gateway_id}"
        await self._ask(self._redis.srem(key, *references))
        if not await self._ask(self._redis.exists(key)):
            await self._ask(self._redis.srem(_HOLDING, gateway_id))

    # -- ownership

    async def claim(self, object_id: ObjectId, worker: str, above: int, dead: str = "") -> tuple[str, int]:
        """(owner, epoch): `worker` itself unless somebody else, who is not `dead`, owns the object."""
        owner, epoch = await self._ask(self._claim(keys=[_owner_key(object_id)], args=[worker, above, dead]))
        return owner, int(epoch)

    async def claim_each(self, worker: str, wanted: Sequence[Wanted]) -> list[tuple[str, int]]:
        """The same for several objects, in one write."""
        if len(wanted) == 1:
            return [await self.claim(wanted[0].object_id, worker, *wanted[0][1:])]
        pipeline = self._redis.pipeline(transaction=False)
        for object_id, above, dead in wanted:
            script = (self._claim.sha, 1, _owner_key(object_id), worker, str(above), dead)
            pipeline.evalsha(*script)  # type: ignore[unused-awaitable]  # queued, awaited below
        found = await self._ask(pipeline.execute(raise_on_error=False))
        for position, answer in enumerate(found):
            if isinstance(answer, NoScriptError):  # Redis has begun anew
                object_id, above, dead = wanted[position]
                found[position] = await self.claim(object_id, worker, above, dead)
            elif isinstance(answer, RedisError):
                raise RedisUnavailableError(f"Redis refuses: {answer}") from answer
        return [(owner, int(epoch)) for owner, epoch in found]

    async def rest(self, object_id: ObjectId, worker: str, seconds: float) -> bool:
        """Let the ownership lapse after `seconds` (0: now), if it is `worker`'s; whether it was."""
        return bool(
            await self._ask(self._rest(keys=[_owner_key(object_id)], args=[worker, str(int(seconds * 1000))]))
        )

    async def owner(self, object_id: ObjectId) -> tuple[str, int] | None:
        """(worker, epoch) as last recorded, or None."""
        worker, epoch = await self._ask(self._redis.hmget(_owner_key(object_id), ["worker", "epoch"]))
        return None if worker is None else (worker, int(epoch))

    async def forget_objects(self, object_ids: Iterable[ObjectId]) -> None:
        """Forget everything about objects that are no more: who owned them, and when their alarms were due."""
        pipeline = self._redis.pipeline(transaction=False)
        for object_id in object_ids:
            pipeline.delete(_owner_key(object_id))  # type: ignore[unused-awaitable]  # queued, awaited below
            pipeline.zrem(_ALARMS, f"{object_id.class_key}:{object_id}")  # type: ignore[unused-awaitable]
        await self._ask(pipeline.execute())

    # -- alarms of sleeping objects

    async def index_alarms(self, due: Iterable[tuple[str, int | None]]) -> None:
        """Remember due times (ms since the epoch), or forget them, by reference (`class:object id`)."""
        pipeline = self._redis.pipeline(transaction=False)
        for reference, at in due:
            if at is None:
                pipeline.zrem(_ALARMS, reference)  # type: ignore[unused-awaitable]  # queued, awaited below
            else:
                pipeline.zadd(_ALARMS, {reference: at})  # type: ignore[unused-awaitable]
        await self._ask(pipeline.execute())

    async def due_alarms(self, now: int, limit: int) -> list[str]:
        """References of objects whose alarm is due, the longest due first."""
        return list(
            await self._ask(self._redis.zrange(_ALARMS, "-inf", now, byscore=True, offset=0, num=limit))
        )

    async def next_alarm(self) -> int | None:
        """When the earliest indexed alarm is due, or None."""
        first = await self._ask(self._redis.zrange(_ALARMS, 0, 0, withscores=True))
        return int(first[0][1]) if first else None

    async def index_found(self, due: Iterable[tuple[str, int]]) -> None:
        """Remember due times that were found in files, where nothing else is known."""
        found = dict(due)
        if found:
            await self._ask(self._redis.zadd(_ALARMS, found, nx=True))

    async def run_id(self) -> str:
        """What tells one run of this Redis from another."""
        return str((await self._ask(self._redis.info("server")))["run_id"])

    async def last_sweep(self) -> str | None:
        """The run of Redis in which the index was last made whole from the files."""
        return await self._ask(self._redis.get(_SWEPT))  # type: ignore[no-any-return]

    async def begin_sweep(self, worker: str, ttl: float) -> bool:
        """Whether it is this worker's turn to sweep, for `ttl` seconds."""
        return bool(await self._ask(self._redis.set(_SWEEPING, worker, nx=True, px=int(ttl * 1000))))

    async def prolong_sweep(self, worker: str, ttl: float) -> bool:
        """Go on sweeping; False when the turn, and perhaps what was indexed, is lost."""
        if await self._ask(self._redis.get(_SWEEPING)) != worker:
            return False
        return bool(await self._ask(self._redis.set(_SWEEPING, worker, xx=True, px=int(ttl * 1000))))

    async def end_sweep(self, run: str) -> None:
        """The index is whole."""
        await self._ask(self._redis.set(_SWEPT, run))
        await self._ask(self._redis.delete(_SWEEPING))

    # -- the data directory

    async def take_volume(self, volume: str) -> str:
        """Pin the data directory with id `volume` to this Redis; returns the one that is pinned."""
        return str(await self._ask(self._take_volume(keys=["durable:volume"], args=[volume])))

    # -- notices

    async def tell(self, notice: Notice) -> None:
        """Tell all processes that listen."""
        await self._ask(self._redis.publish(_NOTICES, _encode(notice)))

    async def notices(self) -> AsyncIterator[Notice | None]:
        """Notices as they come; None first, when listening has begun. Raises RedisUnavailableError when it ends."""
        subscription = self._listening.pubsub(ignore_subscribe_messages=True)
        try:
            await self._ask(subscription.subscribe(_NOTICES))
            yield None
            while True:
                message = await self._ask(subscription.get_message(timeout=None))
                if message is not None:
                    try:
                        notice = _decode_notice(message["data"])
                    except msgspec.DecodeError as error:
                        log.error("a notice cannot be read: %s", error)
                    else:
                        yield notice
        finally:
            await subscription.aclose()  # type: ignore[no-untyped-call]
