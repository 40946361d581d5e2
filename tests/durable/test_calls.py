"""Calls: what travels, what can be called, and what an error leaves behind."""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.utils.translation import gettext_lazy

from durable import DurableObject, ObjectError, RemoteError
from durable.core.codec import MAX_BYTES
from durable.errors import (
    ArgumentError,
    DurableError,
    EventTimeoutError,
    NotCallableError,
    ObjectResetError,
    ReentrantCallError,
    ValueRefusedError,
)
from durable.testing import CrashPoint, LocalObjects
from tests.durable.lab import HOOKS, Lab, SmallLab, do, do_beside, get, lab, put


class Point(msgspec.Struct):
    x: int
    y: int


@dataclass
class Pair:
    left: str
    right: list[int]


class Plot(DurableObject):
    """Takes and gives declared types."""

    attribute = 5

    async def mirror(self, point: Point) -> Point:
        assert isinstance(point, Point)
        return Point(point.y, point.x)

    async def swap(self, pair: Pair) -> Pair:
        assert isinstance(pair, Pair)
        return Pair(pair.right[0].__str__(), [len(pair.left)])

    async def add(self, one: int, other: int = 1) -> int:
        return one + other

    def plain(self) -> int:
        return 1

    async def _private(self) -> int:
        return 1


class RefusalError(ObjectError):
    """What a class raises on purpose."""


