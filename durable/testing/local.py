"""Objects in the test's own process, and what a test can do to them: call, connect, put to sleep, move, let time pass."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durable.cluster.redis import Notice
from durable.conf import DurableSettings
from durable.core import codec
from durable.core.envelope import Target
from durable.errors import error_from_wire
from durable.identity import ObjectId
from durable.runtime.activation import Activation
from durable.runtime.namespace import dispatch
from durable.runtime.requests import Request, Response, fetch
from durable.runtime.sockets import encode_hello
from durable.storage.store import object_path

from .clock import LocalClock
from .fleet import DEADLINE, LocalFleet
from .sockets import LocalSocket
from .worker import LocalWorker


class LocalObjects(LocalFleet):
    """All objects of one test. Stubs (`Counter.namespace.get_by_name("x")`) work while it is entered."""

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

    def is_active(self, stub: Any) -> bool:
        """Whether the object is in memory."""
        return self.owner(stub) is not None

    def owner(self, stub: Any) -> LocalWorker | None:
        """The worker that has the object in memory, or None."""
        object_id = str(_id_of(stub))
        return next((worker for worker in self._workers if object_id in worker.host.activations), None)

    async def show(self, stub: Any) -> dict[str, Any]:
        """What an operator is shown of an active object: `epoch`, `sockets`, `queue_depth`, ... It waits for no queue."""
        worker, object_id = self.owner(stub), _id_of(stub)
        if worker is None:
            raise AssertionError(f"{stub!r} is not active")
        target = Target(object_id.class_key, str(object_id), object_id.name)
        answer = await self._gateways[-1].router.command(worker.id, target, "show")
        if answer.error is not None:
            raise error_from_wire(answer.error)
        return dict(codec.decode(answer.value or b""))

    def has_file(self, stub: Any) -> bool:
        """Whether the object has storage."""
        return object_path(self.conf.data_dir, _id_of(stub)).exists()

    async def evict(self, stub: Any) -> None:
        """Put an object to sleep after its running event; its sockets stay connected."""
        activation = self._activation(stub)
        if activation is not None:
            await activation.host.evict(str(_id_of(stub)))  # type: ignore[misc]  # it is active there
        await self.settle()

    async def transfer(self, stub: Any, to: LocalWorker | None = None) -> None:
        """Have another worker (default: one more) take an object over, as an operator would; its sockets stay open.

        The running event finishes first.
        """
        to = to or await self.add_worker()
        object_id, old = _id_of(stub), self._activation(stub)
        owner, epoch = self.cluster.owners.get(str(object_id), ("", 0))
        _, epoch = await self.cluster.claim(object_id, to.id, epoch, owner)
        await self.cluster.tell(Notice("taken", to.id, str(object_id), epoch))
        if old is not None:
            await old.gone
            await self._gateways[-1].router.wake(object_id, to.id)
        await self.settle()

    def fence(self, stub: Any) -> None:
        """Let an active object's file name another owner, as if it had been taken over behind the owner's back.

        The next commit of the owner that runs is refused, its event runs again at the next one.
        """
        activation = self._activation(stub)
        if activation is None or not activation.gate.store.has_file:
            raise AssertionError(f"{stub!r} must be active and have written")
        store = activation.gate.store
        if store.transactions.writing:
            raise AssertionError(f"an event of {stub!r} is writing: its file is locked against others")
        store.database.go_on_in_file()
        store.database.run("UPDATE _do_meta SET epoch = epoch + 1, incarnation = ?1", (uuid.uuid4().hex,))

    def _activation(self, stub: Any) -> Activation | None:
        worker = self.owner(stub)
        return None if worker is None else worker.host.activations[str(_id_of(stub))]

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
        await self._wake_due(lambda: self.alarm(stub) != at, f"the alarm of {stub!r} to run")
        await self._at_rest(stub)
        return True

    async def advance(self, seconds: float) -> None:
        """Let time pass: due alarms run, idle objects fall asleep, events that take too long are cancelled.

        What alarms send has arrived when this returns, unless the test holds commits back.
        """
        self.clock.advance(seconds)
        due = {reference.partition(":")[2] for reference in self._due()}
        await self._wake_due(lambda: not self._due(), "the alarms that are due to run")
        await self._until(lambda: self.commits.holding or not self._sending(due), "what alarms send to leave")
        await self._until(lambda: not self._leaving(), "idle objects to fall asleep")
        await self.settle()

    async def _wake_due(self, over: Callable[[], bool], what: str) -> None:
        """Have all workers fire what is due, also those that take over meanwhile, until that is over."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while True:
            for worker in self.workers:
                await worker.wake_due()
            if over():
                return
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            await asyncio.sleep(0.001)

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
            worker.host.falling_asleep or any(one.leaving for one in worker.host.activations.values())
            for worker in self._workers
        )

    # -- waiting

    async def _at_rest(self, stub: Any) -> None:
        def rests() -> bool:
            activation = self._activation(stub)
            return activation is None or not (
                activation.running or activation.mailbox or activation.gate.outbox
            )

        await self._until(rests, f"{stub!r} to come to rest")
        await self.settle()


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
