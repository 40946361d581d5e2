"""Calls: what travels, what can be called, what an error leaves behind, and what a death does not double."""

import asyncio
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from durable import RemoteError
from durable.errors import (
    NotCallableError,
    ObjectResetError,
    ReentrantCallError,
    StorageLimitError,
    ValueRefusedError,
)

from .ground import Ground
from .subject.objects import Subject

pytestmark = pytest.mark.timeout(120)
VALUES: list[Any] = [
    None, True, 0, -(2**63), 2**64, -(10**40), 1.5, float("inf"), "", "text 🦉", b"\0\xff",
    datetime(2026, 1, 2, 3, 4, 5, 6), datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), UUID(int=7), Decimal("1.10"),
    [1, [2]], (1, (2, "x")), {"a": {"b": 1}}, {1: 2, (1, 2): "x"}, {1, 2},
]  # fmt: skip


async def test_C1_values_return_as_themselves_in_value_and_type(ground: Ground, subject: Subject) -> None:
    (returned,) = await subject.play(["echo", VALUES])
    assert returned == VALUES
    assert [type(value) for value in returned] == [type(value) for value in VALUES]


async def test_C1_arguments_are_copies(ground: Ground, subject: Subject) -> None:
    mine = ["mine"]
    (returned,) = await subject.play(["echo", mine])
    returned.append("theirs")
    assert mine == ["mine"]


async def test_C1_what_cannot_travel_is_refused_by_the_name_of_its_type(
    ground: Ground, subject: Subject
) -> None:
    with pytest.raises(ValueRefusedError, match="complex"):
        await subject.play(["echo", 1j])
    assert await subject.play(["add"]) == [1]


async def test_C2_calls_through_one_stub_start_in_the_order_made(ground: Ground, subject: Subject) -> None:
    await asyncio.gather(*(subject.play(["append", "order", n]) for n in range(50)))
    assert await subject.play(["get", "order"]) == [list(range(50))]


@pytest.mark.parametrize("method", ["missing", "_do", "start", "alarm", "ctx", "migrations", "__init__"])
async def test_C3_other_names_are_not_callable_and_harm_nothing(
    ground: Ground, subject: Subject, name: str, method: str
) -> None:
    await subject.play(["mark", "unharmed"])
    with pytest.raises(NotCallableError):
        await ground.call(Subject.namespace.id_from_name(name), method, b"\x01\x92\x90\x80")
    assert await subject.play(["mark"]) == ["unharmed"]


async def test_C4_an_exception_arrives_with_name_message_and_fields_only(
    ground: Ground, subject: Subject
) -> None:
    with pytest.raises(RemoteError) as caught:
        await subject.play(["raise", "no such thing"])
    assert (caught.value.error_type, caught.value.message, caught.value.declared) == (
        "ValueError", "no such thing", False,
    )  # fmt: skip
    with pytest.raises(RemoteError) as caught:
        await subject.play(["refuse", "not now", {"until": 5}])
    error = caught.value
    assert (error.error_type, error.message, error.fields, error.declared) == (
        "SubjectError", "not now", {"until": 5}, True,
    )  # fmt: skip
    assert "Traceback" not in str(error)
    assert await subject.play(["add"]) == [1]


async def test_C5_a_raising_event_leaves_no_trace(ground: Ground, subject: Subject) -> None:
    client = await ground.connect(subject, "ann")
    await subject.play(["mark", "old instance"])
    writing = [
        ["put", "k", 1], ["sql", "INSERT INTO note (text) VALUES ('x')"], ["alarm_in", 60_000],
        ["attach", "changed"], ["broadcast", "never"],
    ]  # fmt: skip
    with pytest.raises(RemoteError):
        await subject.play(*writing, ["raise", "no"])
    looks = [["get", "k"], ["sql", "SELECT * FROM note"], ["alarm"], ["sockets"], ["mark"]]
    assert await subject.play(*looks) == [None, [], None, [["ann", []]], None]
    await subject.play(["broadcast", "next"])
    assert await client.receive() == "next"


