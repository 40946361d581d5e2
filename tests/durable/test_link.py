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
        self.written = b""
        self.ended = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

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
