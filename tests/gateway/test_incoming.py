"""Frames of one client on their way to its object."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from durable.cluster.channel import Channel
from durable.cluster.router import Router
from durable.core.envelope import Reply, SocketFrame, Target
from durable.gateway.frames import TakeFrame
from durable.gateway.hub import MAX_UNANSWERED, Hub, HubSocket
from durable.gateway.incoming import Incoming, SocketRefused
from durable.gateway.outgoing import Outgoing
from durable.identity import ObjectId, id_from_name


class Owner:
    """The way to an object, which answers when it is told to."""

    def __init__(self) -> None:
        self.unanswered: deque[Callable[[Any], None]] = deque()
        self.got: list[Any] = []

    def channel(self, object_id: ObjectId) -> Channel:
        return Channel(Target(object_id.class_key, str(object_id), object_id.name))

    def post(self, channel: Channel, request: Any, done: Callable[[Any], None]) -> None:
        if isinstance(request, SocketFrame):
            self.got.append(request.data)
            self.unanswered.append(done)

    def answer(self) -> None:
        self.unanswered.popleft()(Reply(0, None))


class Connection:
    """A client's connection, by a server that hands frames over."""

    def __init__(self, rate: tuple[int, float] = (10_000, 1.0), screen: Any = lambda message: None) -> None:
        self.owner = Owner()
        self.sent: list[Any] = []
        self._take: TakeFrame | None = None
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        hub = Hub("gateway")
        hub.router = cast(Router, self.owner)
        outgoing = Outgoing(self.send, 1000, lambda: None)
        self.socket: HubSocket = hub.open(id_from_name("Room", "a"), b"", outgoing, lambda: None)
        self.incoming = Incoming(hub, self.socket, screen, 100, rate)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message["text"])

    def read_frames(self, take: TakeFrame) -> None:
        self._take = take if self._queue.empty() else None

    def arrive(self, message: str | bytes) -> bool:
        """A frame arrives; whether it was handed over."""
        if self._take is not None and self._take(message):
            return True
        self._take = None
        self._queue.put_nowait(
            {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        )
        return False

    def end(self) -> None:
        self._queue.put_nowait({"type": "websocket.disconnect", "code": 1000, "reason": "bye"})

    def reading(self, *, handed_over: bool = True) -> "asyncio.Task[tuple[int, str]]":
        return asyncio.ensure_future(
            self.incoming.read(self._queue.get, self.read_frames if handed_over else None)
        )


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("handed_over", [True, False])
async def test_W1_frames_reach_the_object_in_order_whichever_way_they_come(handed_over: bool) -> None:
    connection = Connection()
    reading = connection.reading(handed_over=handed_over)
    await settle()
    frames: list[str | bytes] = ["one", b"two", "three"]
    assert [connection.arrive(frame) for frame in frames] == [handed_over] * 3
    await settle()
    assert connection.owner.got == frames
    connection.end()
    assert await reading == (1000, "bye")


async def test_W1_an_object_that_is_behind_gets_no_more_frames_than_it_may_have_and_all_in_order() -> None:
    connection = Connection()
    owner = connection.owner
    reading = connection.reading()
    await settle()
    sent = [str(number) for number in range(MAX_UNANSWERED + 40)]
    assert [connection.arrive(one) for one in sent].count(True) == MAX_UNANSWERED
    await settle()
    assert owner.got == sent[:MAX_UNANSWERED]
    turn = 0
    while owner.unanswered:
        owner.answer()
        for _ in range(turn % 3):  # the next one comes at every moment of the reader's
            await asyncio.sleep(0)
        sent.append(f"more {turn}")
        connection.arrive(sent[-1])
        turn += 1
        if turn == 200:
            break
    while owner.unanswered:
        owner.answer()
        await settle()
    assert owner.got == sent
    assert connection.arrive("the last")  # handed over again, now that nothing waits
    connection.end()
    await reading


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (["x"] * 4, 4429),
        (["x" * 101], 4413),
        (["ü" * 51], 4413),
        ([b"x" * 101], 4413),
        (["refuse"], 4400),
        (["raise"], 1011),
    ],
)
async def test_a_frame_that_may_not_be_closes_the_socket_and_nothing_after_it_counts(
    frames: list[str | bytes], code: int
) -> None:
    def screen(message: str | bytes) -> str | None:
        if message == "refuse":
            raise SocketRefused(4400, "no")
        if message == "raise":
            raise KeyError
        return None

    connection = Connection((3, 0.0), screen)
    reading = connection.reading()
    await settle()
    assert all(connection.arrive(frame) for frame in frames)
    assert not connection.arrive("one more")
    await settle()
    assert connection.socket.closing is not None
    assert connection.socket.closing[0] == code
    assert connection.owner.got == frames[:-1]
    connection.end()
    await reading


async def test_what_is_answered_in_its_place_does_not_reach_the_object() -> None:
    connection = Connection(screen={"ask": "answer", "nothing": "", "pass": None}.get)
    reading = connection.reading()
    await settle()
    for frame in ("ask", "nothing", "pass"):
        assert connection.arrive(frame)
    assert (connection.sent, connection.owner.got) == (["answer"], ["pass"])
    connection.end()
    await reading


async def test_who_is_refused_by_its_session_is_read_no_further() -> None:
    connection = Connection()

    async def receive() -> dict[str, Any]:
        raise SocketRefused(4401, "signed out")

    with pytest.raises(SocketRefused):
        await connection.incoming.read(receive, connection.read_frames)
