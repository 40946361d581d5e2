"""The ground of `manage.py serve`: gateways, workers and Redis as processes of their own, which get killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote, urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from durable.client import ClusterClient
from durable.cluster.redis import WorkerSession
from durable.conf import durable_settings
from durable.core import codec
from durable.core.envelope import Target
from durable.errors import UnavailableError
from durable.identity import ObjectId
from durable.inspector import moves
from durable.runtime.namespace import dispatch
from durable.storage.store import object_path
from tests.running_service import RunningService

from .ground import WITHIN, Call, Client, Found, Frame, Ground
from .subject.objects import Subject

PAUSE = 0.02  # seconds between two looks


class RemoteClient:
    """A WebSocket over HTTP, as the suite uses it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self._connection.state is State.OPEN

    async def send(self, frame: Frame) -> None:
        await self._connection.send(frame)

    async def receive(self) -> Frame:
        async with asyncio.timeout(WITHIN):
            return await self._connection.recv()

    async def close(self, code: int) -> None:
        await self._connection.close(code)

    async def vanish(self) -> None:
        self._connection.transport.abort()

    async def closed(self) -> int:
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    await self._connection.recv()
                except ConnectionClosed:
                    break
        assert self._connection.close_code is not None
        return self._connection.close_code


class ProcessGround:
    """Objects in the workers of a running service."""

    def __init__(self, service: RunningService, client: ClusterClient) -> None:
        self._service = service
        self._client = client
        self._connections: list[ClientConnection] = []

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        return await self._client.call(object_id, method, arguments)

    @asynccontextmanager
    async def elsewhere(self) -> AsyncIterator[Call]:
        async with client_of(self._service) as client:
            yield client.call

    async def connect(self, subject: Subject, name: str = "", tags: tuple[str, ...] = ()) -> Client:
        query = urlencode([("name", name or "nobody"), *(("tag", tag) for tag in tags)])
        path = quote(_id_of(subject).name or "", safe="")
        url = f"ws://127.0.0.1:{self._service.port}/subject/{path}?{query}"
        connection = await connect(url, proxy=None)
        self._connections.append(connection)
        return RemoteClient(connection)

    async def evict(self, subject: Subject) -> None:
        await self._ask_owner(subject, "evict")

    async def kill_owner(self, subject: Subject) -> None:
        self._service.kill((await self._owner(subject)).pid)

    async def drain_owner(self, subject: Subject) -> None:
        await moves.drain(self._client, await self._owner(subject), WITHIN)

    async def transfer(self, subject: Subject) -> None:
        here = await self._owner(subject)

        async def another() -> WorkerSession | None:
            sessions = await self._client.redis.list_workers()
            others = (one for one in sessions if one.worker != here.worker and one.state == "serving")
            return next(others, None)

        await moves.move(self._client, _id_of(subject), await self.eventually(another), active=True)

    async def state(self, subject: Subject) -> Literal["active", "asleep", "absent"]:
        if await self._ask_owner(subject, "show") is not None:
            return "active"
        path = object_path(self._service.data_dir / "objects", _id_of(subject))
        return "asleep" if path.exists() else "absent"

    async def show(self, subject: Subject) -> dict[str, Any]:
        shown = await self._ask_owner(subject, "show")
        assert shown is not None, "it is not active"
        return shown  # type: ignore[no-any-return]

    async def eventually(self, condition: Callable[[], Awaitable[Found]]) -> Found:
        async with asyncio.timeout(WITHIN):
            while not (found := await condition()):
                await asyncio.sleep(PAUSE)
        return found

    async def end(self) -> None:
        """Cut what the test has left open, and wait until more than one worker serves again."""
        for connection in self._connections:
            connection.transport.abort()

        async def ready() -> bool:
            sessions = await self._client.redis.list_workers()
            return sum(session.state == "serving" for session in sessions) > 1

        await self.eventually(ready)

    async def _owner(self, subject: Subject) -> WorkerSession:
        found = await self._client.redis.owner(_id_of(subject))
        assert found is not None, "it has no owner"
        return next(one for one in await self._client.redis.list_workers() if one.worker == found[0])

    async def _ask_owner(self, subject: Subject, verb: str) -> Any:
        """The owner's answer; None when the object is not active there."""
        object_id = _id_of(subject)
        found = await self._client.redis.owner(object_id)
        if found is None:
            return None
        await self._client.directory.refresh()
        target = Target(object_id.class_key, str(object_id), object_id.name)
        try:
            reply = await self._client.router.command(found[0], target, verb)
        except UnavailableError:
            return None
        return codec.decode(reply.value or b"")


def _id_of(subject: Subject) -> ObjectId:
    return subject.id  # type: ignore[attr-defined,no-any-return]  # it is a stub


@asynccontextmanager
async def client_of(service: RunningService) -> AsyncIterator[ClusterClient]:
    """A process's way to the service's objects."""
    client = ClusterClient(replace(durable_settings(), redis_url=service.record().redis_url), "client")
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def processes(service: RunningService) -> AsyncIterator[Ground]:
    """The ground, with a service that other tests use as well."""
    async with client_of(service) as client:
        ground = ProcessGround(service, client)
        with dispatch.used(lambda: client):
            yield ground
        await ground.end()
