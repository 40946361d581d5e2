"""The link's framing: messages cut and joined anywhere, versions, and ends."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.cluster import link
from durable.cluster.link import MAX_MESSAGE_BYTES, Link
from durable.core.envelope import (
    LINK_VERSION,
    Call,
    CallId,
    Effects,
    Hello,
    NotOwner,
    Reply,
    SocketFrame,
    Target,
    decode,
    encode,
)
from durable.core.pacing import BEAT_SECONDS, MOST_BYTES

TARGET = Target("Lab", "0" * 64, None)
MESSAGES = [
    Call(1, TARGET, "run", b"\x01\xc0", CallId("me", 0, 1), ["Lab(a)"], True),
    SocketFrame(2, TARGET, "s-1", 7, "text"),
    SocketFrame(3, TARGET, "s-1", 8, b"bytes"),
    Reply(1, None, ("overloaded", "full", "no", {})),
    NotOwner(2, "other"),
    Effects(TARGET, 5, [("send", ["s-1"], "x", None), ("close", "s-1", 1000, "")]),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_C2_a_message_comes_back_as_itself(message: Any) -> None:
    again = decode(encode(message))
    assert type(again) is type(message)
    assert encode(again) == encode(message)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = False

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close


class End:
    """One end of a link, and what it has been told."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.opened = self.closed = 0
        self.wire = Wire()
        self.link = Link(
            Hello(LINK_VERSION, "me", "gateway"),
            received=lambda _, message: self.received.append(message),
            opened=lambda _: setattr(self, "opened", self.opened + 1),
            closed=lambda _: setattr(self, "closed", self.closed + 1),
        )
        self.link.connection_made(self.wire)


def framed(*messages: Any) -> bytes:
    encoded = [encode(message) for message in messages]
    return b"".join(len(data).to_bytes(4, "big") + data for data in encoded)


HELLO = Hello(LINK_VERSION, "peer", "worker")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=12))
def test_C2_messages_arrive_in_order_however_the_stream_is_cut(cuts: list[int]) -> None:
    async def check() -> None:
        end, stream, position = End(), framed(HELLO, *MESSAGES), 0
        for size in [*cuts, len(stream)]:
            end.link.data_received(stream[position : position + size])
            position += size
        assert framed(*end.received) == framed(*MESSAGES)
        assert end.opened == 1

    asyncio.run(check())


async def test_what_is_sent_in_one_turn_leaves_in_one_write_after_the_hello() -> None:
    end = End()
    end.link.send(MESSAGES[0])
    end.link.send(MESSAGES[1])
    assert end.wire.written == b""
    await asyncio.sleep(0)
    assert end.wire.written == framed(Hello(LINK_VERSION, "me", "gateway"), *MESSAGES[:2])


async def opened() -> End:
    """An end that has said hello some time ago."""
    end = End()
    await asyncio.sleep(2 * BEAT_SECONDS)
    end.wire.writes.clear()
    return end


async def written(end: End, *messages: Any) -> list[bytes]:
    """The writes, when these messages have left."""
    async with asyncio.timeout(5):
        while len(end.wire.written) < len(framed(*messages)):
            await asyncio.sleep(0.001)
    assert end.wire.written == framed(*messages)
    return end.wire.writes


def frames(count: int, size: int = 4) -> list[SocketFrame]:
    return [SocketFrame(number, TARGET, "s-1", number, "x" * size) for number in range(count)]


async def test_a_frame_that_comes_alone_leaves_with_its_turn() -> None:
    end = await opened()
    end.link.send_soon(frames(1)[0])
    await asyncio.sleep(0)
    assert end.wire.writes == [framed(*frames(1))]


async def test_frames_that_come_in_quick_succession_leave_together_and_in_order() -> None:
    end, sent = await opened(), frames(40)
    for frame in sent:
        end.link.send_soon(frame)
        await asyncio.sleep(0)
    assert len(await written(end, *sent)) < 10  # two, if nothing else takes our processor


async def test_what_somebody_waits_for_takes_along_the_frames_before_it() -> None:
    end, sent = await opened(), frames(3)
    end.link.send_soon(sent[0])
    await asyncio.sleep(0)
    end.link.send_soon(sent[1])
    end.link.send(MESSAGES[0])
    end.link.send_soon(sent[2])
    await asyncio.sleep(0)
    assert end.wire.written == framed(sent[0], sent[1], MESSAGES[0], sent[2])


async def test_large_frames_do_not_wait() -> None:
    end, sent = await opened(), frames(3, MOST_BYTES)
    for frame in sent:
        end.link.send_soon(frame)
        await asyncio.sleep(0)
    assert end.wire.writes == [framed(frame) for frame in sent]


async def test_frames_that_wait_leave_before_the_end() -> None:
    end, sent = await opened(), frames(2)
    end.link.send_soon(sent[0])
    await asyncio.sleep(0)
    end.link.send_soon(sent[1])
    end.link.close()
    assert (end.wire.written, end.wire.ended) == (framed(*sent), True)


async def test_frames_of_a_link_that_has_ended_wait_for_nothing() -> None:
    end, sent = await opened(), frames(2)
    end.link.send_soon(sent[0])
    await asyncio.sleep(0)
    end.link.send_soon(sent[1])
    end.link.connection_lost(None)
    end.link.send_soon(sent[1])
    await asyncio.sleep(2 * BEAT_SECONDS)
    assert end.wire.written == framed(sent[0])


@pytest.mark.parametrize(
    "stream",
    [
        framed(Hello(LINK_VERSION + 1, "peer", "worker")),
        framed(MESSAGES[0]),
        framed(HELLO) + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"),
        framed(HELLO) + b"\0\0\0\x02\xc1\xc1",
    ],
    ids=["another version", "no hello", "too long", "no message"],
)
async def test_what_is_no_message_ends_the_link(stream: bytes) -> None:
    end = End()
    end.link.data_received(stream)
    assert end.wire.ended
    assert end.received == []


async def test_a_peer_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HELLO_SECONDS", 0.01)
    silent, polite = End(), End()
    polite.link.data_received(framed(HELLO))
    while not silent.wire.ended:
        await asyncio.sleep(0.005)
    assert not polite.wire.ended


async def test_nothing_is_sent_on_an_ended_link() -> None:
    end = End()
    end.link.connection_lost(None)
    end.link.send(MESSAGES[0])
    await asyncio.sleep(0)
    assert (end.wire.written, end.closed, end.link.is_open) == (b"", 1, False)
