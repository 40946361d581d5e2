"""One worker of a test: the real host, links and router, in this process, which can be let die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import uuid
from pathlib import Path
from typing import cast

import apsw

from durable.cluster.alarms import AlarmPoller, RedisAlarmIndex
from durable.cluster.directory import Directory
from durable.cluster.endpoint import Endpoint
from durable.cluster.owners import RedisOwners
from durable.cluster.redis import RedisCluster, WorkerSession
from durable.cluster.router import Router
from durable.conf import DurableSettings
from durable.core.leases import LeaseWindow
from durable.runtime.activation import Activation
from durable.runtime.host import Host
from durable.runtime.registry import Registry
from durable.runtime.surroundings import Clocks

from .clock import LocalClock
from .cluster import CatalogList, LocalCluster, TroubleList
from .commits import Commits, GatedPool

FOREVER = 1e9  # seconds


class LocalWorker:
    """A worker without a process of its own.

    Args:
        conf: limits and times.
        root: directory of the objects' files.
        cluster: shared with the other workers and the gateway.
        clock: time, as the test says.
        commits: decides when commits become durable.
        catalog: told of stored objects.
        troubles: told what is wrong with objects.
        sockets: a short directory for the link's Unix socket.
        classes: the object classes it has code for.

    Attributes:
        host: the objects.
        lease: the time in which outputs may leave; `lease.close()` is what a lost session does.
    """

    def __init__(
        self,
        conf: DurableSettings,
        *,
        root: Path,
        cluster: LocalCluster,
        clock: LocalClock,
        commits: Commits,
        catalog: CatalogList,
        troubles: TroubleList,
        sockets: Path,
        classes: Registry,
    ) -> None:
        self.registry = classes
        self.id = uuid.uuid4().hex
        self.lease = LeaseWindow(FOREVER, 1.0)
        self.lease.renewed(0.0)
        redis = cast(RedisCluster, cluster)
        self._cluster = cluster
        self._address = str(sockets / f"{self.id[:8]}.sock")
        self.directory = Directory(redis)
        self._router = Router(
            self.id, "worker", self.directory, park_seconds=conf.park_seconds, max_parked=conf.max_parked
        )
        self._endpoint = Endpoint(self.id, redis)
        self._index = RedisAlarmIndex(redis)
        loop = asyncio.get_running_loop()
        self.host = Host(
            conf,
            root=root,
            worker=self.id,
            registry=classes,
            lease=self.lease,
            clocks=Clocks(clock.elapsed, clock.now, random.random),
            owners=RedisOwners(redis, self.id),
            outlets=self._endpoint,
            alarm_index=self._index,
            catalog=catalog,
            remote=self._router,
            troubles=troubles,
            pool=GatedPool(commits, 2, loop.call_soon_threadsafe),
        )
        self.host.stop_ticking()
        self._poller = AlarmPoller(redis, clock.now, self._is_mine, self.host.wake_for_alarm)

    def _is_mine(self, object_id: str, class_key: str = "") -> bool:
        chosen = self.directory.place(object_id, class_key)
        return chosen is not None and chosen.worker == self.id

    async def start(self) -> None:
        """Listen and register."""
        await self._endpoint.start(self._address, self.host)
        self._register("serving")

    def _register(self, state: str) -> None:
        versions = self.registry.versions()
        session = WorkerSession(self.id, os.getpid(), 0, "test", state, 0, self._address, versions)
        self._cluster.workers[self.id] = session

    async def wake_due(self) -> None:
        """Fire what is due, in memory and asleep."""
        self.host.tick()
        await self._poller.poll()

    async def drain(self) -> None:
        """Give all objects away; running events finish."""
        self._register("draining")
        await self.host.drain(FOREVER)
        await self._index.flush()

    async def die(self) -> None:
        """End as if the process had been killed: nothing more is committed or sent, files stay as they are.

        What was committed stays in each file's log, synced or not, and the file's lock is gone. Code that was running is
        cancelled, which a killed process would not even notice; it can do no more to its storage.
        """
        del self._cluster.workers[self.id]
        self.lease.close()
        await self._endpoint.stop()
        activations = list(self.host.activations.values())
        copying = [one.checkpointing for one in activations if one.checkpointing is not None]
        if copying:
            await asyncio.wait(copying)  # a thread cannot be killed
        for activation in activations:
            _abandon(activation)
        await self._end()

    async def stop(self) -> None:
        """End at once."""
        self._cluster.workers.pop(self.id, None)
        await self._endpoint.stop()
        await self._end()

    async def _end(self) -> None:
        await self.host.close_all()
        self._router.close()


def _abandon(activation: Activation) -> None:
    """Close an object's file without the checkpoint that closing would make, and leave the activation without storage."""
    if not activation.gate.is_open:
        return
    store = activation.gate.store
    activation.gate.close()
    with contextlib.suppress(apsw.Error):
        store.database.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    store.database.connection.close(True)
    if store.database.main_fd is not None:
        os.close(store.database.main_fd)
        store.database.main_fd = None
