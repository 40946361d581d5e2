"""Frames on their way to one client."""

import asyncio
from typing import Any

from durable.gateway.frames import frame
from durable.gateway.outgoing import Outgoing


class Client:
    """An ASGI connection whose client reads when it likes."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = False
        self.overruns = 0

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone:
            raise OSError("the client has gone")
        if not self.reading.is_set():
            await self.reading.wait()
        self.got.append(message["text"])

    def outgoing(self, limit: int = 10) -> Outgoing:
        return Outgoing(self.send, limit, self._overrun)

    def _overrun(self) -> None:
        self.overruns += 1


def text(value: str) -> dict[str, Any]:
    return frame(value).message


def push(outgoing: Outgoing, value: str, volatile: str | None = None) -> None:
    outgoing.push(frame(value), volatile)


async def test_W8_to_a_client_that_reads_frames_leave_at_once_and_in_order() -> None:
    client = Client()
    outgoing = client.outgoing()
    for n in range(5):
        push(outgoing, str(n))
    assert client.got == ["0", "1", "2", "3", "4"]


async def test_W8_what_waited_leaves_in_order_when_the_client_reads_again() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reading.clear()
    for n in range(5):
        push(outgoing, str(n))
    assert client.got == []
    client.reading.set()
    await outgoing.finish(text("end"), 5.0)
    assert client.got == ["0", "1", "2", "3", "4", "end"]


async def test_W9_more_than_the_limit_overruns_once() -> None:
    client = Client()
    outgoing = client.outgoing(limit=10)
    client.reading.clear()
    push(outgoing, "on its way")
    push(outgoing, "x" * 10)
    assert client.overruns == 0
    push(outgoing, "x")
    assert client.overruns == 1
    client.reading.set()
    await outgoing.finish(text("close"), 5.0)
    assert client.got == ["on its way", "close"]


async def test_W9_a_volatile_frame_replaces_its_predecessor_where_that_waits() -> None:
    client = Client()
    outgoing = client.outgoing(limit=20)
    client.reading.clear()
    push(outgoing, "first")
    for n in range(100):
        push(outgoing, f"a{n:02}", "a")
        push(outgoing, f"b{n:02}", "b")
    assert client.overruns == 0
    client.reading.set()
    await outgoing.finish(text("end"), 5.0)
    assert client.got == ["first", "a99", "b99", "end"]


async def test_W9_to_a_client_that_has_gone_nothing_is_sent() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.gone = True
    push(outgoing, "x")
    client.gone = False
    push(outgoing, "y")
    assert (client.got, client.overruns) == ([], 0)


async def test_W9_stopping_cancels_what_is_on_its_way() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reading.clear()
    push(outgoing, "x")
    outgoing.stop()
    client.reading.set()
    await asyncio.sleep(0)
    assert client.got == []


async def test_finish_waits_no_longer_than_it_may() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reading.clear()
    push(outgoing, "x")
    await outgoing.finish(text("end"), 0.01)
    assert client.got == []
    outgoing.stop()