VALUES: list[Any] = [
    None, True, 0, -(2**63), 2**64 - 1, 2**64, -(10**40), 1.5, float("inf"), "", "text 🦉", b"\0\xff",
    datetime(2026, 1, 2, 3, 4, 5, 6), datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))), date(2026, 1, 2),
    UUID(int=7), Decimal("1.10"), [1, [2]], (1, (2, "x")), {"a": {"b": 1}}, {1: 2, (1, 2): "tuple key"}, {1, 2},
    {"mixed": [(1, {2}), Decimal(3), None]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_C1_values_arrive_and_return_as_themselves(local: LocalObjects, value: Any) -> None:
    arrived = []
    returned = await do(lab(), lambda obj, given: arrived.append(given) or given, value)
    assert (returned, type(returned)) == (value, type(value))
    assert (arrived, type(arrived[0])) == ([value], type(value))


async def test_C1_arguments_are_copies(local: LocalObjects) -> None:
    mine = [1]
    returned = await do(lab(), lambda obj, given: given.append(2) or given, mine)
    assert (mine, returned) == ([1], [1, 2])


async def test_C1_declared_structs_and_dataclasses_come_as_themselves(local: LocalObjects) -> None:
    plot = Plot.namespace.get_by_name("p")
    assert await plot.mirror(Point(1, 2)) == Point(2, 1)
    assert await plot.swap(Pair("abc", [7])) == Pair("7", [3])


@pytest.mark.parametrize("value", [object(), {"deep": [frozenset()]}, range(3), 1 + 2j], ids=repr)
async def test_C1_anything_else_is_refused_by_the_name_of_its_type(local: LocalObjects, value: Any) -> None:
    with pytest.raises(ValueRefusedError, match=r"object|frozenset|range|complex"):
        await do(lab(), lambda obj, given: None, value)
    with pytest.raises(ValueRefusedError, match=r"object|frozenset|range|complex"):
        await do(lab(), lambda obj: value)


async def test_C1_an_argument_that_does_not_fit_its_annotation_is_refused_by_name(
    local: LocalObjects,
) -> None:
    plot: Any = Plot.namespace.get_by_name("p")
    with pytest.raises(ArgumentError, match="'one'"):
        await plot.add("1")
    with pytest.raises(ArgumentError):
        await plot.add(1, 2, 3)
    assert await plot.add(1, other=2) == 3


async def test_C2_calls_through_one_stub_start_in_the_order_made(local: LocalObjects) -> None:
    order: list[int] = []
    await asyncio.gather(*(do(lab(), lambda obj, n: order.append(n), n) for n in range(50)))
    assert order == list(range(50))


@pytest.mark.parametrize(
    "name", ["missing", "_private", "plain", "attribute", "ctx", "start", "alarm", "namespace", "run"]
)
async def test_C3_other_names_are_not_callable_and_harm_nothing(local: LocalObjects, name: str) -> None:
    plot = Plot.namespace.get_by_name("p")
    with pytest.raises(NotCallableError):
        getattr(plot, name)
    assert not hasattr(plot, name)
    with pytest.raises(NotCallableError):  # nor from a gateway that does not know the class
        await local.call(plot.id, name, b"\x01\x92\x90\x80")  # type: ignore[attr-defined]
    assert await plot.add(1) == 2


class Measured:
    """A mixin: no object class."""

    async def measure(self) -> int:
        return 1


class Garden(Measured, Plot):
    """Builds on another object class."""


async def test_C3_methods_are_inherited_from_object_classes_and_from_nothing_else(
    local: LocalObjects,
) -> None:
    garden = Garden.namespace.get_by_name("g")
    assert await garden.add(1) == 2
    with pytest.raises(NotCallableError, match="no callable method 'measure'"):
        await garden.measure()


async def test_C4_an_exception_arrives_with_name_and_message_only(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        raise LookupError("no such thing")

    with pytest.raises(RemoteError) as caught:
        await do(lab(), fail)
    error = caught.value
    assert (error.error_type, error.message, error.fields, error.declared) == (
        "LookupError",
        "no such thing",
        {},
        False,
    )
    assert "Traceback" not in str(error)
    assert error.__cause__ is None
    assert await lab().increment() == 1


@pytest.mark.parametrize(
    ("message", "text"), [(gettext_lazy("not enough left"), "not enough left"), (5, "5")]
)
async def test_C4_an_object_errors_message_need_be_no_text(
    local: LocalObjects, message: Any, text: str
) -> None:
    def refuse(obj: Lab) -> None:
        raise ObjectError(message)

    with pytest.raises(RemoteError) as caught:
        await do(lab(), refuse)
    assert caught.value.message == text


async def test_C4_an_object_error_arrives_with_its_fields(local: LocalObjects) -> None:
    def refuse(obj: Lab) -> None:
        raise RefusalError("not now", until=5)

    with pytest.raises(RemoteError) as caught:
        await do(lab(), refuse)
    error = caught.value
    assert (error.error_type, error.message, error.fields, error.declared) == (
        "RefusalError",
        "not now",
        {"until": 5},
        True,
    )


async def test_C5_a_raising_event_leaves_no_trace_in_storage(local: LocalObjects) -> None:
    def write_then_fail(obj: Lab) -> None:
        put(obj, "key", 1)
        obj.ctx.storage.sql.exec("CREATE TABLE t (x)")
        obj.ctx.storage.set_alarm(obj.ctx.now() + 1000)
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), write_then_fail)
    assert await do(lab(), get, "key") is None
    tables = "SELECT name FROM sqlite_schema WHERE name = 't'"
    assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec(tables).to_list()) == []
    assert local.alarm(lab()) is None
    await local.crash()
    assert await do(lab(), get, "key") is None


async def test_C5_a_raising_event_leaves_no_trace_in_output(local: LocalObjects) -> None:
    ws = await local.connect(lab())

    def send_then_fail(obj: Lab) -> None:
        obj.ctx.broadcast("never")
        obj.ctx.get_web_sockets()[0].close(4000, "never")
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), send_then_fail)
    await local.settle()
    assert (ws.take(), ws.is_open) == ([], True)


async def test_C5_a_raising_event_discards_the_instance(local: LocalObjects) -> None:
    starts = []
    HOOKS["start"] = lambda obj: starts.append(obj)

    def fail(obj: Lab) -> None:
        obj.half_done = True  # type: ignore[attr-defined]
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), fail)
    assert await do(lab(), lambda obj: hasattr(obj, "half_done")) is False
    assert len(starts) == 2


async def test_C5_an_object_error_before_any_write_keeps_the_instance(local: LocalObjects) -> None:
    def refuse(obj: Lab) -> None:
        obj.mark = 1  # type: ignore[attr-defined]
        raise RefusalError("no")

    with pytest.raises(RemoteError):
        await do(lab(), refuse)
    assert await do(lab(), lambda obj: obj.mark) == 1


