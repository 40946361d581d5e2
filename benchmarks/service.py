"""A service of the benchmark's own, with real gateways, workers and Redis, and a client of its objects in this process."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from durable.client import ClusterClient
from durable.cluster.commands import NotActiveError
from durable.conf import durable_settings
from durable.core.envelope import Target
from durable.runtime.namespace import dispatch
from tests.running_service import RunningService, running_service

from .processes import busy_seconds

SETTINGS = "benchmarks.subjects.settings"
PATIENCE = 300.0  # seconds that objects may take to fall asleep
QUIET_SECONDS, QUIET_SHARE = 1.0, 0.05  # a process that uses less of a processor than this has nothing to do
RENEWED_SECONDS = 3.5  # in which every worker has said anew how many objects it has


class Service:
    """The service that is measured.

    Attributes:
        processes: its processes, to be looked at.
        client: the way to its objects.
    """

    def __init__(self, processes: RunningService, client: ClusterClient) -> None:
        self.processes = processes
        self.client = client

    async def active(self) -> int:
        """Objects in memory, as the workers last said; they say it with each renewal of their session."""
        return sum(session.objects for session in await self.client.redis.list_workers())

    async def wait_until_active(self, count: int) -> None:
        """Return when exactly so many objects are in memory, and have been for a while. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            since = loop.time()
            while loop.time() - since < RENEWED_SECONDS:
                await asyncio.sleep(0.1)
                if await self.active() != count:
                    since = loop.time()

    async def wait_until_quiet(self) -> None:
        """Return when no worker has anything left to do, such as writing the catalog. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            before, now = -1.0, 0.0
            while now - before > QUIET_SHARE * QUIET_SECONDS:
                await asyncio.sleep(QUIET_SECONDS)
                before, now = now, sum(map(busy_seconds, self.processes.worker_pids()))

    async def evict(self, stub: Any) -> None:
        """Put an object to sleep; it is asleep when this returns."""
        target = Target(stub.id.class_key, str(stub.id), stub.id.name)
        for worker in self.client.directory.live:
            try:
                await self.client.router.command(worker, target, "evict")
            except NotActiveError:
                continue

    async def release(self, stub: Any) -> None:
        """Take a sleeping object from the worker that it rests with, so that the next one must claim it anew."""
        for worker in self.client.directory.live:
            await self.client.redis.rest(stub.id, worker, 0)


@asynccontextmanager
async def service(*, gateways: int = 1, workers: int = 1) -> AsyncIterator[Service]:
    """A service on a data directory of its own, until the block ends; stubs made in it call its objects."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        settings = {"DJANGO_SETTINGS_MODULE": SETTINGS}
        with running_service(Path(directory), gateways=gateways, workers=workers, **settings) as processes:
            client = ClusterClient(
                replace(durable_settings(), redis_url=processes.record().redis_url), "client"
            )
            await client.start()
            try:
                with dispatch.used(lambda: client):
                    yield Service(processes, client)
            finally:
                await client.close()


async def spread(work: Iterable[Callable[[], Awaitable[Any]]], at_once: int) -> tuple[list[Any], float]:
    """Do all of it, so much at a time: the results as they came, and the seconds it took."""
    rest = iter(work)
    results: list[Any] = []

    async def one_after_another() -> None:
        results.extend([await one() for one in rest])

    started = time.perf_counter()
    await asyncio.gather(*itertools.starmap(one_after_another, [()] * at_once))
    return results, time.perf_counter() - started


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what other processes do tells no Event
            await asyncio.sleep(0.05)
