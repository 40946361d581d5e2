"""Overload: what is bounded, and how it is refused."""

import asyncio
import sys
from typing import Any

import pytest

from durable.errors import MemoryLimitError, OverloadedError, RemoteError, SetAsideError, StorageLimitError
from durable.runtime import host
from durable.runtime.steps import Charge, Steps
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, SmallLab, do, do_beside, lab, put


async def block(stub: Lab) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """Keep the object busy until the event is set."""
    running, go = asyncio.Event(), asyncio.Event()

    async def busy(obj: Lab) -> None:
        running.set()
        await go.wait()

    task = asyncio.create_task(do(stub, busy))
    await running.wait()
    return task, go


async def test_L1_what_does_not_fit_the_queue_is_refused_at_once_and_never_runs(local: LocalObjects) -> None:
    stub, ran = lab(kind=SmallLab), []
    busy, go = await block(stub)
    calls = [asyncio.create_task(do(stub, lambda obj, n: ran.append(n), n)) for n in range(5)]
    await local.settle()
    assert [call.done() for call in calls] == [False, False, False, True, True]
    for call in calls[3:]:
        with pytest.raises(OverloadedError) as caught:
            await call
        assert (caught.value.retryable, caught.value.overloaded, caught.value.delivered) == (True, True, "no")
    go.set()
    await asyncio.gather(busy, *calls[:3])
    assert ran == [0, 1, 2]


async def test_L1_concurrent_events_beyond_the_bound_are_refused_and_never_run(local: LocalObjects) -> None:
    stub, go, ran = lab(kind=SmallLab), asyncio.Event(), []

    async def wait(obj: Lab, n: int) -> None:
        ran.append(n)
        await go.wait()

    for awake in (False, True):
        if awake:
            await stub.value()
        calls = [asyncio.create_task(do_beside(stub, wait, n)) for n in range(5)]
        done, _ = await asyncio.wait(calls[3:])
        for call in done:
            assert isinstance(call.exception(), OverloadedError)
        go.set()
        await asyncio.gather(*calls[:3])
        assert ran == [0, 1, 2]
        go.clear()
        ran.clear()


async def test_L1_it_recovers_by_itself(local: LocalObjects) -> None:
    stub = lab(kind=SmallLab)
    busy, go = await block(stub)
    results = [asyncio.create_task(stub.increment()) for _ in range(5)]
    await local.settle()
    go.set()
    await asyncio.wait([busy, *results])
    assert await stub.increment() == 4
    for refused in results[3:]:
        assert isinstance(refused.exception(), OverloadedError)


async def test_L1_the_age_of_the_queue_is_bounded(local: LocalObjects) -> None:
    busy, go = await block(lab())
    waiting = asyncio.create_task(lab().value())
    await local.settle()
    local.clock.advance(29)
    fits = asyncio.create_task(lab().value())
    await local.settle()
    local.clock.advance(2)  # the first one has waited longer than an event may take
    late = asyncio.create_task(lab().value())
    with pytest.raises(OverloadedError, match="longer than"):
        await late
    go.set()
    await asyncio.wait([busy, waiting, fits])


class TestFewBytes:
    @pytest.fixture
    def local_settings(self) -> dict[str, int]:
        return {"max_queue_bytes": 100_000, "max_message_bytes": 100_000}

    async def test_L1_the_bytes_of_the_queue_are_bounded(self, local: LocalObjects) -> None:
        busy, go = await block(lab())
        calls = [asyncio.create_task(do(lab(), lambda obj, data: len(data), b"x" * 40_000)) for _ in range(3)]
        await local.settle()
        with pytest.raises(OverloadedError, match="bytes"):
            await calls[2]
        go.set()
        assert await asyncio.gather(*calls[:2]) == [40_000] * 2
        await busy


class TestFewObjects:
    @pytest.fixture
    def local_settings(self) -> dict[str, int]:
        return {"max_active": 4}

    async def test_L2_idle_objects_make_room_for_new_ones(self, local: LocalObjects) -> None:
        for n in range(12):
            await do(lab(f"{n}"), put, "n", n)
        assert len(local.host.activations) <= 5
        assert [await do(lab(f"{n}"), lambda obj: obj.ctx.storage.get("n")) for n in range(12)] == list(
            range(12)
        )

    async def test_L2_when_all_are_busy_new_ones_are_refused(self, local: LocalObjects) -> None:
        blocked = [await block(lab(f"{n}")) for n in range(4)]
        with pytest.raises(OverloadedError):
            await lab("one more").value()
        for task, go in blocked:
            go.set()
            await task
        await local.settle()
        assert await lab("one more").value() == 0


