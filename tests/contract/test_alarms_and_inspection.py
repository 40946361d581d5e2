"""Alarms ring once, not early, wherever their object is; and looking at an object changes nothing."""

import asyncio
from typing import Any

import pytest

from durable import RemoteError

from .ground import Ground
from .subject.objects import Subject

pytestmark = pytest.mark.timeout(120)


async def rings(ground: Ground, subject: Subject, number: int) -> list[list[Any]]:
    """[due, rung at, retries, alarm while it rang, name] of each, when there are so many."""

    async def enough() -> Any:
        (found,) = await subject.play(["get", "rings", []])
        return found if len(found) >= number else None

    return await ground.eventually(enough)  # type: ignore[no-any-return]


async def test_A1_an_alarm_is_not_early_and_is_told_when_it_was_due(ground: Ground, subject: Subject) -> None:
    (due,) = await subject.play(["alarm_in", 300])
    [[scheduled, rung, retries, _, _]] = await rings(ground, subject, 1)
    assert (scheduled, retries) == (due, 0)
    assert due <= rung < due + 5000


async def test_A2_setting_replaces_and_is_part_of_the_events_commit(ground: Ground, subject: Subject) -> None:
    await subject.play(["alarm_in", 100_000])
    with pytest.raises(RemoteError):
        await subject.play(["alarm_in", 50], ["raise", "no"])
    (due,) = await subject.play(["alarm_in", 400])
    assert [ring[0] for ring in await rings(ground, subject, 1)] == [due]
    assert await subject.play(["alarm"]) == [None]


async def test_A3_it_rings_though_its_object_sleeps(ground: Ground, subject: Subject) -> None:
    (due,) = await subject.play(["alarm_in", 500])
    await ground.evict(subject)
    assert await ground.state(subject) == "asleep"

    async def awake() -> bool:
        return await ground.state(subject) == "active"

    await ground.eventually(awake)
    assert [ring[0] for ring in await rings(ground, subject, 1)] == [due]


async def test_A3_it_rings_though_its_worker_died(ground: Ground, subject: Subject) -> None:
    (due,) = await subject.play(["alarm_in", 700])
    await ground.kill_owner(subject)

    async def awake() -> bool:
        return await ground.state(subject) == "active"

    await ground.eventually(awake)
    assert [ring[0] for ring in await rings(ground, subject, 1)] == [due]


async def test_A3_it_rings_where_its_object_was_moved_to(ground: Ground, subject: Subject) -> None:
    (due,) = await subject.play(["alarm_in", 700])
    await ground.transfer(subject)
    await ground.evict(subject)
    assert [ring[0] for ring in await rings(ground, subject, 1)] == [due]


async def test_A4_a_raising_alarm_is_tried_again_and_leaves_no_trace(
    ground: Ground, subject: Subject
) -> None:
    (now,) = await subject.play(["now"])
    await subject.play(["put", "on alarm", [["add", "traces"], ["raise_before", now + 1000]]])
    await subject.play(["alarm_in", 100])
    [[_, rung, retries, _, _]] = await rings(ground, subject, 1)
    assert retries == 1
    assert rung >= now + 2100
    assert await subject.play(["get", "traces"]) == [1]


async def test_A5_the_death_of_its_owner_does_not_count_as_a_failure(
    ground: Ground, subject: Subject, name: str
) -> None:
    witness = Subject.namespace.get_by_name(f"{name} witness")
    await subject.play(
        ["put", "on alarm", [["ask", f"{name} witness", ["append", "calls", 1]], ["wait", 0.5]]]
    )
    (due,) = await subject.play(["alarm_in", 100])

    async def rings_now() -> Any:
        return (await witness.play(["get", "calls"]))[0]

    await ground.eventually(rings_now)
    await ground.kill_owner(subject)
    # What it wrote before it asked the witness stood; the alarm that was cut off rings once more.
    rung = await rings(ground, subject, 2)
    assert [(scheduled, retries) for scheduled, _, retries, _, _ in rung] == [(due, 0), (due, 0)]
    assert await rings_now() == [1]


async def test_A6_while_it_rings_none_is_set_and_one_set_then_stands(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["put", "on alarm", [["add", "rung"], ["alarm_in", 200]]])
    await subject.play(["alarm_in", 200])
    seen = await rings(ground, subject, 3)
    assert [ring[3] for ring in seen] == [None] * len(seen)
    assert len({ring[0] for ring in seen}) == len(seen)


async def test_N1_looking_does_not_wake_an_object(ground: Ground, subject: Subject) -> None:
    await subject.play(["put", "k", 1])
    await ground.evict(subject)
    for _ in range(3):
        assert await ground.state(subject) == "asleep"


async def test_N1_looking_does_not_wait_for_the_queue(ground: Ground, subject: Subject) -> None:
    await subject.play(["get", "k"])
    busy = asyncio.create_task(subject.play(["wait", 1.5]))
    behind = asyncio.create_task(subject.play(["add"]))

    async def queued() -> bool:
        return bool((await ground.show(subject))["queue_depth"])

    await ground.eventually(queued)
    shown = await ground.show(subject)
    assert not busy.done()
    assert (shown["running"], shown["queue_depth"]) == ("call play", 1)
    await asyncio.gather(busy, behind)
