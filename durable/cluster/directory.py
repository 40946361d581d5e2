"""Which workers live: what this process believes, refreshed every second and at every notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from durable.core.envelope import LINK_VERSION
from durable.core.placement import choose

from .redis import Notice, RedisCluster, RedisUnavailableError, WorkerSession

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0


class Watcher(Protocol):
    """Wants to know when the directory has changed."""

    def workers_changed(self) -> None:
        """A worker came, changed its state, or ended."""


class Directory:
    """The workers whose session lives, as far as this process knows.

    Args:
        redis: where they register.
        taken: told when some worker has taken an object whose file is still held.
    """

    def __init__(self, redis: RedisCluster, taken: Callable[[Notice], None] = lambda _: None) -> None:
        self._redis = redis
        self._taken = taken
        self._workers: dict[str, WorkerSession] = {}
        self._watchers: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Read the list once, then keep it fresh."""
        await self.refresh()
        self._tasks = [asyncio.create_task(self._refresh_regularly()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Stop keeping it fresh."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a worker came, changed its state, or ended."""
        self._watchers.append(changed)

    def get(self, worker: str) -> WorkerSession | None:
        """The live worker of that id, or None."""
        return self._workers.get(worker)

    @property
    def live(self) -> dict[str, WorkerSession]:
        """All live workers by id."""
        return self._workers

    def place(
        self, object_id: str, class_key: str = "", avoid: frozenset[str] = frozenset()
    ) -> WorkerSession | None:
        """The worker that should own an object of a class (see `choose`): not a draining one.

        None to `avoid`, and none that speaks another version of the link, while there is another.
        """
        serving = [session for session in self._workers.values() if session.state == "serving"]
        serving = [session for session in serving if session.link == LINK_VERSION] or serving
        return choose(object_id, class_key, [s for s in serving if s.worker not in avoid] or serving)

    async def refresh(self) -> None:
        """Read the list now."""
        found = {session.worker: session for session in await self._redis.list_workers()}
        before = {(s.worker, s.state) for s in self._workers.values()}
        self._workers = found
        if {(s.worker, s.state) for s in found.values()} != before:
            self._changed.set()
            self._changed = asyncio.Event()
            for changed in self._watchers:
                changed()

    async def wait_for_change(self, seconds: float) -> None:
        """Return when something has changed, after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _refresh_regularly(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except RedisUnavailableError as error:
                log.warning("the list of workers cannot be read: %s", error)

    async def _listen(self) -> None:
        while True:
            try:
                async for notice in self._redis.notices():
                    if notice is not None and notice.kind == "taken":
                        self._taken(notice)
                    else:
                        await self.refresh()
            except RedisUnavailableError as error:
                log.warning("notices cannot be heard: %s", error)
                await asyncio.sleep(REFRESH_SECONDS)
