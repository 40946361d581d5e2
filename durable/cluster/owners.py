"""Who owns an object: claims in Redis, made again over owners that are dead.

Claims of one turn of the loop leave together: Redis is asked in one write for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time

from durable.core.placement import UNKNOWN, choose
from durable.identity import ObjectId
from durable.runtime.surroundings import NotOwnerError

from .redis import Notice, RedisCluster, RedisUnavailableError, Wanted

log = logging.getLogger(__name__)

REST_SECONDS = 300.0
"""How long a sleeping object stays with its worker, so that waking it needs no new epoch."""

SURE_SECONDS = 240.0
"""How long of that the worker takes its ownership for granted, and wakes the object before it has asked."""

MOST_RESTING = 10_000
"""Sleeping objects whose epoch is remembered; of more the first are forgotten, and have to be claimed first."""


class RedisOwners:
    """Ownership as one worker asks for it.

    Args:
        redis: where it is recorded.
        worker: who asks.
    """

    def __init__(self, redis: RedisCluster, worker: str) -> None:
        self._redis = redis
        self._worker = worker
        self._resting: dict[
            str, tuple[int, float]
        ] = {}  # epoch, and how long it is sure; the last that fell asleep last
        self._wanted: list[tuple[Wanted, asyncio.Future[tuple[str, int]]]] = []  # in this turn of the loop
        self._asking: set[asyncio.Task[None]] = set()

    async def claim(self, object_id: ObjectId, above: int) -> int:
        """Become the owner; the epoch. Raises NotOwnerError when a living worker is, RedisUnavailableError."""
        dead = ""
        while True:
            owner, epoch = await self._claim(Wanted(object_id, above, dead))
            if owner == self._worker:
                return epoch
            if owner == dead or await self._redis.session_alive(owner):
                raise NotOwnerError(owner)
            dead = owner

    def _claim(self, wanted: Wanted) -> asyncio.Future[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._ask)
        found: asyncio.Future[tuple[str, int]] = loop.create_future()
        self._wanted.append((wanted, found))
        return found

    def _ask(self) -> None:
        asked, self._wanted = self._wanted, []
        task = asyncio.get_running_loop().create_task(self._answer(asked))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _answer(self, asked: list[tuple[Wanted, asyncio.Future[tuple[str, int]]]]) -> None:
        try:
            answers = await self._redis.claim_each(self._worker, [wanted for wanted, _ in asked])
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits has to be told
            for _, found in asked:
                if not found.done():
                    found.set_exception(error)
        else:
            for (_, found), answer in zip(asked, answers, strict=True):
                if not found.done():  # else nobody waits any more
                    found.set_result(answer)
        finally:
            for _, found in asked:
                found.cancel()  # if this was

    async def able(self, object_id: ObjectId, version: int) -> str | None:
        """A serving worker whose code knows so many migrations of the object's class, or None."""
        key = object_id.class_key
        found = choose(
            str(object_id),
            key,
            [
                session
                for session in await self._redis.list_workers()
                if session.state == "serving" and session.classes.get(key, UNKNOWN) >= version
            ],
        )
        return None if found is None else found.worker

    async def tell_taken(self, object_id: ObjectId, epoch: int) -> None:
        """Tell whoever still holds the object that it is this worker's."""
        try:
            await self._redis.tell(Notice("taken", self._worker, str(object_id), epoch))
        except RedisUnavailableError as error:
            log.warning("nobody could be told that %r is taken: %s", object_id, error)

    def resting(self, object_id: ObjectId) -> int | None:
        """The epoch of an object that fell asleep here a short while ago; asked once, then it has to be claimed again.

        Nobody else can claim it while the record in Redis stands and this worker lives. Should Redis have lost the record, then
        its file, which the next owner has to open first, tells: by its lock, and by the epoch in it.
        """
        epoch, until = self._resting.pop(str(object_id), (0, 0.0))
        return epoch if time.monotonic() < until else None

    async def rest(self, object_id: ObjectId, epoch: int | None) -> None:
        """The object sleeps: its ownership lapses unless it wakes here soon."""
        until = time.monotonic() + SURE_SECONDS
        if await self._redis.rest(object_id, self._worker, REST_SECONDS) and epoch is not None:
            if len(self._resting) >= MOST_RESTING:
                del self._resting[next(iter(self._resting))]
            self._resting[str(object_id)] = epoch, until

    async def release(self, object_id: ObjectId) -> None:
        """Give the ownership up at once."""
        await self._redis.rest(object_id, self._worker, 0)

    def forget(self, object_id: str | None = None) -> None:
        """What sleeps here may be another's by now: one object, or (None) each of them."""
        if object_id is None:
            self._resting.clear()
        else:
            self._resting.pop(object_id, None)
