"""What clients may send over a WebSocket besides messages: not much, and none of it is kept."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from durable.service import client_connection
from tests.service.served import Served

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, PING, PONG = 1, 9, 10


def sent(opcode: int, data: bytes = b"", *, final: bool = True) -> bytes:
    """A client's frame, by a mask of zeros."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([opcode | (0x80 if final else 0)]) + size + b"\0\0\0\0" + data


async def connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def frames(reader: asyncio.StreamReader) -> list[tuple[int, bytes]]:
    """Every frame that comes until the server ends the connection."""
    came = await asyncio.wait_for(reader.read(), 10)
    found = []
    while came:
        opcode, size, start = came[0] & 15, came[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(came[2:start], "big")
        found.append((opcode, came[start : start + size]))
        came = came[start + size :]
    return found


def closed(code: int, reason: str) -> tuple[int, bytes]:
    return 8, code.to_bytes(2, "big") + reason.encode()


@pytest.mark.parametrize(
    "flood",
    [
        sent(PING, b"x" * 125) * 5000,
        sent(PONG) * 5000,
        sent(TEXT, final=False) + sent(0, final=False) * 50_000,
    ],
    ids=["pings", "pongs", "fragments"],
)
async def test_L5_a_client_that_sends_too_many_control_frames_or_fragments_is_closed(
    served: Served, flood: bytes
) -> None:
    reader, writer = await connect(served)
    writer.write(flood)
    *pongs, last = await frames(reader)
    assert last == closed(4429, "too many control frames or fragments")
    assert len(pongs) <= 300
    writer.close()


async def test_L5_a_message_has_a_bounded_number_of_fragments(
    served: Served, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(client_connection, "SMALL_FRAMES", (10_000, 100.0))
    reader, writer = await connect(served)
    writer.write(sent(TEXT, b"a", final=False) + sent(0, b"a", final=False) * 1022 + sent(0, b"a"))
    writer.write(sent(TEXT, b"b", final=False) + sent(0, b"b", final=False) * 1024)
    assert await frames(reader) == [closed(1009, "a message has at most 1024 fragments")]
    await asyncio.to_thread(eventually, lambda: served.asked[1:2] == ["1024 of aaaaaaaaaa"])
    writer.close()


async def test_a_large_message_may_come_in_fragments(served: Served, eventually: Callable[..., Any]) -> None:
    reader, writer = await connect(served)
    for _ in range(2):
        writer.write(sent(TEXT, b"a" * 1024, final=False) + sent(0, b"a" * 1024, final=False) * 1022)
        writer.write(sent(0, b"a" * 1024))
    writer.write(sent(PING, b"there"))
    assert await asyncio.wait_for(reader.readexactly(7), 10) == b"\x8a\x05there"
    await asyncio.to_thread(eventually, lambda: served.asked[1:] == ["1048576 of aaaaaaaaaa"] * 2)
    writer.close()


async def test_W9_pings_of_a_client_that_does_not_read_are_not_kept(
    served: Served, eventually: Callable[..., Any]
) -> None:
    reader, writer = await connect(served)
    writer.write(sent(TEXT, b"stuff"))
    await asyncio.to_thread(eventually, lambda: served.asked[1:] == ["5 of stuff"])
    for number in range(10):
        writer.write(sent(PING, b"%3d" % number) + sent(TEXT, b"%3d" % number))
        await asyncio.to_thread(eventually, lambda: len(served.asked) == 3 + number)  # noqa: B023 - waited for
    came = b""
    async with asyncio.timeout(10):
        while not came.endswith(b"\x8a\x03  9"):
            came += await reader.read(65536)
    assert came.count(b"\x8a\x03") == 1
    writer.close()


async def test_a_client_hears_that_its_message_is_too_large_though_it_goes_on_sending(served: Served) -> None:
    reader, writer = await connect(served)
    writer.write(b"\x81\xff" + (8 << 20).to_bytes(8, "big") + b"\0\0\0\0")
    for _ in range(8):
        writer.write(b"x" * (1 << 20))
        await writer.drain()
    ((opcode, data),) = await frames(reader)
    assert (opcode, data[:2]) == (8, (1009).to_bytes(2, "big"))
    writer.close()
