"""An object whose behaviour each test gives it: methods and hooks are functions of the test's own."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from durable import DurableObject, concurrent
from durable.errors import DurableError

STEPS: dict[int, Callable[..., Any]] = {}
HOOKS: dict[str, Callable[..., Any]] = {}
_numbers = itertools.count()


async def _hook(name: str, *args: Any) -> None:
    if name in HOOKS:
        result = HOOKS[name](*args)
        if asyncio.iscoroutine(result):
            await result


class Lab(DurableObject):
    """Runs what the test says."""

    async def run(self, step: int, args: list[Any]) -> Any:
        result = STEPS[step](self, *args)
        return await result if asyncio.iscoroutine(result) else result

    @concurrent
    async def run_beside(self, step: int, args: list[Any]) -> Any:
        result = STEPS[step](self, *args)
        return await result if asyncio.iscoroutine(result) else result

    async def increment(self) -> int:
        value = self.ctx.storage.get("value", 0) + 1
        self.ctx.storage.put("value", value)
        return value

    async def value(self) -> int:
        return self.ctx.storage.get("value", 0)

    async def start(self) -> None:
        await _hook("start", self)

    async def alarm(self, info: Any) -> None:
        await _hook("alarm", self, info)

    async def web_socket_connect(self, ws: Any) -> None:
        if "connect" in HOOKS:
            await _hook("connect", self, ws)
        else:
            self.ctx.accept_web_socket(ws)

    async def web_socket_message(self, ws: Any, message: Any) -> None:
        await _hook("message", self, ws, message)

    async def web_socket_close(self, ws: Any, code: int, reason: str, was_clean: bool) -> None:
        await _hook("close", self, ws, code, reason, was_clean)

    async def web_socket_resume(self) -> None:
        await _hook("resume", self)


class RelaxedLab(Lab):
    """The same, with writes that are synced later."""

    durability = "relaxed"


class SmallLab(Lab):
    """The same, with low limits."""

    max_queue = 3
    max_sockets = 2
    event_timeout = 5.0
    web_socket_error = "that failed"


def lab(name: str = "lab", kind: type[Lab] = Lab) -> Lab:
    """A stub."""
    return kind.namespace.get_by_name(name)


async def do(stub: Lab, step: Callable[..., Any], *args: Any) -> Any:
    """Run `step(object, *args)` as an event of the object; its result, or what it raised as a caller sees it."""
    number = next(_numbers)
    STEPS[number] = step
    return await stub.run(number, list(args))


async def do_beside(stub: Lab, step: Callable[..., Any], *args: Any) -> Any:
    """Run `step` as a @concurrent method."""
    number = next(_numbers)
    STEPS[number] = step
    return await stub.run_beside(number, list(args))


def put(obj: Lab, key: str, value: Any) -> None:
    obj.ctx.storage.put(key, value)


def get(obj: Lab, key: str) -> Any:
    return obj.ctx.storage.get(key)


async def fails(step: Callable[..., Any], *args: Any) -> DurableError:
    """Run a step that must fail; its error. Afterwards the object and its neighbour are unharmed, and nothing is left of it."""
    await lab().increment()
    before = await lab().value()
    await lab("neighbour").increment()
    with pytest.raises(DurableError) as caught:
        await do(lab(), step, *args)
    assert await do(lab(), get, "trace") is None
    assert await lab().increment() == before + 1
    assert await lab("neighbour").value() >= 1
    return caught.value


def leave_a_trace(obj: Lab) -> None:
    put(obj, "trace", 1)
