"""The mistakes that everybody makes first: each has an error of its own, whose message says what to do.

Another one, stored objects of a class whose migration is missing, is a system check: durable.W006 in test_checks.py.
"""

import asyncio
import contextvars
from pathlib import Path
from typing import Any

import pytest

from durable import DurableObject
from durable.client import ClusterClient
from durable.conf import DurableSettings
from durable.errors import (
    SocketError,
    SocketNotAcceptedError,
    StorageOutsideEventError,
    TooManySocketsError,
    UnavailableError,
    UnknownClassError,
)
from durable.gateway.sockets import ObjectSocketConsumer
from durable.runtime.registry import registry
from durable.testing import LocalObjects


class Beginner(DurableObject):
    """Makes the mistakes."""

    max_sockets = 1

    async def leak(self) -> str:
        storage = self.ctx.storage

        async def later() -> None:
            storage.put("x", 1)

        try:
            await asyncio.get_running_loop().create_task(later(), context=contextvars.Context())
        except StorageOutsideEventError as error:
            return str(error)
        return ""

    async def web_socket_connect(self, ws: Any) -> None:
        if ws.user.get("hasty"):
            try:
                ws.send("welcome")
            except SocketNotAcceptedError as error:
                self.said = str(error)
            return
        try:
            self.ctx.accept_web_socket(ws)
        except TooManySocketsError as error:
            self.said = str(error)

    async def heard(self) -> str:
        return self.said


def test_an_object_class_that_is_not_found() -> None:
    with pytest.raises(UnknownClassError) as found:
        registry.get("Beginer")
    assert "did you mean 'Beginner'?" in str(found.value)
    assert "INSTALLED_APPS" in str(found.value)
    assert "objects.py" in str(found.value)


def test_a_name_where_an_id_is_wanted() -> None:
    with pytest.raises(TypeError, match=r"takes an ObjectId, not str: get_by_name\(\) takes a name"):
        Beginner.namespace.get("a")  # type: ignore[arg-type]  # the mistake itself


async def test_a_call_that_is_not_awaited(local: LocalObjects) -> None:
    forgotten = [Beginner.namespace.get_by_name("d").heard()]
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Beginner\.heard' was never awaited"):
        forgotten.clear()


async def test_a_call_where_no_service_is_known(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as raised:
        ClusterClient(DurableSettings(data_dir=tmp_path), "client")
    for way in ("manage.py serve", "service.json", "durable.testing"):
        assert way in str(raised.value)


@pytest.mark.parametrize("returned", [None, Beginner.namespace.get_by_name("e")], ids=["None", "a stub"])
async def test_a_consumer_that_returns_no_target(returned: Any) -> None:
    class Forgetful(ObjectSocketConsumer):
        async def connect(self, scope: Any) -> Any:
            return returned

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    scope = {"type": "websocket", "headers": [(b"host", b"localhost")], "scheme": "ws"}
    with pytest.raises(
        TypeError, match=r"Forgetful\.connect\(\) returns a SocketTarget, not (NoneType|Stub)"
    ):
        await Forgetful.as_asgi()(scope, receive, send)


async def test_storage_outside_an_event(local: LocalObjects) -> None:
    said = await Beginner.namespace.get_by_name("a").leak()
    assert "inside an event only" in said
    assert "self.ctx.run" in said


async def test_a_socket_used_before_it_was_accepted(local: LocalObjects) -> None:
    stub = Beginner.namespace.get_by_name("b")
    await local.connect(stub, user={"hasty": True})
    assert "self.ctx.accept_web_socket(ws)" in await stub.heard()
    assert issubclass(SocketNotAcceptedError, SocketError)


async def test_W4_too_many_sockets_on_one_object(local: LocalObjects) -> None:
    stub = Beginner.namespace.get_by_name("c")
    first = await local.connect(stub)
    second = await local.connect(stub)
    assert (first.close_code, second.close_code) == (None, 4403)
    said = await stub.heard()
    assert "all of the 1 sockets" in said
    assert "max_sockets" in said
