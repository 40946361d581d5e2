"""Alarms: when they run, how often, and what survives."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from durable import RemoteError
from durable.core import codec
from durable.core.alarms import retry_delay
from durable.errors import StorageLimitError
from durable.runtime.alarms import RUN_ALARM, AlarmHeap
from durable.testing import CrashPoint, LocalObjects
from tests.durable.lab import HOOKS, Lab, do, get, lab, put


class Rings:
    """An alarm hook that notes its runs, and fails as often as it is told."""

    def __init__(self) -> None:
        self.infos: list[Any] = []
        self.times: list[int] = []
        self.failures = 0

    def __call__(self, obj: Lab, info: Any) -> None:
        self.infos.append(tuple(info))
        self.times.append(obj.ctx.now())
        put(obj, "rings", (get(obj, "rings") or 0) + 1)
        if self.failures:
            self.failures -= 1
            raise ValueError("not now")


@pytest.fixture
def rings(local: LocalObjects) -> Rings:
    HOOKS["alarm"] = hook = Rings()
    return hook


async def set_alarm(seconds: float, name: str = "lab") -> int:
    """Set the alarm of Lab `name`; when it is due."""

    def step(obj: Lab) -> int:
        due = obj.ctx.now() + int(seconds * 1000)
        obj.ctx.storage.set_alarm(due)
        return due

    return await do(lab(name), step)  # type: ignore[no-any-return]


async def test_A1_an_alarm_is_never_early(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(10)
    await local.advance(9.9)
    assert rings.infos == []
    await local.advance(0.1)
    assert rings.infos == [(due, 0)]


async def test_A1_an_early_index_wakes_nothing_too_early(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(10)
    await local.evict(lab())
    (reference,) = local.cluster.alarms
    local.cluster.alarms[reference] = local.clock.now() - 1  # as after a change that the index has not seen
    await local.worker.wake_due()
    await lab().value()
    assert rings.infos == []
    await local.advance(10)
    assert rings.infos == [(due, 0)]


async def test_A2_setting_replaces(local: LocalObjects, rings: Rings) -> None:
    await set_alarm(10)
    later = await set_alarm(20)
    await local.advance(15)
    assert rings.infos == []
    await local.advance(10)
    assert rings.infos == [(later, 0)]


async def test_A2_setting_is_part_of_the_events_commit(local: LocalObjects, rings: Rings) -> None:
    def set_then_fail(obj: Lab) -> None:
        obj.ctx.storage.set_alarm(obj.ctx.now() + 1000)
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), set_then_fail)
    assert local.alarm(lab()) is None
    assert await do(lab(), lambda obj: obj.ctx.storage.get_alarm()) is None


async def test_A2_deleting_ends_it(local: LocalObjects, rings: Rings) -> None:
    await set_alarm(10)
    await do(lab(), lambda obj: obj.ctx.storage.delete_alarm())
    assert local.alarm(lab()) is None
    await local.advance(20)
    assert rings.infos == []


@pytest.mark.parametrize(
    ("when", "error"), [(-1, StorageLimitError), (2**60, StorageLimitError), ("soon", RemoteError)]
)
async def test_A2_a_time_that_is_none_is_refused(
    local: LocalObjects, when: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await do(lab(), lambda obj: obj.ctx.storage.set_alarm(when))
    assert local.alarm(lab()) is None


async def test_A3_it_runs_though_the_object_sleeps(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(60)
    await local.advance(30)
    assert not local.is_active(lab())
    await local.advance(31)
    assert rings.infos == [(due, 0)]


async def test_A3_it_runs_though_its_worker_died(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(60)
    await local.crash()
    assert await local.run_alarm(lab())
    assert rings.infos == [(due, 0)]


async def test_A3_after_a_time_of_nobody_it_runs_once(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(60)
    await local.evict(lab())
    local.clock.advance(86_400)
    await local.crash()
    await local.advance(0)
    await local.advance(3600)
    assert rings.infos == [(due, 0)]


async def test_A4_a_raising_alarm_is_tried_again_with_growing_delays_then_abandoned(
    local: LocalObjects, rings: Rings
) -> None:
    rings.failures = 100
    due = await set_alarm(10)
    for _ in range(7):
        assert await local.run_alarm(lab())
    assert local.alarm(lab()) is None
    assert [retries for _, retries in rings.infos] == [0, 1, 2, 3, 4, 5, 6]
    gaps = [(after - before) / 1000 for before, after in zip(rings.times, rings.times[1:], strict=False)]
    assert all(
        base <= gap <= base * 1.25 + 0.01 for base, gap in zip((2, 4, 8, 16, 32, 64), gaps, strict=True)
    )
    assert rings.times[0] == due
    assert not await local.run_alarm(lab())


async def test_A4_why_it_was_abandoned_is_kept(local: LocalObjects, rings: Rings) -> None:
    rings.failures = 100
    await set_alarm(10)
    while await local.run_alarm(lab()):
        pass
    await local.evict(lab())
    await lab().value()
    metadata = local.host.activations[str(lab().id)].gate.store.metadata  # type: ignore[attr-defined]
    assert metadata.alarm_error() == "ValueError: not now"


async def test_A4_a_failing_alarm_leaves_no_trace_but_its_retry(local: LocalObjects, rings: Rings) -> None:
    rings.failures = 1
    await set_alarm(10)
    await local.run_alarm(lab())
    assert await do(lab(), get, "rings") is None
    await local.run_alarm(lab())
    assert await do(lab(), get, "rings") == 1


async def test_A4_retries_are_counted_across_a_crash(local: LocalObjects, rings: Rings) -> None:
    rings.failures = 1
    await set_alarm(10)
    await local.run_alarm(lab())
    await local.crash()
    await local.run_alarm(lab())
    assert [retries for _, retries in rings.infos] == [0, 1]


def break_a_deferred_key(obj: Lab) -> None:
    sql = obj.ctx.storage.sql
    sql.exec("CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY)")
    sql.exec("CREATE TABLE IF NOT EXISTS child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    sql.exec("INSERT INTO child VALUES (9)")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda obj: put(obj, "key", object()),
        lambda obj: put(obj, "key", b"x" * 3_000_000),
        lambda obj: obj.ctx.storage.sql.exec("SELECT nonsense"),
        lambda obj: obj.ctx.abort("no"),
        break_a_deferred_key,
        lambda obj: do(lab("callee"), lambda callee: callee.ctx.abort("no")),
        lambda obj: do(lab("callee"), lambda callee: callee.ctx.storage.sql.exec("SELECT nonsense")),
    ],
    ids=["value", "size", "sql", "abort", "key", "callee aborts", "callee's sql"],
)
async def test_A4_a_hooks_own_mistake_with_the_runtime_counts_as_a_failure(
    local: LocalObjects, mistake: Callable[[Lab], Any]
) -> None:
    infos = []

    async def err(obj: Lab, info: Any) -> None:
        infos.append(info.retry_count)
        result = mistake(obj)
        if asyncio.iscoroutine(result):
            await result

    HOOKS["alarm"] = err
    await set_alarm(10)
    for _ in range(7):
        assert await local.run_alarm(lab())
    assert infos == [0, 1, 2, 3, 4, 5, 6]
    assert local.alarm(lab()) is None


@pytest.mark.parametrize(("retries", "delay"), [(0, 2000), (1, 4000), (5, 64_000), (6, None)])
def test_A4_the_delays(retries: int, delay: int | None) -> None:
    assert retry_delay(retries, 0.0) == delay
    if delay is not None:
        assert delay < retry_delay(retries, 0.999) <= delay * 1.25  # type: ignore[operator]


async def test_A5_the_death_of_the_owner_does_not_count(local: LocalObjects) -> None:
    infos, running = [], asyncio.Event()

    async def hang_once(obj: Lab, info: Any) -> None:
        infos.append(tuple(info))
        if len(infos) == 1:
            running.set()
            await asyncio.Event().wait()

    HOOKS["alarm"] = hang_once
    due = await set_alarm(10)
    local.clock.advance(10)
    await local.worker.wake_due()
    await running.wait()
    await local.crash()
    await local.run_alarm(lab())
    assert infos == [(due, 0), (due, 0)]


async def test_A5_a_failed_commit_does_not_count(local: LocalObjects, rings: Rings) -> None:
    due = await set_alarm(10)
    local.commits.hold()
    local.clock.advance(10)
    await local.worker.wake_due()
    await local.commits.waiting()
    await local.crash()  # committed, but not released: the alarm has run
    local.commits.release()
    await local.advance(0)
    assert await do(lab(), get, "rings") == 1
    assert rings.infos == [(due, 0)]


async def test_A5_a_start_that_fails_changes_nothing_of_the_alarm(local: LocalObjects, rings: Rings) -> None:
    rings.failures = 3
    await set_alarm(10)
    for _ in range(3):
        await local.run_alarm(lab())
    due = local.alarm(lab())
    await local.evict(lab())
    HOOKS["start"] = lambda obj: put(obj, "broken", object())
    for _ in range(2):
        await local.run_alarm(lab())
    del HOOKS["start"]
    await local.run_alarm(lab())
    assert [retries for _, retries in rings.infos] == [0, 1, 2, 3]
    assert rings.infos[-1][0] == due


async def test_transaction_leaves_the_index_of_alarms_alone(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | None] = []

    def change(obj: Lab) -> None:
        with obj.ctx.storage.transaction():
            put(obj, "key", 1)

    await lab().increment()
    index = local.host._alarm_index
    monkeypatch.setattr(index, "put", lambda object_id, at: told.append(at))
    await do(lab(), change)
    assert told == []


async def test_the_heap_forgets_times_that_were_changed_behind_an_earlier_one() -> None:
    heap = AlarmHeap(lambda: 0, asyncio.get_running_loop(), lambda object_id: None)
    heap.set("early", 1000)
    for at in range(1000):
        heap.set("late", 10_000 + at)
    assert len(heap._heap) < 100
    assert (heap.get("early"), heap.get("late")) == (1000, 10_999)
    heap.close()


async def test_A6_the_alarm_looks_deleted_while_it_runs(local: LocalObjects) -> None:
    seen = []
    HOOKS["alarm"] = lambda obj, info: seen.append(obj.ctx.storage.get_alarm())
    await set_alarm(10)
    await local.run_alarm(lab())
    assert seen == [None]
    assert await do(lab(), lambda obj: obj.ctx.storage.get_alarm()) is None


async def test_A4_an_alarm_that_raises_after_a_part_was_committed_is_tried_again(local: LocalObjects) -> None:
    infos = []

    async def flush_and_fail(obj: Lab, info: Any) -> None:
        infos.append(info.retry_count)
        put(obj, "first", len(infos))
        await obj.ctx.flush()
        assert obj.ctx.storage.get_alarm() is None
        put(obj, "second", len(infos))
        if len(infos) == 1:
            raise ValueError("no")

    HOOKS["alarm"] = flush_and_fail
    await set_alarm(10)
    await local.run_alarm(lab())
    assert await do(lab(), lambda obj: (get(obj, "first"), get(obj, "second"))) == (1, None)
    await local.run_alarm(lab())
    assert infos == [0, 1]
    assert local.alarm(lab()) is None
    assert await do(lab(), lambda obj: (get(obj, "first"), get(obj, "second"))) == (2, 2)


async def test_A3_an_alarm_whose_owner_died_after_a_part_was_committed_runs_again(
    local: LocalObjects,
) -> None:
    flushed, runs = asyncio.Event(), []

    async def flush_and_hang(obj: Lab, info: Any) -> None:
        runs.append(tuple(info))
        put(obj, "part", len(runs))
        await obj.ctx.flush()
        if len(runs) == 1:
            flushed.set()
            await asyncio.Event().wait()

    HOOKS["alarm"] = flush_and_hang
    due = await set_alarm(10)
    local.clock.advance(10)
    await local.worker.wake_due()
    await flushed.wait()
    await local.crash()
    await local.run_alarm(lab())
    assert runs == [(due, 0), (due, 0)]
    assert await do(lab(), get, "part") == 2
    assert local.alarm(lab()) is None


async def test_A6_a_new_alarm_set_in_the_hook_stands(local: LocalObjects) -> None:
    def again(obj: Lab, info: Any) -> None:
        obj.ctx.storage.set_alarm(info.scheduled_time + 1000)

    HOOKS["alarm"] = again
    due = await set_alarm(10)
    for n in range(1, 4):
        await local.run_alarm(lab())
        assert local.alarm(lab()) == due + n * 1000


async def test_A6_a_new_alarm_set_in_a_failing_hook_is_undone_with_it(local: LocalObjects) -> None:
    def set_and_fail(obj: Lab, info: Any) -> None:
        obj.ctx.storage.set_alarm(obj.ctx.now() + 3_600_000)
        raise ValueError("no")

    HOOKS["alarm"] = set_and_fail
    await set_alarm(10)
    await local.run_alarm(lab())
    assert local.alarm(lab()) < local.clock.now() + 3000  # type: ignore[operator]


async def test_A7_many_alarms_due_at_once_all_run_once(local: LocalObjects, rings: Rings) -> None:
    for n in range(150):
        await set_alarm(10, f"lab {n}")
    for n in range(0, 150, 2):
        await local.evict(lab(f"lab {n}"))
    await local.advance(11)
    assert len(rings.infos) == 150


async def test_A7_no_more_alarms_run_at_once_than_allowed(local: LocalObjects) -> None:
    running, most, total, go = 0, 0, 0, asyncio.Event()

    async def count(obj: Lab, info: Any) -> None:
        nonlocal running, most, total
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        total += 1

    HOOKS["alarm"] = count
    for n in range(150):
        await set_alarm(10, f"lab {n}")
    local.clock.advance(11)
    await local.worker.wake_due()
    await local.settle()
    assert running == local.conf.max_alarms == 100
    go.set()
    await local.advance(0)
    assert (most, total) == (100, 150)


async def test_A4_an_abandoned_alarm_can_be_run_again(local: LocalObjects, rings: Rings) -> None:
    rings.failures = 7
    await set_alarm(10)
    while local.alarm(lab()) is not None:
        await local.run_alarm(lab())
    await local.evict(lab())
    tried = len(rings.infos)
    arguments = codec.encode([[], {}])
    assert codec.decode(await local.call(lab().id, RUN_ALARM, arguments)) is True
    await local.run_alarm(lab())
    assert len(rings.infos) == tried + 1
    assert codec.decode(await local.call(lab().id, RUN_ALARM, arguments)) is False


async def test_A8_active_objects_keep_their_alarm_when_the_index_is_wiped(
    local: LocalObjects, rings: Rings
) -> None:
    due = await set_alarm(5)
    local.cluster.alarms.clear()
    local.clock.advance(6)
    await local.worker.wake_due()
    await lab().value()
    assert rings.infos == [(due, 0)]


async def test_A4_an_alarm_that_waits_while_its_object_is_put_to_sleep_runs_once(
    local: LocalObjects, rings: Rings
) -> None:
    rings.failures = 1
    running, go = asyncio.Event(), asyncio.Event()

    async def busy(obj: Lab) -> None:
        running.set()
        await go.wait()

    await set_alarm(10)
    call = asyncio.create_task(do(lab(), busy))
    await running.wait()
    local.clock.advance(10)
    await local.worker.wake_due()
    leaving = asyncio.create_task(local.evict(lab()))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(call, leaving)
    await local.advance(0)
    assert [retries for _, retries in rings.infos] == [0]
    await local.run_alarm(lab())
    assert [retries for _, retries in rings.infos] == [0, 1]


async def test_A3_an_alarm_whose_call_was_answered_by_the_next_owner_is_found_when_that_one_dies_too(
    local: LocalObjects, rings: Rings
) -> None:
    async with local.crash_at(CrashPoint.BEFORE_SYNC, lab()):
        due = await set_alarm(10)  # the first owner died before anybody else knew
    await local.crash()
    assert not local.is_active(lab())
    assert local.alarm(lab()) == due
    await local.advance(10)
    assert rings.infos == [(due, 0)]


async def test_A3_it_runs_at_the_worker_where_its_object_sleeps_though_placement_has_changed(
    local: LocalObjects, rings: Rings
) -> None:
    names = [f"{number}" for number in range(20)]
    owner = local.worker
    for name in names:
        due = await set_alarm(10, name)
        await local.evict(lab(name))

    def stay(name: str) -> bool:
        return owner.directory.place(str(lab(name).id)).worker == owner.id  # type: ignore[attr-defined, union-attr]

    while all(map(stay, names)):  # a new worker would get half of them
        await local.add_worker()
    await local.advance(10)
    assert rings.infos == [(due, 0)] * len(names)
    assert all(str(lab(name).id) in owner.host.activations for name in names)  # type: ignore[attr-defined]
