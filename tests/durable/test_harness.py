"""The tools for testing objects do what they say: crashes at each point, moves, and owners that are behind the times."""

import asyncio
from typing import Any

import pytest

from durable import RemoteError
from durable.errors import LostWriteError, ObjectResetError, UnavailableError
from durable.testing import CrashPoint, LocalObjects
from tests.durable.lab import HOOKS, Lab, do, get, lab, put

AGAIN = {CrashPoint.BEFORE_COMMIT: 2, CrashPoint.BEFORE_SYNC: 1, CrashPoint.BEFORE_RELEASE: 1}
"""How often a handler runs whose owner dies at that point."""


def counting(attempts: list[int]) -> Any:
    def count(obj: Lab) -> int:
        attempts.append(1)
        put(obj, "count", (get(obj, "count") or 0) + 1)
        return get(obj, "count")  # type: ignore[no-any-return]

    return count


@pytest.mark.parametrize("point", CrashPoint)
async def test_C6_a_call_takes_effect_once_wherever_its_owner_dies(
    local: LocalObjects, point: CrashPoint
) -> None:
    attempts: list[int] = []
    first = local.worker
    async with local.crash_at(point, lab()) as crash:
        assert await do(lab(), counting(attempts)) == 1
        assert crash.reached
    assert local.worker is not first
    assert len(attempts) == AGAIN[point]
    assert await do(lab(), get, "count") == 1


@pytest.mark.parametrize("point", CrashPoint)
async def test_G4_nothing_leaves_before_the_point_at_which_the_owner_dies(
    local: LocalObjects, point: CrashPoint
) -> None:
    ws = await local.connect(lab())
    sent = []

    def write_and_tell(obj: Lab) -> None:
        sent.append(1)
        put(obj, "key", 1)
        obj.ctx.broadcast(f"try {len(sent)}")

    async with local.crash_at(point, lab()):
        await do(lab(), write_and_tell)
    await local.settle()
    assert ws.take() == (["try 2"] if point is CrashPoint.BEFORE_COMMIT else [])
    assert ws.is_open


@pytest.mark.parametrize(
    ("point", "there"),
    [(CrashPoint.BEFORE_COMMIT, False), (CrashPoint.BEFORE_SYNC, True), (CrashPoint.BEFORE_RELEASE, True)],
)
async def test_G7_a_crash_leaves_all_of_an_event_or_nothing(
    local: LocalObjects, point: CrashPoint, there: bool
) -> None:
    runs = []

    def write_everything_once(obj: Lab) -> None:
        runs.append(1)
        if len(runs) > 1:
            raise LookupError("it has come to the next owner")
        storage = obj.ctx.storage
        put(obj, "key", 1)
        storage.sql.exec("CREATE TABLE t (x)")
        storage.set_alarm(obj.ctx.now() + 60_000)

    def look(obj: Lab) -> list[bool]:
        storage = obj.ctx.storage
        tables = storage.sql.exec("SELECT name FROM sqlite_schema WHERE name = 't'").to_list()
        return [get(obj, "key") == 1, bool(tables), storage.get_alarm() is not None]

    async with local.crash_at(point, lab()):
        if there:
            await do(lab(), write_everything_once)
        else:
            with pytest.raises(RemoteError, match="next owner"):
                await do(lab(), write_everything_once)
    assert await do(lab(), look) == [there] * 3


async def test_C8_a_call_that_dies_after_its_flush_is_not_run_again(local: LocalObjects) -> None:
    runs = []

    async def two_parts(obj: Lab) -> None:
        runs.append(1)
        put(obj, "first", 1)
        await obj.ctx.flush()
        put(obj, "second", 1)

    async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab(), nth=2):
        with pytest.raises(ObjectResetError) as caught:
            await do(lab(), two_parts)
    assert caught.value.delivered == "unknown"
    assert (len(runs), await do(lab(), get, "first"), await do(lab(), get, "second")) == (1, 1, None)


async def test_a_crash_may_be_planned_for_the_nth_time(local: LocalObjects) -> None:
    async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab(), nth=3) as crash:
        reached = []
        for _ in range(3):
            await lab().increment()
            reached.append(crash.reached)
    assert reached == [False, False, True]
    assert await lab().value() == 3


