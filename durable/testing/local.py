"""Objects in the test's own process: the real runtime, real files and links, a clock and a disk that the test commands."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from durable.cluster.directory import Directory
from durable.cluster.redis import GatewaySession, RedisCluster
from durable.cluster.router import Router
from durable.conf import DurableSettings
from durable.core.envelope import Target
from durable.errors import UnavailableError
from durable.gateway.hub import Hub
from durable.identity import ObjectId
from durable.runtime.host import Host
from durable.runtime.namespace import dispatch
from durable.runtime.objects import DurableObject
from durable.runtime.registry import registry
from durable.runtime.requests import Request, Response, fetch
from durable.runtime.sockets import encode_hello
from durable.storage.store import object_path

from .clock import LocalClock
from .cluster import CatalogList, LocalCluster, TroubleList
from .commits import Commits
from .sockets import LocalSocket
from .worker import LocalWorker

DEADLINE = 5.0  # seconds that anything may take


class LocalObjects:
    """All objects of one test. Stubs (`Counter.namespace.get_by_name("x")`) work while it is entered.

    Attributes:
        clock: time, as objects see it; it stands still until it is advanced.
        commits: lets the test hold commits back, or fail them.
        cluster: what Redis would know.
        catalog: what the catalog of stored objects would say.
        troubles: what the operator would see to be wrong.
        worker: the worker that serves now.
    """

    def __init__(self, conf: DurableSettings, *, clock: LocalClock | None = None) -> None:
        self.conf = conf
        self.clock = clock or LocalClock()
        self.commits = Commits()
        self.cluster = LocalCluster()
        self.catalog = CatalogList()
        self.troubles = TroubleList()
        self.worker: LocalWorker
        self._sockets = Path(
            tempfile.mkdtemp(prefix="objects-")
        )  # short: a Unix socket's path has 108 bytes at most
        self._gateways: list[_LocalGateway] = []
        self._workers: list[LocalWorker] = []

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

    # -- calling

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """What stubs use: call a method through the gateway."""
        return await self._gateways[-1].router.call(object_id, method, arguments)

    async def fetch(self, stub: Any, method: str = "GET", path: str = "/", **fields: Any) -> Response:
        """Have an object answer an HTTP request, as a mount does; `fields` are those of `durable.Request`."""
        return await fetch(_id_of(stub), Request(method=method, path=path, **fields))

    async def connect(
        self,
        stub: Any,
        user: dict[str, Any] | None = None,
        url: str = "/",
        headers: dict[str, str] | None = None,
    ) -> LocalSocket:
        """Open a WebSocket to an object, as a client whom the gateway takes for `user`; it may be refused."""
        hub = self._gateways[-1].hub
        hello = encode_hello(url, headers or {}, user or {})
        socket = LocalSocket(hub, _id_of(stub), hello, self.conf.max_socket_buffer)
        await socket.opened()
        return socket

    # -- the life of objects

    @property
    def host(self) -> Host:
        """The objects of the worker that serves now."""
        return self.worker.host

    def is_active(self, stub: Any) -> bool:
        """Whether the object is in memory."""
        return str(_id_of(stub)) in self.host.activations

    def has_file(self, stub: Any) -> bool:
        """Whether the object has storage."""
        return object_path(self._root, _id_of(stub)).exists()

    async def evict(self, stub: Any) -> None:
        """Put an object to sleep after its running event; its sockets stay connected."""
        leaving = self.host.evict(str(_id_of(stub)))
        if leaving is not None:
            await leaving
        await self.settle()

    async def crash(self) -> None:
        """Let the worker die, and another one take over.

        This is what SIGKILL leaves behind: committed writes in each file's log, synced or not, no lock, no goodbye. Links
        break; the gateway repeats what had no answer. It is not a power cut (unsynced commits survive), and since Python
        goes on running, code that was in the middle of an event sees its task cancelled.
        """
        old = self.worker
        self._workers.remove(old)
        self.worker = await self.add_worker(told=False)
        await old.die()
        await self._tell()
        await self.settle()

    async def redeploy(self, *classes: type[DurableObject]) -> None:
        """Start another worker and drain the one that serves now, as a new version of the code would be brought in.

        `classes` are that version's, in place of those of the same keys.
        """
        old = self.worker
        self.worker = await self.add_worker(*classes)
        await self.drain(old)
        self._workers.remove(old)
        await old.stop()
        await self._tell()
        await self.settle()

    async def add_worker(self, *classes: type[DurableObject], told: bool = True) -> LocalWorker:
        """Another worker over the same files; `classes` take the place of those of the same keys there."""
        worker = LocalWorker(
            self.conf,
            root=self._root,
            cluster=self.cluster,
            clock=self.clock,
            commits=self.commits,
            catalog=self.catalog,
            troubles=self.troubles,
            sockets=self._sockets,
            classes=registry.replacing(*classes) if classes else registry,
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

    async def add_gateway(self) -> None:
        """Another gateway; calls and new sockets go through it from now on."""
        gateway = _LocalGateway(self.conf, self.cluster, self.clock.now)
        self._gateways.append(gateway)
        await gateway.directory.refresh()
        await self.settle()

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

    # -- time

    def alarm(self, stub: Any) -> int | None:
        """When the object's alarm is due (ms since the epoch), or None."""
        return self.cluster.alarms.get(_reference(stub))

    async def run_alarm(self, stub: Any) -> bool:
        """Move the clock to when the object's alarm is due, and wait until it has run. False when none is set.

        A hook that raises is tried again later, as always: `alarm(stub)` then says when.
        """
        at = self.alarm(stub)
        if at is None:
            return False
        self.clock.advance_ms(max(0, at - self.clock.now()))
        await self.worker.wake_due()
        await self._until(lambda: self.alarm(stub) != at, f"the alarm of {stub!r} to run")
        await self._at_rest(stub)
        return True

    async def advance(self, seconds: float) -> None:
        """Let time pass: due alarms run, idle objects fall asleep, events that take too long are cancelled.

        What alarms send has arrived when this returns, unless the test holds commits back.
        """
        self.clock.advance(seconds)
        due = {reference.partition(":")[2] for reference in self._due()}
        for worker in self._workers:
            await worker.wake_due()
        await self._until(lambda: not self._due(), "the alarms that are due to run")
        await self._until(lambda: self.commits.holding or not self._sending(due), "what alarms send to leave")
        await self._until(lambda: not self._leaving(), "idle objects to fall asleep")
        await self.settle()

    def _due(self) -> list[str]:
        return [reference for reference, at in self.cluster.alarms.items() if at <= self.clock.now()]

    def _sending(self, object_ids: set[str]) -> bool:
        return any(
            activation.gate.outbox
            for worker in self._workers
            for object_id, activation in worker.host.activations.items()
            if object_id in object_ids
        )

    def _leaving(self) -> bool:
        return any(
            activation.leaving for worker in self._workers for activation in worker.host.activations.values()
        )

    # -- waiting

    async def settle(self) -> None:
        """Return when everything that has left an object by now has arrived."""
        await asyncio.sleep(0)  # tasks that the test has just made begin
        target = Target("", "", None)
        for gateway in self._gateways:
            for worker in self._workers:
                with suppress(
                    UnavailableError
                ):  # the expected answer; what was sent before it has arrived before it
                    await gateway.router.command(worker.id, target, "show")
        await asyncio.sleep(0)  # who waited for an answer has it

    async def _at_rest(self, stub: Any) -> None:
        def rests() -> bool:
            activation = self.host.activations.get(str(_id_of(stub)))
            return activation is None or not (
                activation.running or activation.mailbox or activation.gate.outbox
            )

        await self._until(rests, f"{stub!r} to come to rest")
        await self.settle()

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while not reached():
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            await asyncio.sleep(0.001)

    @property
    def _root(self) -> Path:
        return self.conf.data_dir


