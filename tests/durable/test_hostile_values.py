"""Hostile values: each is refused with a documented error before anything leaves, and the object lives on."""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Any

import pytest

from durable import DurableObject, ObjectError, RemoteError
from durable.core.codec import MAX_BYTES
from durable.errors import (
    SocketError,
    SqlError,
    StorageLimitError,
    ValueRefusedError,
)
from durable.storage.kv import MAX_VALUE_BYTES
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, fails, get, lab, leave_a_trace, put


@pytest.mark.parametrize("how", ["result", "argument", "stored", "attachment", "frame"])
async def test_C1_a_socket_is_refused_by_the_name_of_its_type(local: LocalObjects, how: str) -> None:
    with socket.socket() as plain:
        client = await local.connect(lab())

        def use(obj: Lab) -> Any:
            leave_a_trace(obj)
            if how == "stored":
                put(obj, "socket", [plain])
            elif how == "attachment":
                obj.ctx.get_web_sockets()[0].attachment = {"it": plain}
            elif how == "frame":
                obj.ctx.broadcast(plain)  # type: ignore[arg-type]
            return {"it": plain}

        error = await fails(use, *([plain] if how == "argument" else []))
        assert "socket" in str(error)
        assert isinstance(error, ValueRefusedError) or how == "frame"
        await local.settle()
        assert (client.take(), client.is_open) == ([], True)


@pytest.mark.parametrize(
    "value", [open, lambda: 1, type, asyncio.Lock(), ValueError("x"), iter([1])], ids=repr
)
async def test_C1_what_is_no_value_is_refused_as_a_result(local: LocalObjects, value: Any) -> None:
    def give(obj: Lab) -> Any:
        leave_a_trace(obj)
        return [value]

    error = await fails(give)
    assert isinstance(error, ValueRefusedError)
    assert type(value).__name__ in str(error)


# -- limits


def cycle() -> Any:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def levels(count: int) -> Any:
    value: Any = 0
    for _ in range(count):
        value = [value]
    return value


REFUSED = {
    "cycle": (cycle, "64 levels"),
    "65 levels": (lambda: levels(65), "64 levels"),
    "a thousand levels": (lambda: levels(1000), "64 levels"),
    "lone surrogate": (lambda: "a\ud800", "surrogate"),
    "lone surrogate as a key": (lambda: {"\udfff": 1}, "surrogate"),
    "40 MiB of text": (lambda: "x" * (40 * 1024 * 1024), str(MAX_BYTES)),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["argument", "result", "stored"])
async def test_C9_values_that_cannot_travel_or_rest_are_refused(
    local: LocalObjects, where: str, name: str
) -> None:
    make, problem = REFUSED[name]
    value = make()

    def use(obj: Lab, *_args: Any) -> Any:
        leave_a_trace(obj)
        if where == "stored":
            put(obj, "value", value)
        return value

    error = await fails(use, *([value] if where == "argument" else []))
    assert isinstance(error, ValueRefusedError)
    assert problem in str(error)


async def test_C9_64_levels_travel_and_rest(local: LocalObjects) -> None:
    await do(lab(), lambda obj: put(obj, "value", levels(64)))
    assert await do(lab(), get, "value") == levels(64)


async def test_C1_not_a_number_and_the_infinities_travel_and_rest(local: LocalObjects) -> None:
    await do(lab(), put, "value", [math.nan, math.inf, -math.inf])
    await local.crash()
    nan, *infinities = await do(lab(), get, "value")
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]


@pytest.mark.parametrize(
    "value", ["x" * (MAX_VALUE_BYTES + 1), b"x" * (30 * 1024 * 1024)], ids=["2 MiB", "30 MiB"]
)
async def test_S3_a_value_above_2_mib_travels_but_does_not_rest(local: LocalObjects, value: Any) -> None:
    assert await do(lab(), lambda obj: value) == value

    def store(obj: Lab) -> None:
        leave_a_trace(obj)
        put(obj, "value", value)

    error = await fails(store)
    assert isinstance(error, StorageLimitError)
    assert str(MAX_VALUE_BYTES) in str(error)