async def test_C5_an_object_error_after_a_write_discards_the_instance(local: LocalObjects) -> None:
    def write_then_refuse(obj: Lab) -> None:
        obj.mark = 1  # type: ignore[attr-defined]
        put(obj, "key", 1)
        raise RefusalError("no")

    with pytest.raises(RemoteError):
        await do(lab(), write_then_refuse)
    assert await do(lab(), lambda obj: (hasattr(obj, "mark"), get(obj, "key"))) == (False, None)


async def test_C5_after_a_flush_only_the_segment_since_then_is_undone(local: LocalObjects) -> None:
    async def two_segments(obj: Lab) -> None:
        put(obj, "first", 1)
        await obj.ctx.flush()
        put(obj, "second", 2)
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), two_segments)
    assert await do(lab(), lambda obj: (get(obj, "first"), get(obj, "second"))) == (1, None)


async def test_C6_a_call_whose_owner_died_before_its_commit_runs_once(local: LocalObjects) -> None:
    started, attempts = asyncio.Event(), []

    async def slow_once(obj: Lab) -> int:
        attempts.append(1)
        put(obj, "count", (get(obj, "count") or 0) + 1)
        if len(attempts) == 1:
            started.set()
            await asyncio.Event().wait()
        return get(obj, "count")  # type: ignore[no-any-return]

    call = asyncio.create_task(do(lab(), slow_once))
    await started.wait()
    await local.crash()
    assert await call == 1
    assert await do(lab(), get, "count") == 1


async def test_C6_a_call_whose_owner_died_before_the_answer_gets_the_first_answer(
    local: LocalObjects,
) -> None:
    attempts = []

    def count(obj: Lab) -> list[int]:
        attempts.append(1)
        put(obj, "count", (get(obj, "count") or 0) + 1)
        return [get(obj, "count"), len(attempts)]

    local.commits.hold()  # committed, but nothing may leave yet
    call = asyncio.create_task(do(lab(), count))
    await local.commits.waiting()
    await local.crash()
    local.commits.release()
    assert await call == [1, 1]
    assert await do(lab(), get, "count") == 1
    assert len(attempts) == 1


async def test_C6_many_calls_in_flight_each_take_effect_once(local: LocalObjects) -> None:
    local.commits.hold()
    calls = [asyncio.create_task(lab().increment()) for _ in range(30)]
    await local.commits.waiting()
    await local.crash()
    local.commits.release()
    assert await asyncio.gather(*calls) == list(range(1, 31))
    assert await lab().value() == 30


async def test_C6_a_repeated_event_does_not_repeat_its_calls_on_others(local: LocalObjects) -> None:
    called, attempts = asyncio.Event(), []

    async def call_other(obj: Lab) -> int:
        attempts.append(1)
        value = await lab("other").increment()
        if len(attempts) == 1:
            called.set()
            await asyncio.Event().wait()
        return value

    call = asyncio.create_task(do(lab("one"), call_other))
    await called.wait()
    await local.crash()
    assert await call == 1
    assert len(attempts) == 2
    assert await lab("other").value() == 1


async def test_C6_a_repeated_alarm_does_not_repeat_its_calls_on_others(local: LocalObjects) -> None:
    called, attempts = asyncio.Event(), []

    async def call_other(obj: Lab, info: Any) -> None:
        attempts.append(tuple(info))
        await lab("other").increment()
        if len(attempts) == 1:
            called.set()
            await asyncio.Event().wait()

    HOOKS["alarm"] = call_other
    due = local.clock.now() + 10
    await do(lab("one"), lambda obj: obj.ctx.storage.set_alarm(due))
    local.clock.advance_ms(10)
    await local.worker.wake_due()
    await called.wait()
    await local.crash()
    await local.run_alarm(lab("one"))
    assert attempts == [(due, 0), (due, 0)]
    assert await lab("other").value() == 1


