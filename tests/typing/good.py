"""What a user may write: mypy has nothing to say about it."""

from datetime import UTC, datetime
from typing import Any, assert_type

import msgspec

from durable import (
    AlarmInfo,
    DurableObject,
    Namespace,
    ObjectError,
    ObjectId,
    RemoteError,
    WebSocket,
    concurrent,
)


class Point(msgspec.Struct):
    """Something to send."""

    x: int
    y: int = 0


class TooFarError(ObjectError):
    """A refusal."""


class Counter(DurableObject):
    """A named integer."""

    key = "counter"
    durability = "relaxed"
    idle_seconds = 5
    event_timeout = 1.5
    max_sockets = 10
    web_socket_error = '{"type":"error"}'
    migrations = ["CREATE TABLE hit (at INTEGER)", lambda ctx: ctx.storage.put("value", 1)]

    async def start(self) -> None:
        self.cached: int = self.ctx.storage.get("value", 0)

    async def increment(self, amount: int = 1) -> int:
        value: int = self.ctx.storage.get("value", 0) + amount
        self.ctx.storage.put("value", value)
        self.ctx.storage.set_alarm(datetime.now(UTC))
        self.ctx.storage.set_alarm(self.ctx.now() + 5)
        if value > 100:
            raise TooFarError("too far", value=value)
        return value

    async def move(self, point: Point, *others: Point, by: tuple[int, int] | None = None) -> list[Point]:
        with self.ctx.storage.transaction():
            self.ctx.storage.sql.exec("INSERT INTO hit VALUES (?)", self.ctx.now())
        return [point, *others]

    @concurrent
    async def wait(self, seconds: float) -> str:
        return str(await self.ctx.run(self.ctx.storage.get, "value"))

    async def alarm(self, info: AlarmInfo) -> None:
        assert_type(info.scheduled_time, int)
        assert_type(self.ctx.id, ObjectId)
        assert_type(self.ctx.id.name, str | None)

    async def web_socket_connect(self, ws: WebSocket) -> None:
        self.ctx.accept_web_socket(ws, tags=["a"])
        ws.attachment = {"since": self.ctx.now()}

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        self.ctx.broadcast(message, exclude=[ws], volatile="cursor")
        assert_type(self.ctx.get_web_sockets("a"), list[WebSocket])

    async def web_socket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        assert_type(ws.user, dict[str, Any])

    async def web_socket_resume(self) -> None:
        await self.ctx.flush()


class Child(Counter):
    """Inherits methods and hooks, and may look less closely at what a hook is given."""

    async def alarm(self, info: object) -> None:
        self.ctx.abort("no alarms here")


async def use() -> None:
    """Stubs are typed as their class."""
    assert_type(Counter.namespace, Namespace[Counter])
    counter = Counter.namespace.get_by_name("x")
    assert_type(counter, Counter)
    assert_type(Child.namespace.get_by_name("x"), Child)
    assert_type(Counter.namespace.get(Counter.namespace.new_unique_id()), Counter)
    assert_type(Counter.namespace.id_from_name("x"), ObjectId)
    assert_type(await counter.increment(), int)
    assert_type(await counter.increment(amount=5), int)
    assert_type(await counter.move(Point(1), Point(2), by=(1, 2)), list[Point])
    assert_type(await counter.wait(1), str)
    try:
        await counter.increment(1)
    except RemoteError as error:
        assert_type(error.fields, dict[str, Any])
