"""An answer's head and body leave in one write, and neither waits for long, nor gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from durable.service.joined_writes import JoinedWrites


class Recorded(asyncio.Transport):
    """What was written, and "close"."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes | str] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing
        self.seen.append(bytes(data))

    def close(self) -> None:
        self.closing = True
        self.seen.append("close")

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def transport() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    if not recorded.closing:
        recorded.close()


async def a_turn() -> None:
    """The loop has done everything that was due."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


async def test_head_and_body_leave_in_one_write(transport: Recorded) -> None:
    answer = JoinedWrites(transport, transport.close)
    answer.write(b"head")
    answer.write(b"body")
    assert transport.seen == [b"headbody"]
    await a_turn()
    answer.write(b"more")
    assert transport.seen == [b"headbody", b"more"]


async def test_a_head_does_not_wait_for_a_body_that_takes_its_time(transport: Recorded) -> None:
    answer = JoinedWrites(transport, transport.close)
    answer.write(b"head")
    await a_turn()
    assert transport.seen == [b"head"]
    answer.write(b"body")
    assert transport.seen == [b"head", b"body"]


async def test_what_was_written_leaves_before_the_connection_closes(transport: Recorded) -> None:
    answer = JoinedWrites(transport, transport.close)
    answer.write(b"head")
    answer.close()
    await a_turn()
    assert transport.seen == [b"head", "close"]


async def test_nothing_is_written_to_a_connection_that_was_closed_meanwhile(transport: Recorded) -> None:
    JoinedWrites(transport, transport.close).write(b"head")
    transport.close()
    await a_turn()
    assert transport.seen == ["close"]