class TestFewObjectsAndManyAlarms:
    @pytest.fixture
    def local_settings(self) -> dict[str, int]:
        return {"max_active": 8}

    async def test_L2_objects_that_are_woken_for_alarms_leave_room_for_calls(
        self, local: LocalObjects
    ) -> None:
        ids = [lab(f"{n}").id for n in range(20)]  # type: ignore[attr-defined]
        woken = [local.host.wake_for_alarm(object_id) for object_id in ids]
        assert woken == [True] * 4 + [False] * 16  # "ask again"
        assert await asyncio.gather(*(lab(f"call {n}").increment() for n in range(4))) == [1] * 4
        await local.settle()
        assert local.host.wake_for_alarm(ids[-1])  # the others have been looked at


@pytest.mark.parametrize("local_settings", [{"max_database_bytes": 1024 * 1024}])
@pytest.mark.parametrize("how", ["key-value", "sql"])
async def test_L5_a_database_at_its_limit_refuses_more_and_harms_its_object_only(
    local: LocalObjects, how: str
) -> None:
    def fill(obj: Lab, number: int) -> None:
        if how == "sql":
            obj.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t (n, filler)")
            obj.ctx.storage.sql.exec("INSERT INTO t VALUES (?, ?)", number, b"x" * 100_000)
        else:
            put(obj, f"k{number}", b"x" * 100_000)

    for number in range(9):
        await do(lab(), fill, number)
    with pytest.raises(StorageLimitError, match="1048576 bytes"):
        for number in range(9, 12):
            await do(lab(), fill, number)
    assert await lab("other").increment() == 1
    assert await lab().value() == 0
    await do(lab(), lambda obj: obj.ctx.storage.delete_all())
    await do(lab(), fill, 1)


class Graveyard:
    """A marker by which two workers have died in every event of a kind."""

    def __init__(self, kind: str) -> None:
        self._kind = f"/{kind}/".encode()

    def set(self, what: bytes) -> None:
        assert len(what) < 500

    def clear(self) -> None:
        pass

    def deaths(self, what: bytes) -> int:
        return 2 if self._kind in what else 0


async def test_L4_a_frame_that_killed_two_owners_is_set_aside_and_its_socket_stays_open(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, running = [], asyncio.Event()

    async def hear(obj: Lab, ws: Any, message: str) -> None:
        seen.append(message)
        if message == "deadly":
            running.set()
            await asyncio.Event().wait()
        ws.send(f"heard {message}")

    HOOKS["message"] = hear
    socket = await local.connect(lab())
    socket.post("deadly")
    await running.wait()
    monkeypatch.setattr(host, "Steps", lambda: Steps(Graveyard("frame")))
    await local.crash()
    await socket.send("harmless")
    assert await socket.receive() == "heard harmless"
    assert seen == ["deadly", "harmless"]


async def test_L3_of_a_handler_that_took_all_memory_no_further_step_begins(local: LocalObjects) -> None:
    steps = local.host.steps

    async def take(obj: Lab) -> None:
        assert steps.running is not None
        obj.ctx.storage.put("total", 1000)
        steps.charge, steps.condemned = Charge.GREEDY, steps.running[1]
        while True:
            await asyncio.sleep(0)

    with pytest.raises(MemoryLimitError) as caught:
        await do(lab(), take)
    assert caught.value.delivered == "no"
    assert await lab().increment() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
@pytest.mark.parametrize(("limit", "error"), [(1, MemoryLimitError), (float("inf"), RemoteError)])
async def test_L3_memory_that_the_system_refuses_is_the_limits_doing_if_it_is_passed(
    local: LocalObjects, limit: float, error: type[Exception]
) -> None:
    local.host.steps.memory_limit = limit

    async def ask(obj: Lab) -> None:
        obj.ctx.storage.put("total", 1000)
        raise MemoryError

    with pytest.raises(error):
        await do(lab(), ask)
    assert await lab().increment() == 1


async def test_L4_a_first_try_is_never_set_aside(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.host, "steps", Steps(Graveyard("call")))
    assert await lab().increment() == 1


async def test_L4_a_repeated_call_is_set_aside(local: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, _go = await block(lab())
    monkeypatch.setattr(host, "Steps", lambda: Steps(Graveyard("call")))
    await local.crash()
    with pytest.raises(SetAsideError):
        await busy
    assert await lab().increment() == 1
