"""One worker of a test: the real host, links and router, in this process, which can be let die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import apsw

from durable.cluster.alarms import AlarmPoller, RedisAlarmIndex
from durable.cluster.directory import Directory
from durable.cluster.endpoint import Endpoint
from durable.cluster.owners import RedisOwners
from durable.cluster.redis import Notice, RedisCluster, WorkerSession
from durable.cluster.router import Router
from durable.conf import DurableSettings
from durable.core.leases import LeaseWindow
from durable.runtime.host import Host
from durable.runtime.leaving import Leave
from durable.runtime.registry import Registry
from durable.runtime.surroundings import Clocks
from durable.storage.kernel_sync import kernel_syncs
from durable.storage.store import Store

from .clock import LocalClock
from .cluster import CatalogList, LocalCluster, TroubleList
from .commits import Commits, GatedPool
from .crashes import CrashingStore, CrashPoint

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
        dies: told where an object's storage has come to, and whose; True when this worker dies there.

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
        dies: Callable[[CrashPoint, str], bool],
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
        self._killed = False
        self._left_open: list[tuple[Store, asyncio.Future[None] | None]] = []
        self._dies = dies
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
            pool=GatedPool(commits, 2, loop.call_soon_threadsafe, kernel_syncs(loop)),
            open_store=partial(CrashingStore, dies=self._dies_at),
        )
        self.host.stop_ticking()
        self._now = clock.now

    def _is_mine(self, object_id: str, class_key: str = "") -> bool:
        chosen = self.directory.place(object_id, class_key)
        return chosen is not None and chosen.worker == self.id

    def _dies_at(self, point: CrashPoint, object_id: str) -> bool:
        if self._killed or not self._dies(point, object_id):
            return False
        self.kill()
        return True

    def _taken(self, notice: Notice) -> None:
        if notice.worker != self.id:
            self.host.taken(notice.object_id, notice.epoch)

    async def start(self) -> None:
        """Listen, register, and learn who else is there."""
        await self.host.recover()
        await self._endpoint.start(self._address, self.host)
        self._cluster.listeners[self.id] = self._taken
        self._register("serving")
        await self.directory.refresh()

    def _register(self, state: str) -> None:
        versions = self.registry.versions()
        session = WorkerSession(self.id, os.getpid(), 0, "test", state, 0, self._address, versions)
        self._cluster.workers[self.id] = session

    async def wake_due(self) -> None:
        """Fire what is due, in memory and asleep; also what was looked at before, since the clock may stand still."""
        self.host.tick()
        redis = cast(RedisCluster, self._cluster)
        await AlarmPoller(redis, self._now, self._is_mine, self.host.wake_for_alarm).poll()

    async def drain(self) -> None:
        """Give all objects away; running events finish."""
        self._register("draining")
        await self.host.drain(FOREVER)
        await self._index.flush()

    def kill(self) -> None:
        """Stop as if the process had been killed: from now on nothing is committed or sent, files stay as they are.

        What was committed stays in each file's log, synced or not, and the file's lock is gone. Code that was running is
        cancelled, which a killed process would not even notice; it can do no more to its storage.
        """
        self._killed = True
        if self.host.journal is not None:
            self.host.journal.drop()
        self._part()
        self.lease.close()
        for activation in list(self.host.activations.values()):
            if activation.gate.is_open:
                store, copying = activation.gate.store, activation.checkpointing
                activation.gate.close()
                if copying is None or copying.done():
                    copying = None
                    _let_go(store)
                self._left_open.append((store, copying))
            activation.leave(Leave.LOST)

    async def die(self) -> None:
        """Be killed, if it is not yet, and let go of what a dead process does not keep."""
        if not self._killed:
            self.kill()
        for store, copying in self._left_open:
            if copying is not None:  # a thread cannot be killed
                await asyncio.wait({copying})
                _let_go(store)
        await self._end()
        for store, _ in self._left_open:
            store.log.close()

    async def stop(self) -> None:
        """End at once."""
        self._part()
        await self._end()

    def _part(self) -> None:
        """Be no member of the cluster any more."""
        self._cluster.workers.pop(self.id, None)
        self._cluster.listeners.pop(self.id, None)
        self._endpoint.close()

    async def _end(self) -> None:
        await self.host.close_all()
        self._router.close()


def _let_go(store: Store) -> None:
    """Close an object's file without the checkpoint that closing would make.

    A sync may still be running: the descriptor of the log stays open until it has ended.
    """
    with contextlib.suppress(apsw.Error):
        if store.database.new_file is None:
            store.database.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    store.database.close()
