"""The workers and gateways of one test: they come, die at a chosen point, are replaced, and drain."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from durable.conf import DurableSettings
from durable.core.envelope import Target
from durable.errors import UnavailableError
from durable.runtime.host import Host
from durable.runtime.objects import DurableObject
from durable.runtime.registry import registry

from .clock import LocalClock
from .cluster import CatalogList, LocalCluster, TroubleList
from .commits import Commits
from .crashes import CrashPoint, PlannedCrash
from .gateway import LocalGateway
from .worker import LocalWorker

DEADLINE = 5.0  # seconds that anything may take


class LocalFleet:
    """Real workers and gateways in one process, over one directory of files.

    Args:
        conf: limits and times; `data_dir` is the directory of the objects' files.
        clock: to begin at another time.

    Attributes:
        clock: time, as objects see it; it stands still until it is advanced.
        commits: lets the test hold commits back, or fail them.
        cluster: what Redis would know.
        catalog: what the catalog of stored objects would say.
        troubles: what the operator would see to be wrong.
        worker: the worker that came last, or took the place of that one; most tests have no other.
    """

    def __init__(self, conf: DurableSettings, *, clock: LocalClock | None = None) -> None:
        self.conf = conf
        self.clock = clock or LocalClock()
        self.commits = Commits()
        self.cluster = LocalCluster()
        self.catalog = CatalogList()
        self.troubles = TroubleList()
        self.worker: LocalWorker
        # Short: a Unix socket's path has 108 bytes at most.
        self._sockets = Path(tempfile.mkdtemp(prefix="objects-"))
        self._gateways: list[LocalGateway] = []
        self._workers: list[LocalWorker] = []
        self._crashes: list[PlannedCrash] = []

    # -- entering and leaving

    async def start(self) -> None:
        """Start the first worker and the first gateway."""
        self.worker = await self.add_worker()
        await self.add_gateway()

    async def stop(self) -> None:
        """End everything."""
        self.commits.release()
        for worker in self._workers:
            await worker.stop()
        for gateway in self._gateways:
            gateway.router.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def host(self) -> Host:
        """The objects of the worker that serves now."""
        return self.worker.host

    # -- workers

    @property
    def workers(self) -> list[LocalWorker]:
        """All workers that live, in the order they came."""
        return list(self._workers)

    async def crash(self, worker: LocalWorker | None = None) -> None:
        """Let a worker die (default: the one that serves now), and another one take over.

        This is what SIGKILL leaves behind: committed writes in each file's log, synced or not, no lock, no goodbye. Links
        break; the gateway repeats what had no answer. It is not a power cut (unsynced commits survive), and since Python
        goes on running, code that was in the middle of an event sees its task cancelled.
        """
        dead = worker or self.worker
        dead.kill()
        await self._replace(dead)

    @asynccontextmanager
    async def crash_at(
        self, point: CrashPoint, stub: Any = None, *, nth: int = 1, required: bool = True
    ) -> AsyncIterator[PlannedCrash]:
        """Within this block a worker dies when it comes to `point` for the `nth` time, and another one takes over.

        Args:
            point: where, on the way of an event that writes. What flushes comes there with each part.
            stub: count only the events of this object; default: of all.
            nth: at its first coming, its second, ...
            required: raise AssertionError when the block ends and the worker has not come there.
        """
        plan = PlannedCrash(point, None if stub is None else str(stub.id), nth)
        self._crashes.append(plan)
        try:
            yield plan
        finally:
            self._crashes.remove(plan)
            if plan.takeover is not None:
                await plan.takeover
        if required and not plan.reached:
            raise AssertionError(f"no worker has come to the point {point.value!r}")

    def _dies(self, worker: LocalWorker, point: CrashPoint, object_id: str) -> bool:
        for plan in self._crashes:
            if plan.passes(point, object_id):
                plan.takeover = asyncio.get_running_loop().create_task(self._replace(worker))
                return True
        return False

    async def _replace(self, dead: LocalWorker) -> None:
        """Have another worker take the place of one that was killed."""
        self._workers.remove(dead)
        fresh = await self.add_worker(told=False)
        if self.worker is dead:
            self.worker = fresh
        await dead.die()
        await self._tell()
        await self.settle()

    async def redeploy(self, *classes: type[DurableObject], worker: LocalWorker | None = None) -> None:
        """Start another worker and drain one (default: the one that serves now), as new code would be brought in.

        `classes` are the new version's, in place of those of the same keys.
        """
        old = worker or self.worker
        fresh = await self.add_worker(*classes)
        if self.worker is old:
            self.worker = fresh
        await self.drain(old)
        self._workers.remove(old)
        await old.stop()
        await self._tell()
        await self.settle()

    async def add_worker(self, *classes: type[DurableObject], told: bool = True) -> LocalWorker:
        """Another worker over the same files; `classes` take the place of those of the same keys there."""
        worker: LocalWorker = LocalWorker(
            self.conf,
            root=self.conf.data_dir,
            cluster=self.cluster,
            clock=self.clock,
            commits=self.commits,
            catalog=self.catalog,
            troubles=self.troubles,
            sockets=self._sockets,
            classes=registry.replacing(*classes) if classes else registry,
            dies=lambda point, object_id: self._dies(worker, point, object_id),
        )
        await worker.start()
        self._workers.append(worker)
        if told:
            await self._tell()
            await self.settle()
        return worker

    async def drain(self, worker: LocalWorker) -> None:
        """Have a worker give its objects away."""
        await asyncio.gather(worker.drain(), self._tell())

    async def add_gateway(self) -> LocalGateway:
        """Another gateway; calls and new sockets go through it from now on."""
        gateway = LocalGateway(self.conf, self.cluster, self.clock.now)
        self._gateways.append(gateway)
        await gateway.directory.refresh()
        await self.settle()
        return gateway

    async def lose_gateway(self) -> None:
        """Let the gateway die with all sockets it holds, without a word to their objects; a new one takes its place."""
        gateway = self._gateways.pop()
        del self.cluster.gateways[gateway.hub.gateway]
        gateway.router.close()
        await self.add_gateway()

    async def _tell(self) -> None:
        """Everybody learns which workers live."""
        for directory in [one.directory for one in self._gateways] + [one.directory for one in self._workers]:
            await directory.refresh()

    # -- waiting

    async def settle(self) -> None:
        """Return when everything that has left an object by now has arrived."""
        await asyncio.sleep(0)  # tasks that the test has just made begin
        target = Target("", "", None)
        for gateway in self._gateways:
            for worker in self._workers:
                # The answer is that there is no such object; what was sent before it has arrived before it.
                with suppress(UnavailableError):
                    await gateway.router.command(worker.id, target, "show")
        await asyncio.sleep(0)  # who waited for an answer has it

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while not reached():
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            await asyncio.sleep(0.001)