@pytest.mark.parametrize(
    "use",
    [
        lambda obj: put(obj, "\ud800", 1),
        lambda obj: get(obj, "\ud800"),
        lambda obj: obj.ctx.storage.list(prefix="\ud800"),
        lambda obj: obj.ctx.storage.sql.exec("SELECT ?", "\ud800").to_list(),
        lambda obj: obj.ctx.storage.sql.exec("SELECT '\ud800'").to_list(),
    ],
    ids=["put", "get", "list", "binding", "statement"],
)
async def test_S5_lone_surrogates_are_refused_where_text_meets_storage(
    local: LocalObjects, use: Callable[[Lab], Any]
) -> None:
    def attempt(obj: Lab) -> Any:
        leave_a_trace(obj)
        return use(obj)

    error = await fails(attempt)
    assert "surrogate" in str(error)
    assert isinstance(error, SqlError | ValueRefusedError)


@pytest.mark.parametrize(
    ("send", "problem"),
    [
        (lambda obj, ws: obj.ctx.broadcast("\ud800"), "surrogate"),
        (lambda obj, ws: ws.send("\ud800"), "surrogate"),
        (lambda obj, ws: ws.close(4000, "\ud800"), "surrogate"),
        (lambda obj, ws: ws.close(4000.5), "4000.5"),
        (lambda obj, ws: obj.ctx.broadcast("x", volatile="\ud800"), "surrogate"),
        (lambda obj, ws: ws.send("x", volatile=object()), "volatile"),
        (lambda obj, ws: ws.send("x" * 40_000_000), "33554432"),
        (lambda obj, ws: obj.ctx.broadcast(b"x" * 40_000_000), "33554432"),
    ],
    ids=["text", "text to one", "reason", "code", "series", "no series", "40 MB of text", "40 MB"],
)
async def test_W4_what_no_frame_can_carry_is_refused_in_the_event(
    local: LocalObjects, send: Callable[[Lab, Any], Any], problem: str
) -> None:
    client = await local.connect(lab())

    def attempt(obj: Lab) -> None:
        leave_a_trace(obj)
        send(obj, obj.ctx.get_web_sockets()[0])

    error = await fails(attempt)
    assert isinstance(error, SocketError)
    assert problem in str(error)
    await local.settle()
    assert (client.take(), client.is_open) == ([], True)


async def test_C4_lone_surrogates_in_an_errors_text_reach_the_caller_escaped(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        leave_a_trace(obj)
        raise ValueError("a\ud800z")

    error = await fails(fail)
    assert isinstance(error, RemoteError)
    assert error.error_type == "ValueError"
    assert error.message.encode()  # is text


async def test_C4_fields_of_an_error_that_cannot_travel_are_named_instead(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        leave_a_trace(obj)
        raise ObjectError("no", it=object(), fine=1, long="x" * 100_000, **{"\ud800": "\ud800"})

    error = await fails(fail)
    assert isinstance(error, RemoteError)
    assert error.error_type == "ObjectError"
    assert error.fields == {"it": "(object)", "fine": 1, "long": "(str)", "\\ud800": "(str)"}


async def test_C4_a_long_text_of_an_error_is_shortened(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        leave_a_trace(obj)
        raise ValueError("x" * 50_000_000)

    error = await fails(fail)
    assert isinstance(error, RemoteError)
    assert error.message.endswith("x… (50000000 characters)")
    assert len(error.message) < 11_000


class MisfitError(ObjectError):
    """Does not make itself as its base asks, and has attributes that no error has."""

    delivered = object()  # type: ignore[assignment]

    def __init__(self) -> None:
        self.fields = ["no", "dict"]  # type: ignore[assignment]


async def test_C4_an_object_error_of_any_make_arrives(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        leave_a_trace(obj)
        raise MisfitError

    error = await fails(fail)
    assert isinstance(error, RemoteError)
    assert (error.error_type, error.fields, error.delivered) == ("MisfitError", {}, "yes")


async def test_C9_an_argument_may_have_64_levels_itself(local: LocalObjects) -> None:
    stub = Mirror.namespace.get_by_name("m")
    assert await stub.show(levels(64)) == levels(64)
    with pytest.raises(ValueRefusedError, match="64"):
        await stub.show(levels(65))


class Mirror(DurableObject):
    """Gives back what it is given."""

    async def show(self, value: Any) -> Any:
        return value


async def test_S5_not_a_number_is_null_to_sqlite_and_an_infinity_is_not(local: LocalObjects) -> None:
    def bind(obj: Lab, value: float) -> Any:
        return obj.ctx.storage.sql.exec("SELECT ?", value).one()

    assert await do(lab(), bind, math.nan) == (None,)
    assert await do(lab(), bind, math.inf) == (math.inf,)
