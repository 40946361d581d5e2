"""`Subject`: an object that does what it is told, step by step: `await subject.play(["put", "k", 1], ["get", "k"])`."""

import asyncio
import inspect
import json
import os
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable import AlarmInfo, DurableObject, ObjectError

Step = list[Any]


class SubjectError(ObjectError):
    """What the class raises on purpose."""


class Subject(DurableObject):
    """Plays steps: a list of a verb and its arguments each. Hooks keep a log, and play what is stored under `on …`."""

    migrations = ("CREATE TABLE note (number INTEGER PRIMARY KEY, text TEXT)",)
    max_sockets = 12

    async def play(self, *steps: Step) -> list[Any]:
        """The steps' results."""
        return [await self._do(step) for step in steps]

    async def _do(self, step: Step) -> Any:
        result = getattr(self, f"_{step[0]}")(*step[1:])
        return await result if inspect.isawaitable(result) else result

    async def start(self) -> None:
        self.incarnation = uuid.uuid4().hex
        self.name_at_start = self.ctx.id.name
        await self.play(*self.ctx.storage.get("on start", []))

    async def alarm(self, info: AlarmInfo) -> None:
        seen = [
            info.scheduled_time,
            self.ctx.now(),
            info.retry_count,
            self.ctx.storage.get_alarm(),
            self.ctx.id.name,
        ]
        self._append("rings", seen)
        await self.play(*self.ctx.storage.get("on alarm", []))

    async def web_socket_connect(self, ws: Any) -> None:
        query = parse_qs(urlsplit(ws.url).query)
        self.ctx.accept_web_socket(ws, query.get("tag", []))
        ws.attachment = query["name"][0]

    async def web_socket_message(self, ws: Any, message: str | bytes) -> None:
        if isinstance(message, bytes):
            ws.send(message)
        else:
            ws.send(json.dumps(await self.play(*json.loads(message))))

    async def web_socket_close(self, ws: Any, code: int, reason: str, was_clean: bool) -> None:
        self._append("log", ["close", ws.attachment, code, was_clean])

    async def web_socket_resume(self) -> None:
        self._append("log", ["resume"])

    # -- steps: what is stored

    def _put(self, key: str, value: Any) -> None:
        self.ctx.storage.put(key, value)

    def _get(self, key: str, default: Any = None) -> Any:
        return self.ctx.storage.get(key, default)

    def _add(self, key: str = "count", amount: int = 1) -> int:
        total = int(self._get(key, 0)) + amount
        self._put(key, total)
        return total

    def _append(self, key: str, value: Any) -> None:
        self._put(key, [*self._get(key, []), value])

    def _mutate(self, key: str, value: Any) -> Any:
        """Store a list, then change one's own, and the one that comes back."""
        self._put(key, value)
        value.append("mine")
        self._get(key).append("yours")
        return self._get(key)

    def _list(self, options: dict[str, Any]) -> list[str]:
        return list(self.ctx.storage.list(**options))

    def _sql(self, statement: str, *bindings: Any) -> list[Any]:
        return self.ctx.storage.sql.exec(statement, *bindings).to_list()

    def _delete_all(self) -> None:
        self.ctx.storage.delete_all()

    async def _together(self, inside: list[Step], fails: bool) -> Any:
        """Play steps in a `transaction()`; whether it was left by an exception."""
        try:
            with self.ctx.storage.transaction():
                await self.play(*inside)
                if fails:
                    raise LookupError
        except LookupError:
            return "undone"

    # -- steps: alarms

    def _alarm_in(self, ms: int) -> int:
        due = self.ctx.now() + ms
        self.ctx.storage.set_alarm(due)
        return due

    def _alarm(self) -> int | None:
        return self.ctx.storage.get_alarm()

    # -- steps: the event's course

    async def _flush(self) -> None:
        await self.ctx.flush()

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _raise(self, message: str) -> None:
        raise ValueError(message)

    def _raise_before(self, ms: int) -> None:
        if self.ctx.now() < ms:
            raise ValueError("too early")

    def _refuse(self, message: str, fields: dict[str, Any]) -> None:
        raise SubjectError(message, **fields)

    async def _ask(self, name: str, *steps: Step) -> Any:
        return await Subject.namespace.get_by_name(name).play(*steps)

    # -- steps: what comes back

    def _echo(self, value: Any) -> Any:
        return value

    def _blob(self, size: int) -> bytes:
        return bytes(size)

    def _nested(self, depth: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        return value

    def _now(self) -> int:
        return self.ctx.now()

    def _who(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "incarnation": self.incarnation,
            "name": self.ctx.id.name,
            "name at start": self.name_at_start,
        }

    def _mark(self, value: Any = None) -> Any:
        """Remember something in memory only; what was remembered before."""
        before = getattr(self, "remembered", None)
        self.remembered = value
        return before

    # -- steps: sockets

    def _sockets(self, tag: str | None = None) -> list[Any]:
        return [[ws.attachment, ws.tags] for ws in self.ctx.get_web_sockets(tag)]

    def _attach(self, value: Any) -> None:
        for ws in self.ctx.get_web_sockets():
            ws.attachment = value

    def _broadcast(self, text: str, tag: str | None = None) -> None:
        self.ctx.broadcast(text, tag)

    def _close(self, code: int, reason: str) -> None:
        for ws in self.ctx.get_web_sockets():
            ws.close(code, reason)

    def _auto_response(self, request: str, response: str) -> None:
        self.ctx.set_web_socket_auto_response(request, response)