async def test_C6_an_alarm_set_again_for_the_same_time_is_another_event(local: LocalObjects) -> None:
    async def call_other(obj: Lab, info: Any) -> None:
        await lab("other").increment()

    HOOKS["alarm"] = call_other
    due = local.clock.now()
    for _ in range(2):
        await do(lab("one"), lambda obj: obj.ctx.storage.set_alarm(due))
        await local.advance(0)
    assert await lab("other").value() == 2


async def test_C6_a_repeated_start_does_not_repeat_its_calls_on_others(local: LocalObjects) -> None:
    called, attempts = asyncio.Event(), []

    async def call_other(obj: Lab) -> None:
        if obj.ctx.id.name != "one":
            return
        attempts.append(1)
        await lab("other").increment()
        if len(attempts) == 1:
            called.set()
            await asyncio.Event().wait()

    HOOKS["start"] = call_other
    call = asyncio.create_task(lab("one").increment())
    await called.wait()
    await local.crash()
    assert await call == 1
    assert len(attempts) == 2
    assert await lab("other").value() == 1


@pytest.mark.parametrize("result", [7, object()], ids=["a value", "no value that could be kept"])
async def test_C6_a_repeated_concurrent_call_does_not_repeat_what_it_has_run(
    local: LocalObjects, result: Any
) -> None:
    ran, attempts = asyncio.Event(), []

    async def count(obj: Lab) -> int:
        attempts.append(1)

        def increment() -> Any:
            put(obj, "value", (get(obj, "value") or 0) + 1)
            return result

        got = await obj.ctx.run(increment)
        if len(attempts) == 1:
            ran.set()
            await asyncio.Event().wait()
        return got  # type: ignore[no-any-return]

    call = asyncio.create_task(do_beside(lab(), count))
    await ran.wait()
    await local.crash()
    if result == 7:
        assert await call == 7
    else:
        with pytest.raises(ObjectResetError) as caught:
            await call
        assert caught.value.delivered == "unknown"
    assert len(attempts) == 2
    assert await lab().value() == 1


async def test_C6_answered_calls_leave_no_growing_record(local: LocalObjects) -> None:
    for _ in range(20):
        await lab().increment()
    database = local.host.activations[str(lab().id)].gate.store.database  # type: ignore[attr-defined]
    assert database.row("SELECT count(*) FROM _do_calls")[0] == 1


@pytest.mark.parametrize("method", ["increment", "value"])
async def test_C6_calls_side_by_side_take_effect_once_in_whatever_order_the_repeat_makes_them(
    local: LocalObjects, method: str
) -> None:
    """Both of another object, or one of them of another method."""
    attempts, first_done = [], asyncio.Event()
    other = lab("b") if method == "value" else lab("c")

    async def both(obj: Lab) -> Any:
        attempts.append(1)
        is_first = len(attempts) == 1
        order = [asyncio.Event(), asyncio.Event()]
        (order[0] if is_first else order[1]).set()

        async def after(turn: int, stub: Lab, name: str) -> Any:
            await order[turn].wait()
            try:
                return (
                    await do(stub, lambda obj: obj.increment())
                    if name == "do"
                    else await getattr(stub, name)()
                )
            finally:
                order[1 - turn].set()

        got = await asyncio.gather(after(0, lab("b"), "do"), after(1, other, method))
        if is_first:
            first_done.set()
            await asyncio.Event().wait()
        return got

    call = asyncio.create_task(do(lab(), both))
    await first_done.wait()
    await local.crash()
    assert await call == [1, 1]
    assert len(attempts) == 2
    assert await lab("b").value() == 1
    assert await lab("c").value() == (1 if method == "increment" else 0)


async def test_C6_what_an_object_left_empty_gave_away_is_given_again(local: LocalObjects) -> None:
    def take(obj: Lab) -> Any:
        item = get(obj, "item")
        obj.ctx.storage.delete("item")
        return item

    async def move(obj: Lab) -> None:
        item = await do(lab("giver"), take)
        await local.evict(lab("giver"))
        put(obj, "item", item)

    await do(lab("giver"), put, "item", "gold")
    async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab()):
        await do(lab(), move)
    assert await do(lab(), get, "item") == "gold"
    await local.evict(lab("giver"))
    assert local.has_file(lab("giver"))
    await local.advance(601)
    await local.advance(11)
    assert not local.is_active(lab("giver"))
    assert not local.has_file(lab("giver"))
    assert len(local.catalog.entries) == 1