async def test_a_crash_is_planned_for_one_object_or_for_any(local: LocalObjects) -> None:
    async with local.crash_at(CrashPoint.BEFORE_SYNC, lab("one"), required=False) as crash:
        await lab("other").increment()
        assert not crash.reached
    async with local.crash_at(CrashPoint.BEFORE_SYNC) as crash:
        await lab("other").increment()
        assert crash.reached


async def test_a_planned_crash_that_does_not_happen_fails_the_test(local: LocalObjects) -> None:
    with pytest.raises(AssertionError, match="before the commit"):
        async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab()):
            await lab().value()  # writes nothing
    await lab().increment()  # and it does not happen later
    assert await lab().value() == 1


async def test_only_the_worker_that_came_to_the_point_dies(local: LocalObjects) -> None:
    first = local.worker
    await lab("stays").increment()
    await local.transfer(lab("moved"))
    async with local.crash_at(CrashPoint.BEFORE_RELEASE, lab("moved")):
        assert await lab("moved").increment() == 1
    assert local.worker is first
    assert str(lab("stays").id) in first.host.activations  # type: ignore[attr-defined]


async def test_A5_an_alarm_whose_owner_dies_at_its_commit_fires_again_at_the_next(
    local: LocalObjects,
) -> None:
    infos = []

    def ring(obj: Lab, info: Any) -> None:
        infos.append(tuple(info))
        put(obj, "rings", (get(obj, "rings") or 0) + 1)

    HOOKS["alarm"] = ring
    due = local.clock.now() + 10_000
    await do(lab(), lambda obj: obj.ctx.storage.set_alarm(due))
    async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab()):
        await local.advance(10)
    assert infos == [(due, 0), (due, 0)]
    assert await do(lab(), get, "rings") == 1


async def test_W3_a_transferred_object_keeps_its_sockets_and_resumes_at_once(local: LocalObjects) -> None:
    resumed = []
    HOOKS["resume"] = lambda obj: resumed.append(obj.ctx.get_web_sockets()[0].id)
    HOOKS["message"] = lambda obj, ws, message: ws.send(f"heard {message}")
    ws = await local.connect(lab())
    to = await local.add_worker()
    await local.transfer(lab(), to)
    assert resumed == [ws.id]
    assert str(lab().id) in to.host.activations  # type: ignore[attr-defined]
    await ws.send("x")
    assert ws.take() == ["heard x"]


async def test_O6_a_running_event_finishes_before_its_object_is_transferred(local: LocalObjects) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def slow(obj: Lab) -> int:
        started.set()
        await go.wait()
        return await obj.increment()

    call = asyncio.create_task(do(lab(), slow))
    await started.wait()
    moving = asyncio.create_task(local.transfer(lab()))
    waiting = asyncio.create_task(lab().increment())
    await local.settle()
    assert not moving.done()
    go.set()
    await moving
    assert (await call, await waiting) == (1, 2)


async def test_O4_a_fenced_owner_commits_nothing_and_its_event_runs_at_the_next(local: LocalObjects) -> None:
    attempts: list[int] = []
    await do(lab(), counting(attempts))
    local.fence(lab())
    assert await do(lab(), counting(attempts)) == 2
    assert len(attempts) == 3


async def test_what_cannot_be_fenced_is_said(local: LocalObjects) -> None:
    with pytest.raises(AssertionError, match="must be active"):
        local.fence(lab())
    await lab().value()  # active, but without a file
    with pytest.raises(AssertionError, match="must be active"):
        local.fence(lab())


async def test_G4_a_failed_sync_is_told_and_is_no_crash(local: LocalObjects) -> None:
    await lab().increment()
    worker = local.worker
    local.commits.fail()
    with pytest.raises(LostWriteError):
        await lab().increment()
    assert local.worker is worker
    assert await lab().increment() in (2, 3)


async def test_N1_a_look_at_an_object_whose_worker_dies_ends_with_it(local: LocalObjects) -> None:
    await lab().increment()
    assert (await local.show(lab()))["epoch"] == 1
    looking = asyncio.create_task(local.show(lab()))
    await asyncio.sleep(0)  # it has asked
    await local.crash()
    with pytest.raises(UnavailableError, match="before it answered"):
        await looking