class _LocalGateway:
    """A gateway without a process of its own."""

    def __init__(self, conf: DurableSettings, cluster: LocalCluster, now: Callable[[], int]) -> None:
        self.directory = Directory(cast(RedisCluster, cluster))
        self.hub = Hub(uuid.uuid4().hex, now)
        self.router = Router(
            self.hub.gateway,
            "gateway",
            self.directory,
            park_seconds=conf.park_seconds,
            max_parked=conf.max_parked,
            effects=self.hub.apply,
            last_auto_response=self.hub.last_auto_response,
        )
        self.hub.router = self.router
        cluster.gateways[self.hub.gateway] = GatewaySession(self.hub.gateway, os.getpid(), "test")


def _id_of(stub: Any) -> ObjectId:
    object_id: ObjectId = stub.id
    return object_id


def _reference(stub: Any) -> str:
    object_id = _id_of(stub)
    return f"{object_id.class_key}:{object_id}"


@asynccontextmanager
async def local_objects(
    root: Path, *, clock: LocalClock | None = None, **settings: Any
) -> AsyncIterator[LocalObjects]:
    """Objects whose files are under `root`, on the running loop, until the block ends.

    Args:
        root: an empty directory, or one that an earlier block has left.
        clock: to begin at another time.
        settings: fields of `durable.conf.DurableSettings` to change.
    """
    objects = LocalObjects(
        DurableSettings(data_dir=root, **{"park_seconds": DEADLINE, **settings}), clock=clock
    )
    await objects.start()
    with dispatch.used(lambda: objects):
        try:
            yield objects
        finally:
            await objects.stop()