async def test_C5_an_object_error_before_any_write_keeps_the_instance(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["mark", "kept"])
    with pytest.raises(RemoteError):
        await subject.play(["get", "k"], ["refuse", "no", {}])
    assert await subject.play(["mark"]) == ["kept"]
    with pytest.raises(RemoteError):
        await subject.play(["put", "k", 1], ["refuse", "no", {}])
    assert await subject.play(["mark"], ["get", "k"]) == [None, None]


async def test_C5_after_a_flush_only_what_came_since_is_undone(ground: Ground, subject: Subject) -> None:
    with pytest.raises(RemoteError):
        await subject.play(["put", "a", 1], ["flush"], ["put", "b", 2], ["raise", "no"])
    assert await subject.play(["get", "a"], ["get", "b"]) == [1, None]


async def calls_made(witness: Subject) -> int:
    """How many calls another object has had."""
    return len((await witness.play(["get", "calls", []]))[0])


async def test_C6_a_call_whose_owner_dies_takes_effect_once_and_so_do_the_calls_it_made(
    ground: Ground, subject: Subject, name: str
) -> None:
    witness = Subject.namespace.get_by_name(f"{name} witness")
    await subject.play(["put", "count", 0])
    tell = ["ask", f"{name} witness", ["append", "calls", 1]]
    call = asyncio.create_task(subject.play(tell, ["wait", 0.3], ["add"]))

    async def told() -> bool:
        return await calls_made(witness) == 1

    await ground.eventually(told)
    await ground.kill_owner(subject)
    assert (await call)[2] == 1
    assert await subject.play(["get", "count"]) == [1]
    assert await calls_made(witness) == 1


async def test_C8_a_call_that_had_flushed_when_its_owner_died_is_not_run_again(
    ground: Ground, subject: Subject, name: str
) -> None:
    witness = Subject.namespace.get_by_name(f"{name} witness")
    tell = ["ask", f"{name} witness", ["append", "calls", 1]]
    call = asyncio.create_task(subject.play(["add"], ["flush"], tell, ["wait", 5.0], ["add"]))

    async def told() -> bool:
        return await calls_made(witness) == 1

    await ground.eventually(told)
    await ground.kill_owner(subject)
    with pytest.raises(ObjectResetError) as caught:
        await call
    assert caught.value.delivered == "unknown"
    assert await subject.play(["get", "count"]) == [1]
    assert await calls_made(witness) == 1


async def test_C7_a_cycle_of_calls_fails_at_once_and_names_it(
    ground: Ground, subject: Subject, name: str
) -> None:
    with pytest.raises(
        ReentrantCallError, match=f"Subject\\({name}\\) -> Subject\\({name} b\\) -> Subject\\({name}\\)"
    ):
        await subject.play(["ask", f"{name} b", ["ask", name, ["add"]]])
    assert await subject.play(["add"]) == [1]


async def test_C9_a_value_that_is_too_large_or_too_deep_is_refused_and_harms_nothing(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["mark", "unharmed"])
    for value in (json.loads("[" * 70 + "]" * 70), bytes(33 << 20)):
        with pytest.raises(ValueRefusedError):
            await subject.play(["echo", value])
    assert await subject.play(["mark", "unharmed"]) == ["unharmed"]
    for step in (["blob", 33 << 20], ["nested", 70]):
        with pytest.raises(ValueRefusedError):
            await subject.play(step)
    assert len((await subject.play(["blob", 8 << 20]))[0]) == 8 << 20


async def test_S3_a_key_or_a_value_beyond_the_limit_is_refused_and_nothing_stored(
    ground: Ground, subject: Subject
) -> None:
    for step in (["put", "k" * 2049, 1], ["put", "k", bytes(2 << 20)]):
        with pytest.raises(StorageLimitError):
            await subject.play(["put", "other", 1], step)
    assert await subject.play(["list", {}]) == [[]]
