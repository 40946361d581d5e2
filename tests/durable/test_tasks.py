"""Tasks that handlers make: marked as their event's, and otherwise as any task is."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator

import pytest

from durable.runtime.events import Event, current_event
from durable.runtime.steps import Steps
from durable.runtime.tasks import TaskFactory


class Board:
    """A marker that tells what it says at the moment."""

    def __init__(self) -> None:
        self.now: bytes | None = None

    def set(self, what: bytes) -> None:
        self.now = what

    def clear(self) -> None:
        self.now = None

    def deaths(self, what: bytes) -> int:
        return 0


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    """What is marked on this loop."""
    board = Board()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(TaskFactory(Steps(board)))
    yield board
    loop.set_task_factory(None)


def begin_event() -> None:
    """From here on the test is an event's handler."""
    event = Event("call", None)  # type: ignore[arg-type]
    event.mark = b"event"
    current_event.set(event)


async def test_L4_each_step_of_a_handlers_task_is_marked_as_its_events(board: Board) -> None:
    begin_event()
    seen = []

    async def work() -> str:
        seen.append(board.now)
        await asyncio.sleep(0)
        seen.append(board.now)
        return "done"

    task = asyncio.create_task(work(), name="work")
    await asyncio.sleep(0)
    assert board.now is None
    assert (await task, task.get_name()) == ("done", "work")
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
    await asyncio.gather(work(), work())
    assert seen == [b"event"] * 8
    assert board.now is None


async def test_L4_a_task_of_nobodys_event_is_not_marked(board: Board) -> None:
    async def work() -> bytes | None:
        return board.now

    assert await asyncio.create_task(work()) is None


async def test_L4_a_marked_task_can_fail_and_be_cancelled_at_any_time(board: Board) -> None:
    begin_event()

    async def fail() -> None:
        raise LookupError("no")

    async def clean_up() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cleaned up"
        return "never"

    with pytest.raises(LookupError):
        await asyncio.create_task(fail())
    waiting = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting == "cleaned up"
    with warnings.catch_warnings(record=True) as caught:
        early = asyncio.create_task(clean_up())
        early.cancel()
        with pytest.raises(asyncio.CancelledError):
            await early
        del early
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert board.now is None
