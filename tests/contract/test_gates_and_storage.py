"""One event at a time, all of it or nothing, in values, rows, alarm and attachments alike."""

import asyncio
from typing import Any

import pytest

from durable import RemoteError
from durable.errors import DurableError, StorageError

from .ground import Ground
from .subject.objects import Subject

pytestmark = pytest.mark.timeout(120)


async def test_G1_concurrent_increments_all_count(ground: Ground, subject: Subject) -> None:
    await asyncio.gather(*(subject.play(["add"]) for _ in range(900)))
    slow = [["get", "count"], ["wait", 0.001], ["add"]]
    await asyncio.gather(*(subject.play(*slow) for _ in range(100)))
    assert await subject.play(["get", "count"]) == [1000]


async def test_G2_one_objects_wait_does_not_hold_up_another(
    ground: Ground, subject: Subject, name: str
) -> None:
    waiting = asyncio.create_task(subject.play(["wait", 1.0]))
    behind = asyncio.create_task(subject.play(["add"]))
    assert await Subject.namespace.get_by_name(f"{name} other").play(["add"]) == [1]
    assert not waiting.done()
    assert not behind.done()
    await asyncio.gather(waiting, behind)


async def test_G3_start_completes_before_any_event(ground: Ground, subject: Subject) -> None:
    await subject.play(["put", "on start", [["wait", 0.05], ["append", "order", "start"]]])
    await ground.evict(subject)
    await asyncio.gather(*(subject.play(["append", "order", "event"]) for _ in range(3)))
    assert await subject.play(["get", "order"]) == [["start", "event", "event", "event"]]


async def test_G3_a_failing_start_tells_who_waits_and_is_tried_again(
    ground: Ground, subject: Subject
) -> None:
    (now,) = await subject.play(["now"])
    await subject.play(["put", "on start", [["append", "order", "start"], ["raise_before", now + 1500]]])
    await ground.evict(subject)
    with pytest.raises(RemoteError, match="too early"):
        await subject.play(["add"])

    async def works() -> Any:
        try:
            return await subject.play(["get", "order"])
        except RemoteError:
            return None

    assert await ground.eventually(works) == [["start"]]


async def test_G4_a_frame_that_was_received_was_true(ground: Ground, subject: Subject) -> None:
    client = await ground.connect(subject)
    calls = [
        asyncio.create_task(subject.play(["append", "told", n], ["broadcast", str(n)])) for n in range(60)
    ]
    heard = [int(await client.receive())]
    await ground.kill_owner(subject)
    stored = (await subject.play(["get", "told"]))[0]
    await asyncio.gather(*calls)
    await subject.play(["broadcast", "end"])
    while (frame := await client.receive()) != "end":
        heard.append(int(frame))
    assert heard[0] in stored
    assert (await subject.play(["get", "told"]))[0] == list(range(60))
    assert heard == sorted(set(heard))


async def test_G7_all_that_an_event_wrote_stands_or_falls_together_when_its_owner_is_killed(
    ground: Ground, subject: Subject
) -> None:
    await ground.connect(subject, "ann")
    (now,) = await subject.play(["now"])
    looks = [["get", "k"], ["sql", "SELECT max(number) FROM note"], ["alarm"], ["sockets"], ["now"]]

    async def write(number: int) -> None:
        due = now + 10**9 + number
        await subject.play(
            ["put", "k", number], ["sql", "INSERT INTO note (number) VALUES (?)", number],
            ["alarm_in", due], ["put", "due", number], ["attach", number],
        )  # fmt: skip

    done = 0
    for _ in range(3):
        calls = [asyncio.create_task(write(done + n)) for n in range(1, 31)]
        await calls[2]
        await ground.kill_owner(subject)
        key, ((row,),), alarm, ((attached, _),), _ = await subject.play(*looks)
        assert key == row == attached >= done + 3
        assert alarm is not None
        await asyncio.gather(*calls)
        done += 30
    key, ((row,),), _, ((attached, _),), _ = await subject.play(*looks)
    assert key == row == attached == done


async def test_G8_flush_makes_what_came_before_durable_and_releases_it(
    ground: Ground, subject: Subject
) -> None:
    client = await ground.connect(subject)
    call = asyncio.create_task(
        subject.play(["put", "a", 1], ["broadcast", "half"], ["flush"], ["wait", 5.0], ["put", "b", 1])
    )
    assert await client.receive() == "half"
    assert not call.done()
    await ground.kill_owner(subject)
    with pytest.raises(DurableError):
        await call
    assert await subject.play(["get", "a"], ["get", "b"]) == [1, None]