def recorded_calls(local: LocalObjects, stub: Lab) -> int:
    """How many answered calls an active object remembers."""
    database = local.host.activations[str(stub.id)].gate.store.database  # type: ignore[attr-defined]
    return int(database.row("SELECT count(*) FROM _do_calls")[0])


async def test_C6_what_nobody_can_repeat_is_forgotten_though_the_object_often_sleeps(
    local: LocalObjects,
) -> None:
    for _ in range(5):
        await do(lab("caller"), lambda obj: lab().increment())
        await local.advance(601)
        assert not local.is_active(lab())
    assert await lab().increment() == 6
    assert recorded_calls(local, lab()) == 1


async def test_C6_the_calls_of_callers_that_are_gone_are_forgotten_one_day(local: LocalObjects) -> None:
    for _ in range(3):
        await local.add_gateway()
        await lab().increment()
    await local.advance(3600)
    await lab().increment()
    assert recorded_calls(local, lab()) == 3
    await local.advance(7 * 86400)
    await lab().increment()
    assert recorded_calls(local, lab()) == 1


async def test_C7_a_cycle_of_calls_fails_at_once_and_names_it(local: LocalObjects) -> None:
    async def call_b(obj: Lab) -> Any:
        return await do(lab("b"), call_a)

    async def call_a(obj: Lab) -> Any:
        return await lab("a").value()

    with pytest.raises(ReentrantCallError, match=re.escape("Lab(a) -> Lab(b) -> Lab(a)")):
        await do(lab("a"), call_b)
    assert await lab("a").value() == 0


async def test_C7_a_cycle_is_seen_though_one_of_its_objects_is_called_by_its_id(local: LocalObjects) -> None:
    async def call_b(obj: Lab) -> Any:
        return await do(lab("b"), call_a, str(obj.ctx.id))

    async def call_a(obj: Lab, object_id: str) -> Any:
        return await Lab.namespace.get(Lab.namespace.id_from_string(object_id)).value()

    with pytest.raises(ReentrantCallError, match=re.escape("Lab(a) -> Lab(b) -> Lab(")):
        await do(lab("a"), call_b)


async def test_C7_a_cycle_through_a_start_fails_at_once(local: LocalObjects) -> None:
    async def start(obj: Lab) -> None:
        if obj.ctx.id.name == "b":
            await lab("a").value()

    HOOKS["start"] = start
    with pytest.raises(ReentrantCallError, match=re.escape("Lab(a) -> Lab(b) -> Lab(a)")):
        await do(lab("a"), lambda obj: lab("b").value())


async def test_C7_a_concurrent_method_may_be_called_back(local: LocalObjects) -> None:
    async def call_b(obj: Lab) -> Any:
        return await do(lab("b"), call_a)

    async def call_a(obj: Lab) -> Any:
        return await do_beside(lab("a"), lambda obj: "called back")

    assert await do(lab("a"), call_b) == "called back"


async def test_C7_a_concurrent_method_uses_storage_through_run_only(local: LocalObjects) -> None:
    async def write_directly(obj: Lab) -> None:
        put(obj, "key", 1)

    async def write_by_event(obj: Lab) -> Any:
        return await obj.ctx.run(lambda: [put(obj, "key", 2), get(obj, "key")])

    with pytest.raises(Exception, match="inside an event only"):
        await do_beside(lab(), write_directly)
    assert await do_beside(lab(), write_by_event) == [None, 2]
    assert await do(lab(), get, "key") == 2


async def test_C8_a_call_whose_caller_has_gone_may_finish(local: LocalObjects) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def slow(obj: Lab) -> None:
        started.set()
        await go.wait()
        put(obj, "key", 1)

    call = asyncio.create_task(do(lab(), slow))
    await started.wait()
    call.cancel()
    go.set()
    assert await do(lab(), get, "key") == 1


