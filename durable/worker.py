"""One worker process, wired by hand: session, objects, links, alarms.

A worker that finds its session expired drops everything it holds and registers again as a new incarnation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from durable.cluster.alarms import AlarmPoller, RedisAlarmIndex
from durable.cluster.clocks import CLOCKS
from durable.cluster.directory import Directory
from durable.cluster.endpoint import Endpoint
from durable.cluster.owners import RedisOwners
from durable.cluster.processes import identify_self
from durable.cluster.reaper import GatewayReaper
from durable.cluster.redis import COMMAND_SECONDS, Notice, RedisCluster, RedisUnavailableError, WorkerSession
from durable.cluster.router import Router
from durable.cluster.session import SessionKeeper
from durable.cluster.sweeper import AlarmSweeper
from durable.cluster.volume import check_volume
from durable.conf import DurableSettings
from durable.core.leases import LeaseWindow
from durable.runtime.host import Host
from durable.runtime.registry import registry
from durable.runtime.steps import Steps
from durable.runtime.surroundings import Catalog, CatalogEntry, Clocks
from durable.runtime.troubles import Troubles
from durable.storage.probe import prove_locks_exclude

log = logging.getLogger(__name__)

OBJECTS = "objects"
REGISTER_AGAIN_SECONDS = 0.25


class NoCatalog:
    """A catalog that keeps nothing, for workers without Django's database."""

    def note(self, entry: CatalogEntry) -> None:
        """Ignored."""


class Worker:
    """Owns objects and runs their events.

    Args:
        conf: the settings.
        redis_url: where the cluster's state is.
        runtime_dir: for the link's Unix socket; short and private.
        on_ready: called with the worker's id at each registration.
        catalog: where the list of stored objects is written.
        steps: what a watchdog looks at.
        troubles: told what is wrong with objects.
        code: tells this process's code from other code.
        place: which of its supervisor's workers it is; "": one without a supervisor.

    Attributes:
        worker_id: id of the current incarnation.
    """

    def __init__(
        self,
        conf: DurableSettings,
        *,
        redis_url: str,
        runtime_dir: Path,
        on_ready: Callable[[str], None] = lambda _: None,
        catalog: Catalog | None = None,
        clocks: Clocks = CLOCKS,
        steps: Steps | None = None,
        troubles: Troubles | None = None,
        code: str = "",
        place: str = "",
    ) -> None:
        self.worker_id = ""
        self._code = code
        self._place = place
        self._steps = steps
        self._troubles = troubles
        self._conf = conf
        self._redis_url = redis_url
        self._runtime_dir = runtime_dir
        self._on_ready = on_ready
        self._catalog = catalog or NoCatalog()
        self._clocks = clocks
        self._redis: RedisCluster
        self._incarnation: Incarnation | None = None
        self._stopping = False

    async def start(self) -> None:
        """Check the ground, register, serve. Raises DurableError when this worker must not serve."""
        self._redis = RedisCluster(self._redis_url)
        probe = asyncio.to_thread(prove_locks_exclude, self._conf.data_dir / OBJECTS)
        await asyncio.gather(check_volume(self._redis, self._conf.data_dir), probe)
        await self._incarnate()

    async def _incarnate(self) -> None:
        self.worker_id = uuid.uuid4().hex
        incarnation = Incarnation(
            self.worker_id,
            self._conf,
            self._redis,
            self._runtime_dir,
            self._catalog,
            self._clocks,
            self._expired,
            self._steps,
            self._troubles,
            self._code,
            self._place,
        )
        try:
            await incarnation.start()
        except BaseException:
            await incarnation.drop()
            raise
        self._incarnation = incarnation
        self._on_ready(self.worker_id)

    async def _expired(self) -> None:
        """The session is over: nothing of this incarnation may act any more."""
        old, self._incarnation = self._incarnation, None
        if old is not None:
            await old.drop()
        while not self._stopping:
            try:
                await self._incarnate()
                return
            except RedisUnavailableError as error:
                log.warning("this worker cannot register again yet: %s", error)
                await asyncio.sleep(REGISTER_AGAIN_SECONDS)

    async def drain(self) -> None:
        """Give all objects away; running events finish, new ones go elsewhere."""
        if self._incarnation is not None:
            await self._incarnation.drain(self._conf.drain_seconds)

    async def stop(self) -> None:
        """End at once."""
        self._stopping = True
        incarnation, self._incarnation = self._incarnation, None
        if incarnation is not None:
            await incarnation.stop()
        await self._redis.close()


