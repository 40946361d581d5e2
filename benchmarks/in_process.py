"""An object called on its host itself, in the worker's own process: what the runtime costs without link and Redis."""

from __future__ import annotations

import asyncio
from typing import Any

from durable.core import codec
from durable.core.envelope import Call, CallId, Target
from durable.runtime.host import Host


class _Once:
    """Waits for one answer in the worker's own process."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def reply(self, value: bytes | None) -> None:
        self.done.set_result(value)

    def fail(self, error: BaseException) -> None:
        self.done.set_exception(error)

    def not_owner(self, owner: str | None) -> None:
        self.done.set_exception(RuntimeError("the object has moved"))


class InProcess:
    """Calls one object on its host itself: no link, no Redis; from dispatch to the released reply."""

    def __init__(self, host: Host, stub: Any) -> None:
        self._host = host
        self._target = Target(stub.id.class_key, str(stub.id), stub.id.name)
        self._number = 0

    async def ask(self, method: str) -> int:
        """Call a method without arguments."""
        self._number += 1
        call = Call(0, self._target, method, codec.encode([[], {}]), CallId("bench", 0, self._number), [])
        answer = _Once()
        self._host.dispatch(call, "bench", answer)
        return int(codec.decode(await answer.done or b""))

    async def evict(self) -> None:
        """Put the object to sleep."""
        leaving = self._host.evict(self._target.id)
        if leaving is not None:
            await leaving
