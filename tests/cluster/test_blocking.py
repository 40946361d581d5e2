"""Handlers that block the loop, and handlers that kill their process: others go on."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.errors import EventTimeoutError, RemoteError, SetAsideError
from tests.running_service import RunningService, eventually, running_service

from .conftest import objects_of
from .probe.objects import Villain

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service that soon loses its patience."""
    with running_service(tmp_path, DJANGO_SETTINGS_MODULE="tests.cluster.impatient_settings") as running:
        yield running


async def two_owned_apart() -> tuple[object, object]:
    """Two objects in different processes."""
    first = Villain.namespace.get_by_name("v0")
    pid = await first.pid()
    for number in range(1, 60):
        other = Villain.namespace.get_by_name(f"v{number}")
        if await other.pid() != pid:
            return first, other
    raise AssertionError("all in one process")


@pytest.mark.parametrize(
    ("method", "arguments"), [("spin", ()), ("sleep", (60.0,)), ("spin_on", (2.0,)), ("store_for_ever", ())]
)
async def test_L3_a_handler_that_blocks_is_named_interrupted_and_undone(
    service: RunningService, method: str, arguments: tuple[float, ...]
) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        assert await villain.count() == 1
        pid, begun = await villain.pid(), time.monotonic()
        blocked = asyncio.create_task(getattr(villain, method)(*arguments))
        await asyncio.to_thread(
            eventually, lambda: f"Villain 'v': call {method} blocks" in service.log(), 2.0
        )
        assert f"in {method}" in service.log()
        with pytest.raises(EventTimeoutError, match="blocked the loop"):
            await blocked
        assert time.monotonic() - begun < 4.0
        assert await villain.count() == 2
        assert await villain.pid() == pid


async def test_L3_a_task_of_a_handler_is_interrupted_too(service: RunningService) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        assert await villain.count() == 1
        pid = await villain.pid()
        with pytest.raises(EventTimeoutError, match="blocked the loop"):
            await villain.spin_in_a_task()
        assert "in _spin" in service.log()
        assert (await villain.count(), await villain.pid()) == (2, pid)


async def test_L3_what_cannot_be_interrupted_costs_its_worker_only(service: RunningService) -> None:
    async with objects_of(service):
        villain, bystander = await two_owned_apart()
        pid = await bystander.pid()
        assert await villain.count() == 1
        grinding = asyncio.create_task(villain.grind())
        slowest = 0.0
        while not grinding.done():
            begun = time.monotonic()
            await bystander.count()
            slowest = max(slowest, time.monotonic() - begun)
            await asyncio.sleep(0.02)
        with pytest.raises(SetAsideError):  # it was tried once more, and then no more
            await grinding
        assert "cannot be interrupted" in service.log()
        assert await villain.count() == 2
        assert slowest < 1.0 or await bystander.pid() != pid  # the second try may have been its neighbour


async def test_L3_a_worker_that_was_stopped_is_not_blamed(service: RunningService) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        assert await villain.count() == 1
        working = asyncio.create_task(villain.spin_on(0.4))
        await asyncio.sleep(0.1)
        pids = service.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(4.0)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert await working == "done"
        assert "blocks the loop" not in service.log()


@pytest.mark.parametrize("method", ["crash", "crash_in_a_task"])
async def test_L4_an_event_that_kills_its_process_is_not_tried_a_third_time(
    service: RunningService, tmp_path: Path, method: str
) -> None:
    note = tmp_path / "note"
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        others = [Villain.namespace.get_by_name(f"other{n}") for n in range(20)]
        await asyncio.gather(*(other.count() for other in others))
        crashing = asyncio.create_task(getattr(villain, method)(str(note)))
        behind = asyncio.create_task(villain.count())
        with pytest.raises(SetAsideError) as raised:
            await crashing
        assert raised.value.delivered == "unknown"
        assert len(set(note.read_text().split())) == 2
        assert await behind == 1
        assert await asyncio.gather(*(other.count() for other in others)) == [2] * 20
        assert "set aside" in service.log()


async def test_L4_a_fault_in_c_counts_as_well(service: RunningService) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        with pytest.raises(SetAsideError):
            await villain.hold()
        assert await villain.count() == 1


async def test_L4_who_ends_the_loop_is_set_aside(service: RunningService) -> None:
    async with objects_of(service):
        villain, bystander = Villain.namespace.get_by_name("v"), Villain.namespace.get_by_name("b")
        assert (await villain.count(), await bystander.count()) == (1, 1)
        with pytest.raises(SetAsideError):
            await villain.stop_the_loop()
        assert service.log().count("a handler has ended the loop") == 2
        assert (await villain.count(), await bystander.count()) == (2, 2)


async def test_L4_who_exits_in_a_task_is_answered_and_costs_its_worker_only(service: RunningService) -> None:
    async with objects_of(service):
        villain, bystander = Villain.namespace.get_by_name("v"), Villain.namespace.get_by_name("b")
        assert (await villain.count(), await bystander.count()) == (1, 1)
        with pytest.raises((RemoteError, SetAsideError), match="SystemExit|set aside"):
            await villain.exit_in_a_task()
        assert (await villain.count(), await bystander.count()) == (2, 2)


async def test_L4_an_alarm_that_kills_its_process_is_abandoned(
    service: RunningService, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        await villain.crash_by_alarm(str(note))
        await asyncio.to_thread(eventually, lambda: "alarm abandoned" in service.log(), 30.0)
        assert len(note.read_text().split()) == 2
        assert await villain.count() == 1
