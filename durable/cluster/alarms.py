"""The index of due alarms in Redis: kept up by owners, read to wake objects that sleep.

It may only be early or stale: the object's file has the truth. Every worker looks at the due ones and wakes those that
placement gives to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from durable.errors import DurableError
from durable.identity import ObjectId, id_from_string

from .redis import RedisCluster, RedisUnavailableError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BATCH = 200
RETRY_SECONDS = 5.0  # before a due alarm that was passed on is looked at again
WRITE_SECONDS = 1.0  # how long an event's outputs wait for an index that cannot be reached


class RedisAlarmIndex:
    """Due times in Redis, written in batches.

    Args:
        redis: where.
        clock: growing seconds.
    """

    def __init__(self, redis: RedisCluster) -> None:
        self._redis = redis
        self._unwritten: dict[str, int | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        self._writing: asyncio.Task[None] | None = None

    def put(self, object_id: ObjectId, at: int | None) -> asyncio.Future[None]:
        """Remember (or forget) when an object wants to be woken; done when written, after a second at the latest."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._unwritten[f"{object_id.class_key}:{object_id}"] = at
        self._waiting.append(written)
        if self._writing is None:
            self._writing = self._loop.create_task(self._write())
        return written

    async def _write(self) -> None:
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, {}
                waiting, self._waiting = self._waiting, []
                late = self._loop.call_later(WRITE_SECONDS, _resolve, waiting)
                try:
                    await self._redis.index_alarms(batch.items())
                except RedisUnavailableError as error:
                    log.warning("due alarms cannot be indexed: %s", error)
                    self._unwritten = batch | self._unwritten
                    await asyncio.sleep(WRITE_SECONDS)
                finally:
                    late.cancel()
                    _resolve(waiting)
        finally:
            self._writing = None

    async def flush(self) -> None:
        """Return when everything is written, or the writer has given up."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=WRITE_SECONDS)


def _resolve(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


class AlarmPoller:
    """Wakes sleeping objects whose alarm is due.

    Args:
        redis: the index.
        now: ms since the epoch.
        is_mine: whether placement gives an object (hex id, key of its class) to this worker.
        wake: opens an object, which then finds its alarm due; False when there is no room for it now.
    """

    def __init__(
        self,
        redis: RedisCluster,
        now: Callable[[], int],
        is_mine: Callable[[str, str], bool],
        wake: Callable[[ObjectId], bool],
    ) -> None:
        self._redis = redis
        self._now = now
        self._is_mine = is_mine
        self._wake = wake
        self._passed_on: dict[str, int] = {}

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                await self.poll()
                upcoming = await self._redis.next_alarm()
            except RedisUnavailableError as error:
                log.warning("due alarms cannot be read: %s", error)
                upcoming = None
            wait = POLL_SECONDS
            if upcoming is not None and upcoming > self._now():
                wait = min(wait, (upcoming - self._now()) / 1000)
            await asyncio.sleep(max(0.01, wait))

    async def poll(self) -> None:
        """Wake what is due now and belongs here."""
        now = self._now()
        self._passed_on = {reference: until for reference, until in self._passed_on.items() if until > now}
        for reference in await self._redis.due_alarms(now, BATCH + len(self._passed_on)):
            if reference in self._passed_on:
                continue
            key, _, text = reference.rpartition(":")
            self._passed_on[reference] = now + int(RETRY_SECONDS * 1000)
            if not self._is_mine(text, key):
                continue
            try:
                if not self._wake(id_from_string(key, text)):
                    del self._passed_on[reference]
                    return
            except DurableError as error:
                log.error("a due alarm cannot be delivered: %s: %s", reference, error)