class Incarnation:
    """Everything that lives and dies with one worker session."""

    def __init__(
        self,
        worker_id: str,
        conf: DurableSettings,
        redis: RedisCluster,
        runtime_dir: Path,
        catalog: Catalog,
        clocks: Clocks,
        expired: Callable[[], Any],
        steps: Steps | None,
        troubles: Troubles | None,
        code: str,
        place: str,
    ) -> None:
        me = identify_self()
        self._clocks = clocks
        self._session = WorkerSession(
            worker=worker_id,
            pid=me.pid,
            pid_started=me.started,
            host=socket.gethostname(),
            state="serving",
            objects=0,
            address=os.fspath(runtime_dir / f"w{worker_id[:12]}.sock"),
            classes=registry.versions(),
            code=code,
            place=place,
        )
        lease = LeaseWindow(conf.lease_ttl, conf.lease_margin)
        self._directory = Directory(redis, self._taken)
        self._router = Router(
            worker_id, "worker", self._directory, park_seconds=conf.park_seconds, max_parked=conf.max_parked
        )
        self._alarm_index = RedisAlarmIndex(redis)
        self._endpoint = Endpoint(worker_id, redis)
        self.host = Host(
            conf,
            root=conf.data_dir / OBJECTS,
            worker=worker_id,
            registry=registry,
            lease=lease,
            clocks=clocks,
            owners=RedisOwners(redis, worker_id),
            outlets=self._endpoint,
            alarm_index=self._alarm_index,
            catalog=catalog,
            remote=self._router,
            steps=steps,
            troubles=troubles,
        )
        self._keeper = SessionKeeper(
            redis,
            self._session,
            lease,
            renew_every=conf.lease_renew,
            clock=clocks.clock,
            figures=lambda: len(self.host.activations),
            expired=expired,
        )
        self._poller = AlarmPoller(redis, clocks.now, self._is_mine, self.host.wake_for_alarm)
        self._reaper = GatewayReaper(
            redis,
            self._router,
            self._is_mine,
            is_linked=self._endpoint.is_linked,
            patience=conf.lease_renew + 2 * COMMAND_SECONDS,
        )
        self._sweeper = AlarmSweeper(redis, conf.data_dir / OBJECTS, worker_id, clocks.now)
        self._polling: list[asyncio.Task[None]] = []

    def _taken(self, notice: Notice) -> None:
        if notice.worker != self._session.worker:
            self.host.taken(notice.object_id, notice.epoch)

    def _is_mine(self, object_id: str, class_key: str = "") -> bool:
        chosen = self._directory.place(object_id, class_key)
        return chosen is not None and chosen.worker == self._session.worker

    async def start(self) -> None:
        """Listen, then register, so that nobody is sent here before there is an ear."""
        await self.host.recover()
        await self._endpoint.start(self._session.address, self.host)
        await self._directory.start()
        await self._keeper.start()
        await self._directory.refresh()
        watchers = (self._poller.run(), self._reaper.run(), self._sweeper.run())
        self._polling = [asyncio.create_task(watcher) for watcher in watchers]

    async def drain(self, seconds: float) -> None:
        """Give all objects away."""
        self._stop_polling()
        await self._keeper.change_state("draining")
        await self.host.drain(self._clocks.clock() + seconds)
        await self._alarm_index.flush()

    def _stop_polling(self) -> None:
        for task in self._polling:
            task.cancel()

    async def drop(self) -> None:
        """End without releasing anything: somebody else may own what was here."""
        self._stop_polling()
        await self.host.close_all()
        await self._close()

    async def stop(self) -> None:
        """End the session, then everything else."""
        self._stop_polling()
        await self.host.close_all()
        await self._keeper.stop()
        await self._close()

    async def _close(self) -> None:
        self._router.close()
        self._endpoint.close()
        await self._directory.stop()
