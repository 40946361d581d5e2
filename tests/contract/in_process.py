"""The ground of `durable.testing`: workers and gateways in the test's own process, a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from durable.identity import ObjectId
from durable.testing import LocalObjects, LocalSocket, local_objects

from .ground import WITHIN, Call, Client, Found, Frame, Ground
from .subject.objects import Subject

STEP = 0.5  # seconds of the objects' clock


class LocalClient:
    """A `LocalSocket` as the suite uses it."""

    def __init__(self, socket: LocalSocket) -> None:
        self._socket = socket

    @property
    def is_open(self) -> bool:
        return self._socket.is_open

    async def send(self, frame: Frame) -> None:
        self._socket.post(frame)

    async def receive(self) -> Frame:
        return await self._socket.receive(WITHIN)

    async def close(self, code: int) -> None:
        await self._socket.close(code)

    async def vanish(self) -> None:
        await self._socket.vanish()

    async def closed(self) -> int:
        return await self._socket.closed(WITHIN)


class LocalGround:
    """Objects in this process."""

    def __init__(self, local: LocalObjects) -> None:
        self._local = local
        self._passing: asyncio.Task[None] | None = None

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        return await self._local.call(object_id, method, arguments)

    @asynccontextmanager
    async def elsewhere(self) -> AsyncIterator[Call]:
        gateway = await self._local.add_gateway()
        yield gateway.router.call

    async def connect(self, subject: Subject, name: str = "", tags: tuple[str, ...] = ()) -> Client:
        query = urlencode([("name", name or "nobody"), *(("tag", tag) for tag in tags)])
        return LocalClient(await self._local.connect(subject, url=f"/?{query}"))

    async def evict(self, subject: Subject) -> None:
        await self._local.evict(subject)

    async def kill_owner(self, subject: Subject) -> None:
        await self._local.crash(self._local.owner(subject))

    async def drain_owner(self, subject: Subject) -> None:
        await self._local.redeploy(worker=self._local.owner(subject))

    async def transfer(self, subject: Subject) -> None:
        await self._local.transfer(subject)

    async def state(self, subject: Subject) -> Literal["active", "asleep", "absent"]:
        if self._local.is_active(subject):
            return "active"
        return "asleep" if self._local.has_file(subject) else "absent"

    async def show(self, subject: Subject) -> dict[str, Any]:
        return await self._local.show(subject)

    async def eventually(self, condition: Callable[[], Awaitable[Found]]) -> Found:
        async with asyncio.timeout(WITHIN):
            while not (found := await condition()):
                if self._passing is None or self._passing.done():
                    await self.end()
                    self._passing = asyncio.create_task(self._local.advance(STEP))
                await asyncio.sleep(0.001)
        return found

    async def end(self) -> None:
        """Let the time pass that has begun to."""
        if self._passing is not None:
            await self._passing


@asynccontextmanager
async def in_process(root: Path) -> AsyncIterator[Ground]:
    """The ground, over files under `root`."""
    async with local_objects(root / "objects") as local:
        ground = LocalGround(local)
        yield ground
        await ground.end()