async def test_G8_a_call_to_another_object_after_a_write_flushes_first(
    ground: Ground, subject: Subject, name: str
) -> None:
    with pytest.raises(RemoteError):
        await subject.play(
            ["put", "a", 1], ["ask", f"{name} other", ["add"]], ["put", "b", 1], ["raise", "no"]
        )
    assert await subject.play(["get", "a"], ["get", "b"]) == [1, None]


async def test_S1_a_missing_key_gives_the_default_and_None_is_a_value(
    ground: Ground, subject: Subject
) -> None:
    steps = [["put", "none", None], ["get", "missing"], ["get", "missing", 7], ["get", "none", 7]]
    assert await subject.play(*steps) == [None, None, 7, None]
    await ground.evict(subject)
    assert await subject.play(*steps[1:]) == [None, 7, None]


async def test_S1_what_is_stored_is_a_copy(ground: Ground, subject: Subject) -> None:
    assert await subject.play(["mutate", "k", [1]]) == [[1]]


async def test_S2_list_orders_by_bytes_and_its_options_combine(ground: Ground, subject: Subject) -> None:
    keys = ["", "a", "a\0", "aa", "ab", "b", "z", "é", "\uffff", "🦉"]
    await subject.play(*(["put", key, 1] for key in reversed(keys) if key))
    for options in (
        {}, {"prefix": "a"}, {"start": "aa"}, {"start_after": "aa"}, {"end": "z"}, {"reverse": True}, {"limit": 3},
        {"prefix": "a", "start": "aa", "end": "b"}, {"start": "a", "end": "é", "reverse": True, "limit": 2},
    ):  # fmt: skip
        found = [
            key
            for key in sorted(filter(None, keys), key=str.encode, reverse=bool(options.get("reverse")))
            if key.startswith(str(options.get("prefix", "")))
            and key.encode() >= str(options.get("start", "")).encode()
            and ("start_after" not in options or key > str(options["start_after"]))
            and ("end" not in options or key.encode() < str(options["end"]).encode())
        ]
        limit = options.get("limit")
        assert await subject.play(["list", options]) == [found[: int(str(limit))] if limit else found], (
            options
        )
    with pytest.raises(RemoteError):
        await subject.play(["list", {"start": "a", "start_after": "b"}])


async def test_S4_delete_all_leaves_nothing_and_the_object_is_usable(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["put", "k", 1], ["sql", "CREATE TABLE t (x)"], ["alarm_in", 60_000])
    with pytest.raises(RemoteError):
        await subject.play(["delete_all"], ["raise", "undone with its event"])
    assert await subject.play(["get", "k"]) == [1]
    assert await subject.play(["delete_all"], ["get", "k"], ["alarm"], ["put", "l", 2], ["list", {}]) == [
        None, None, None, None, ["l"],
    ]  # fmt: skip
    # What its migrations make is there again, and empty.
    found = await subject.play(
        ["sql", "SELECT name FROM sqlite_schema WHERE name IN ('t', 'note')"],
        ["sql", "SELECT count(*) FROM note"],
    )
    assert [[tuple(row) for row in rows] for rows in found] == [[("note",)], [(0,)]]


async def test_S4_an_object_left_empty_is_absent_once_asleep(ground: Ground, subject: Subject) -> None:
    await subject.play(["put", "k", 1])
    await ground.evict(subject)
    assert await ground.state(subject) == "asleep"
    await subject.play(["delete_all"])
    await ground.evict(subject)
    assert await ground.state(subject) == "absent"
    assert await subject.play(["add"]) == [1]


async def test_S5_an_error_of_SQLs_is_told_and_leaves_the_object_healthy(
    ground: Ground, subject: Subject
) -> None:
    await subject.play(["mark", "unharmed"])
    with pytest.raises(StorageError, match="no such table"):
        await subject.play(["sql", "SELECT * FROM missing"])
    assert await subject.play(["sql", "SELECT 1 + ?", 2]) == [[(3,)]]


async def test_S7_a_transaction_undoes_its_part_with_the_alarm_set_inside(
    ground: Ground, subject: Subject
) -> None:
    inside = [["put", "b", 1], ["alarm_in", 60_000], ["together", [["put", "c", 1]], False]]
    steps = [["put", "a", 1], ["together", inside, True], ["together", [["put", "d", 1]], False]]
    assert (await subject.play(*steps))[1] == "undone"
    assert await subject.play(["list", {}], ["alarm"]) == [["a", "d"], None]
    await ground.kill_owner(subject)
    assert await subject.play(["list", {}], ["alarm"]) == [["a", "d"], None]
