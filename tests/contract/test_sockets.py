"""Sockets outlive their objects, and everything on them happens once and in order."""

import asyncio
import json
from typing import Any

import pytest

from durable.errors import SocketError

from .ground import Client, Ground
from .subject.objects import Subject

pytestmark = pytest.mark.timeout(120)


async def ask(client: Client, *steps: list[Any]) -> list[Any]:
    """Have the object play steps for a frame; their results."""
    await client.send(json.dumps(steps))
    return await answer(client)


async def answer(client: Client) -> list[Any]:
    """The results of the next frame that was sent."""
    frame = await client.receive()
    assert isinstance(frame, str)
    return json.loads(frame)  # type: ignore[no-any-return]


async def logged(ground: Ground, subject: Subject, number: int = 1) -> list[Any]:
    """What the hooks have noted, when it is so much."""

    async def enough() -> Any:
        (log,) = await subject.play(["get", "log", []])
        return log if len(log) >= number else None

    return await ground.eventually(enough)  # type: ignore[no-any-return]


async def test_W1_frames_arrive_once_in_order_as_what_they_are(ground: Ground, subject: Subject) -> None:
    client = await ground.connect(subject)
    for number in range(30):
        await client.send(json.dumps([["append", "order", number]]))
    await client.send(b"\0\xff")
    assert [await answer(client) for _ in range(30)] == [[None]] * 30
    assert await client.receive() == b"\0\xff"
    assert await subject.play(["get", "order"]) == [list(range(30))]


async def test_W2_the_next_frame_wakes_the_object_on_the_same_connection(
    ground: Ground, subject: Subject
) -> None:
    ann = await ground.connect(subject, "ann", ("red", "blue"))
    await ground.connect(subject, "ben")
    before = await ask(ann, ["sockets"], ["sockets", "red"])
    await ground.evict(subject)
    assert await ground.state(subject) == "asleep"
    after = await ask(ann, ["sockets"], ["sockets", "red"], ["mark"])
    assert after == [*before, None]
    assert before[1] == [["ann", ["red", "blue"]]]


@pytest.mark.parametrize("how", ["kill_owner", "drain_owner", "transfer"])
async def test_W3_sockets_stay_open_and_frames_in_order_whatever_becomes_of_the_owner(
    ground: Ground, subject: Subject, how: str
) -> None:
    ann, ben = await ground.connect(subject, "ann"), await ground.connect(subject, "ben")
    await ask(ann, ["append", "order", -1])
    changing = asyncio.create_task(getattr(ground, how)(subject))
    for number in range(20):
        await ann.send(json.dumps([["append", "order", number]]))
        await asyncio.sleep(0)
    await changing

    async def handled() -> Any:
        (order,) = await subject.play(["get", "order"])
        return order if len(order) > 20 else None

    assert await ground.eventually(handled) == [-1, *range(20)]
    assert await logged(ground, subject) == [["resume"]]
    assert await ask(ben, ["sockets"]) == [[["ann", []], ["ben", []]]]
    assert ann.is_open
    assert ben.is_open


async def test_W4_too_many_tags_or_sockets_are_refused_and_too_large_an_attachment(
    ground: Ground, subject: Subject
) -> None:
    refused = await ground.connect(subject, "ann", tuple(f"tag {n}" for n in range(11)))
    assert await refused.closed() in (1011, 4403)
    clients = [await ground.connect(subject, f"{n}", tuple("0123456789")) for n in range(12)]
    one_more = await ground.connect(subject, "one more")
    assert await one_more.closed() in (1011, 4403)
    with pytest.raises(SocketError):
        await subject.play(["attach", "x" * 16_385])
    assert len((await ask(clients[0], ["sockets"]))[0]) == 12


async def test_W6_each_socket_has_one_close_event_and_is_not_listed_then(
    ground: Ground, subject: Subject
) -> None:
    ann, ben, eve = [await ground.connect(subject, name) for name in ("ann", "ben", "eve")]
    await ask(ann, ["add"])
    await ann.close(4000)
    await logged(ground, subject, 1)
    await ben.vanish()
    assert await logged(ground, subject, 2) == [["close", "ann", 4000, True], ["close", "ben", 1006, False]]
    await subject.play(["close", 4001, "enough"])
    assert await eve.closed() == 4001
    log = await logged(ground, subject, 3)
    assert [entry[:2] for entry in log] == [["close", "ann"], ["close", "ben"], ["close", "eve"]]
    assert await subject.play(["sockets"]) == [[]]


async def test_W6_a_socket_that_vanished_while_its_object_slept_has_its_close_event(
    ground: Ground, subject: Subject
) -> None:
    ann = await ground.connect(subject, "ann")
    await ask(ann, ["add"])
    await ground.evict(subject)
    await ann.vanish()
    assert await logged(ground, subject) == [["close", "ann", 1006, False]]


async def test_W7_the_gateway_answers_in_place_while_the_object_sleeps(
    ground: Ground, subject: Subject
) -> None:
    early = await ground.connect(subject, "early")
    await subject.play(["auto_response", "ping", "pong"])
    late = await ground.connect(subject, "late")
    await ask(early, ["add"])  # what came before has arrived
    await ground.evict(subject)
    for client in (early, late):
        await client.send("ping")
        assert await client.receive() == "pong"
    assert await ground.state(subject) == "asleep"
    await early.send(b"ping")
    assert await early.receive() == b"ping"
    assert await ground.state(subject) == "active"


async def test_W8_broadcasts_reach_every_socket_once_in_the_same_order(
    ground: Ground, subject: Subject
) -> None:
    clients = [await ground.connect(subject, f"{n}", ("even",) if n % 2 == 0 else ()) for n in range(6)]
    await asyncio.gather(
        *(
            subject.play(["add"], ["broadcast", f"all {n}"], ["broadcast", f"even {n}", "even"])
            for n in range(20)
        )
    )
    await subject.play(["broadcast", "end"])
    heard = []
    for client in clients:
        heard.append([])
        while (frame := await client.receive()) != "end":
            heard[-1].append(frame)
    assert heard[0] == [text for n in range(20) for text in (f"all {n}", f"even {n}")]
    assert heard[1] == [f"all {n}" for n in range(20)]
    assert heard == [heard[0], heard[1]] * 3


async def test_W8_a_broadcast_across_an_owners_death_arrives_at_most_once(
    ground: Ground, subject: Subject
) -> None:
    client = await ground.connect(subject)
    calls = [asyncio.create_task(subject.play(["add"], ["broadcast", str(n)])) for n in range(60)]
    await calls[2]
    await ground.kill_owner(subject)
    await asyncio.gather(*calls)
    await subject.play(["broadcast", "end"])
    heard = []
    while (frame := await client.receive()) != "end":
        heard.append(int(frame))
    assert heard == sorted(set(heard))
