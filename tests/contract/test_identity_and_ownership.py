"""One name, one object, one owner, wherever it lives and whatever becomes of its worker."""

import asyncio
import re
from typing import Any

import pytest

from durable.core import codec

from .ground import Ground
from .subject.objects import Subject

pytestmark = pytest.mark.timeout(120)
named = Subject.namespace.get_by_name


async def who(subject: Subject) -> dict[str, Any]:
    """Where the object is, and who it thinks it is."""
    (answer,) = await subject.play(["who"])
    return answer  # type: ignore[no-any-return]


async def test_I1_a_name_is_the_same_object_in_another_process(
    ground: Ground, subject: Subject, name: str
) -> None:
    await subject.play(["put", "k", "here"])
    object_id = Subject.namespace.id_from_name(name)
    assert re.fullmatch("[0-9a-f]{64}", str(object_id))
    async with ground.elsewhere() as call:
        answer = await call(object_id, "play", codec.encode([[["get", "k"]], {}]))
    assert codec.decode(answer) == ["here"]


async def test_I2_names_that_look_alike_are_different_objects(ground: Ground, name: str) -> None:
    names = [name + end for end in ("a", "A", "a ", "é", "e\u0301", "/", "/..", "🦉", "\n", "x" * 1000)]
    for number, one in enumerate(names):
        await named(one).play(["put", "k", number])
    assert [await named(one).play(["get", "k"]) for one in names] == [[n] for n in range(len(names))]
    assert [(await who(named(one)))["name"] for one in names] == names


async def test_I5_the_name_is_known_everywhere_also_after_sleep_and_takeover(
    ground: Ground, subject: Subject, name: str
) -> None:
    await subject.play(["alarm_in", 200])
    await ground.evict(subject)

    async def rung() -> Any:
        return (await subject.play(["get", "rings"]))[0]

    (ring,) = await ground.eventually(rung)
    assert ring[4] == name
    by_id = Subject.namespace.get(Subject.namespace.id_from_string(str(Subject.namespace.id_from_name(name))))
    for change in (ground.evict, ground.kill_owner):
        await change(subject)
        seen = await who(by_id)
        assert (seen["name"], seen["name at start"]) == (name, name)


async def test_O1_many_first_calls_from_several_processes_meet_one_instance(
    ground: Ground, name: str
) -> None:
    object_id = Subject.namespace.id_from_name(name)
    arguments = codec.encode([[["who"], ["add"]], {}])
    async with ground.elsewhere() as one, ground.elsewhere() as other:
        calls = [call(object_id, "play", arguments) for _ in range(70) for call in (ground.call, one, other)]
        answers = [codec.decode(answer) for answer in await asyncio.gather(*calls)]
    assert len({answer[0]["incarnation"] for answer in answers}) == 1
    assert sorted(answer[1] for answer in answers) == list(range(1, 211))


async def test_O2_a_call_is_executed_by_the_owner_wherever_it_arrives(
    ground: Ground, subject: Subject, name: str
) -> None:
    await subject.play(["add"])
    await ground.transfer(subject)
    async with ground.elsewhere() as call:
        answer = await call(
            Subject.namespace.id_from_name(name), "play", codec.encode([[["add"], ["who"]], {}])
        )
    count, there = codec.decode(answer)
    assert (count, there["incarnation"]) == (2, (await who(subject))["incarnation"])


async def test_O3_the_epoch_grows_with_every_new_holder(ground: Ground, subject: Subject) -> None:
    epochs = []
    for change in (ground.kill_owner, ground.transfer, ground.drain_owner, ground.evict):
        await subject.play(["add"])
        epochs.append((await ground.show(subject))["epoch"])
        await change(subject)
    await subject.play(["add"])
    assert epochs == sorted(set(epochs))
    assert (await ground.show(subject))["epoch"] >= epochs[-1]


async def test_O5_the_next_call_finds_every_acknowledged_write(ground: Ground, subject: Subject) -> None:
    before = await who(subject)
    for total in range(1, 3):
        assert await subject.play(["add"]) == [total]
        await ground.kill_owner(subject)
    assert await subject.play(["get", "count"]) == [2]
    assert (await who(subject))["incarnation"] != before["incarnation"]


async def test_O5_calls_in_flight_when_their_owner_dies_each_take_effect_once(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["put", "count", 0])
    calls = [asyncio.create_task(subject.play(["add"], ["wait", 0.005])) for _ in range(40)]
    await calls[3]
    await ground.kill_owner(subject)
    assert sorted(count for count, _ in await asyncio.gather(*calls)) == list(range(1, 41))


async def test_O6_a_drained_workers_objects_move_and_nothing_fails_or_runs_twice(
    ground: Ground, name: str
) -> None:
    subjects = [named(f"{name} {n}") for n in range(10)]
    for subject in subjects:
        await subject.play(["add"])
    running = [asyncio.create_task(subject.play(["wait", 0.2], ["add"])) for subject in subjects]
    await asyncio.sleep(0)
    moving = asyncio.create_task(ground.drain_owner(subjects[0]))
    waiting = [asyncio.create_task(subject.play(["add"])) for subject in subjects]
    assert [count for _, count in await asyncio.gather(*running)] == [2] * 10
    assert await asyncio.gather(*waiting) == [[3]] * 10
    await moving


async def test_O6_a_transferred_object_goes_on_at_the_other_worker(ground: Ground, subject: Subject) -> None:
    assert await subject.play(["add"]) == [1]
    running = asyncio.create_task(subject.play(["add"], ["wait", 0.2], ["who"]))

    async def begun() -> bool:
        return running.done() or (await ground.show(subject))["running"] is not None

    await ground.eventually(begun)
    await ground.transfer(subject)
    before = (await running)[2]
    assert await subject.play(["add"]) == [3]
    assert (await who(subject))["incarnation"] != before["incarnation"]