async def test_C8_a_call_that_had_flushed_answers_unknown_and_is_not_run_again(local: LocalObjects) -> None:
    flushed, attempts = asyncio.Event(), []

    async def two_segments(obj: Lab) -> None:
        attempts.append(1)
        put(obj, "first", 1)
        await obj.ctx.flush()
        flushed.set()
        put(obj, "second", 2)
        await asyncio.Event().wait()

    call = asyncio.create_task(do(lab(), two_segments))
    await flushed.wait()
    await local.crash()
    with pytest.raises(ObjectResetError) as caught:
        await call
    assert caught.value.delivered == "unknown"
    assert await do(lab(), lambda obj: (get(obj, "first"), get(obj, "second"))) == (1, None)
    assert len(attempts) == 1


async def test_C9_a_value_that_is_too_large_is_refused(local: LocalObjects) -> None:
    huge = b"x" * (MAX_BYTES + 1)
    with pytest.raises(ValueRefusedError, match=str(MAX_BYTES)):
        await do(lab(), lambda obj, given: None, huge)
    with pytest.raises(ValueRefusedError, match=str(MAX_BYTES)):
        await do(lab(), lambda obj: huge)
    assert await lab().increment() == 1


async def test_C9_a_value_that_is_too_deep_is_refused(local: LocalObjects) -> None:
    deep: list[Any] = []
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValueRefusedError, match="64"):
        await do(lab(), lambda obj, given: None, deep)
    with pytest.raises(ValueRefusedError, match="64"):
        await do(lab(), lambda obj: deep)
    assert await lab().increment() == 1


async def test_C10_an_event_over_its_time_is_cancelled_and_rolled_back(local: LocalObjects) -> None:
    stub, started = lab(kind=SmallLab), asyncio.Event()

    async def hang(obj: Lab) -> None:
        put(obj, "key", 1)
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(do(stub, hang))
    await started.wait()
    await local.advance(6)
    with pytest.raises(EventTimeoutError):
        await call
    assert await do(stub, get, "key") is None


async def test_C10_an_event_that_takes_no_notice_of_its_cancellation_is_rolled_back_too(
    local: LocalObjects,
) -> None:
    stub, started = lab(kind=SmallLab), asyncio.Event()

    async def stubborn(obj: Lab) -> None:
        put(obj, "key", 1)
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            put(obj, "key", 2)

    call = asyncio.create_task(do(stub, stubborn))
    await started.wait()
    await local.advance(6)
    with pytest.raises(EventTimeoutError):
        await call
    assert await do(stub, get, "key") is None


async def test_C10_an_event_that_others_have_seen_is_not_said_to_have_left_no_trace(
    local: LocalObjects,
) -> None:
    stub, waits = lab(kind=SmallLab), asyncio.Event()
    ws = await local.connect(stub)

    async def call(obj: Lab) -> None:
        await lab("other").increment()

    async def flush(obj: Lab) -> None:
        obj.ctx.broadcast("seen")
        await obj.ctx.flush()

    async def call_in_vain(obj: Lab) -> None:
        with pytest.raises(DurableError):
            await lab("other").run("no number", [])  # type: ignore[arg-type]

    for step, delivered in ((call, "unknown"), (flush, "unknown"), (call_in_vain, "no")):

        async def hang(obj: Lab, step: Any = step) -> None:
            await step(obj)
            waits.set()
            await asyncio.Event().wait()

        hanging = asyncio.create_task(do(stub, hang))
        await waits.wait()
        await local.advance(6)
        with pytest.raises(EventTimeoutError) as caught:
            await hanging
        assert caught.value.delivered == delivered
        waits.clear()
    assert ws.take() == ["seen"]


async def test_C10_a_concurrent_method_has_the_same_time(local: LocalObjects) -> None:
    stub, started = lab(kind=SmallLab), asyncio.Event()

    async def hang(obj: Lab) -> None:
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(do_beside(stub, hang))
    await started.wait()
    await local.advance(6)
    with pytest.raises(EventTimeoutError):
        await call
