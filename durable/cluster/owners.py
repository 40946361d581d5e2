"""Who owns an object: claims in Redis, made again over owners that are dead."""

from __future__ import annotations

import logging

from durable.core.placement import UNKNOWN, choose
from durable.identity import ObjectId
from durable.runtime.surroundings import NotOwnerError

from .redis import Notice, RedisCluster, RedisUnavailableError

log = logging.getLogger(__name__)

REST_SECONDS = 300.0
"""How long a sleeping object stays with its worker, so that waking it needs no new epoch."""


class RedisOwners:
    """Ownership as one worker asks for it.

    Args:
        redis: where it is recorded.
        worker: who asks.
    """

    def __init__(self, redis: RedisCluster, worker: str) -> None:
        self._redis = redis
        self._worker = worker

    async def claim(self, object_id: ObjectId, above: int) -> int:
        """Become the owner; the epoch. Raises NotOwnerError when a living worker is, RedisUnavailableError."""
        dead = ""
        while True:
            owner, epoch = await self._redis.claim(object_id, self._worker, above, dead)
            if owner == self._worker:
                return epoch
            if owner == dead or await self._redis.session_alive(owner):
                raise NotOwnerError(owner)
            dead = owner

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

    async def rest(self, object_id: ObjectId) -> None:
        """The object sleeps: its ownership lapses unless it wakes here soon."""
        await self._redis.rest(object_id, self._worker, REST_SECONDS)

    async def release(self, object_id: ObjectId) -> None:
        """Give the ownership up at once."""
        await self._redis.rest(object_id, self._worker, 0)
