"""One owner, whatever happens to it: counts stay exact and nobody is refused."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import Result, request_bytes, run
from durable.cluster.processes import ProcessIdentity, identify, send_signal
from tests.running_service import ROOT, RunningService, eventually

from .conftest import objects_of
from .probe.objects import Probe

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

LEASE_SECONDS = 2.0  # in this suite's settings


async def count_under(service: RunningService, seconds: float, trouble: object) -> Result:
    """Increment one counter from 32 connections while `trouble` (a coroutine) goes on."""
    request = request_bytes("POST", "/api/v1/counters/hot/increment", "127.0.0.1")
    load = asyncio.create_task(run("127.0.0.1", service.port, 32, seconds, lambda: request))
    await trouble  # type: ignore[misc]
    return await load


async def value_of_hot(service: RunningService) -> int:
    """The counter's value, by a request of its own."""
    import httpx

    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        return int((await client.get("/api/v1/counters/hot")).json()["value"])


async def until(condition: object, within: float = 20.0) -> object:
    """Wait until an async condition gives something true."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := await condition():  # type: ignore[operator]
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {within} s")


async def owner(name: str) -> ProcessIdentity:
    """The process that owns a probe."""
    found = identify(await Probe.namespace.get_by_name(name).pid())
    assert found is not None
    return found


async def test_O5_kill_9_of_all_workers_under_load_loses_and_doubles_nothing(service: RunningService) -> None:
    async def kill_twice() -> None:
        for _ in range(2):
            await asyncio.sleep(1.5)
            for pid in service.worker_pids():
                service.kill(pid)

    result = await count_under(service, 6.0, kill_twice())
    assert result.broken == 0
    assert set(result.statuses) == {200}
    assert await value_of_hot(service) == result.statuses[200]


async def test_O6_a_drained_worker_fails_nobody(service: RunningService) -> None:
    async def drain_all_in_turn() -> None:
        for pid in service.worker_pids():
            await asyncio.sleep(1.0)
            os.kill(pid, signal.SIGTERM)

    result = await count_under(service, 4.0, drain_all_in_turn())
    assert result.broken == 0
    assert set(result.statuses) == {200}
    assert await value_of_hot(service) == result.statuses[200]


async def test_O4_an_owner_stopped_past_its_lease_is_replaced_and_adds_nothing_afterwards(
    service: RunningService,
) -> None:
    async with objects_of(service):
        probe = Probe.namespace.get_by_name("stopped")
        assert await probe.add() == 1
        stale = await owner("stopped")
        slow = asyncio.create_task(probe.add_slowly(0.3))
        await asyncio.sleep(0.1)
        send_signal(stale, signal.SIGSTOP)
        try:
            # The supervisor kills what has outlived its session; the call is repeated at the next owner.
            assert await slow == 2
            assert await probe.add() == 3
        finally:
            send_signal(stale, signal.SIGCONT)
        assert await owner("stopped") != stale
        assert await probe.total() == 3


@asynccontextmanager
async def worker_by_hand(service: RunningService) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A third worker, which no supervisor looks after; and stubs made here call the service's objects."""
    command = [sys.executable, "manage.py", "worker"]
    environment = {
        **os.environ,
        "DATA_DIR": str(service.data_dir),
        "DJANGO_SETTINGS_MODULE": "tests.cluster.settings",
    }
    by_hand = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        async with objects_of(service) as client:

            async def registered() -> bool:
                return len(await client.redis.list_workers()) == 3

            await until(registered)
            await client.directory.refresh()
            yield by_hand
    finally:
        by_hand.kill()
        by_hand.wait()


async def test_O5_without_a_supervisor_takeover_takes_no_longer_than_the_lease_and_a_second(
    service: RunningService,
) -> None:
    async with worker_by_hand(service) as by_hand:
        probe = Probe.namespace.get_by_name(await find_owned_by(by_hand.pid))
        assert await probe.add() == 1
        by_hand.kill()
        begun = time.monotonic()
        assert await probe.add() == 2
        assert time.monotonic() - begun < LEASE_SECONDS + 1.0
        assert await probe.pid() != by_hand.pid


@pytest.mark.parametrize("method", ["add_slowly", "add_and_linger"])
async def test_O4_an_owner_that_goes_on_after_its_lease_commits_and_releases_nothing_more(
    service: RunningService, method: str
) -> None:
    """Stopped before its event has written, or inside its transaction; nobody kills it, and the others wait for the file."""
    async with worker_by_hand(service) as by_hand:
        probe = Probe.namespace.get_by_name(await find_owned_by(by_hand.pid))
        assert await probe.add() == 1
        running = asyncio.create_task(getattr(probe, method)(0.3))
        await asyncio.sleep(0.1)
        by_hand.send_signal(signal.SIGSTOP)
        waiting = [asyncio.create_task(probe.add()) for _ in range(3)]
        done, _ = await asyncio.wait([running, *waiting], timeout=LEASE_SECONDS + 1.5)
        by_hand.send_signal(signal.SIGCONT)
        assert not done
        assert sorted(await asyncio.gather(running, *waiting)) == [2, 3, 4, 5]
        assert await probe.total() == 5
        assert by_hand.poll() is None


async def find_owned_by(pid: int) -> str:
    """The name of a probe that the process owns."""
    for number in range(60):
        if await Probe.namespace.get_by_name(f"p{number}").pid() == pid:
            return f"p{number}"
    raise AssertionError(f"no object lives in {pid}")


async def test_O3_counts_stay_exact_when_redis_is_flushed(service: RunningService) -> None:
    async with objects_of(service) as client:
        probe = Probe.namespace.get_by_name("flushed")
        total = 0
        for round_ in range(3):
            for _ in range(20):
                total += 1
                assert await probe.add() == total
            if round_ < 2:
                await client.redis._redis.flushall()
        assert await probe.total() == total


async def test_O7_an_object_is_reached_though_redis_came_back_with_an_older_owner(
    service: RunningService,
) -> None:
    async with objects_of(service) as client:
        probe = Probe.namespace.get_by_name("remembered")
        object_id = Probe.namespace.id_from_name("remembered")
        first = client.directory.place(str(object_id))
        assert first is not None
        second = next(worker for worker in client.directory.live if worker != first.worker)

        async def record(worker: str, epoch: int) -> None:
            key = f"durable:owner:{{Probe:{object_id}}}"
            await client.redis._redis.hset(key, mapping={"worker": worker, "epoch": epoch})

        await record(second, 7)
        answers = [await probe.add()]
        await record(first.worker, 3)  # as it was before the object came to its present owner
        done = asyncio.Event()

        async def keep_busy() -> None:
            while not done.is_set():
                answers.append(await probe.add())

        asking = asyncio.create_task(keep_busy())
        try:
            async with objects_of(service):  # a process that has not asked for it yet, and so believes Redis
                answers.append(await asyncio.wait_for(probe.add(), 5.0))
        finally:
            done.set()
            await asking
        assert sorted(answers) == list(range(1, len(answers) + 1))


async def test_O7_calls_wait_for_redis_and_go_on_by_themselves(service: RunningService) -> None:
    async with objects_of(service):
        probe = Probe.namespace.get_by_name("waiting")
        assert await probe.add() == 1
        valkey = next(child for child in service.record().children if child.name == "valkey")
        send_signal(valkey.identity, signal.SIGSTOP)
        try:
            asked = [asyncio.create_task(probe.add()) for _ in range(3)]
            await asyncio.sleep(4.0)  # longer than a lease: the owner may not release anything any more
        finally:
            send_signal(valkey.identity, signal.SIGCONT)
        assert sorted(await asyncio.gather(*asked)) == [2, 3, 4]
        assert await probe.add() == 5


async def test_O5_a_spare_worker_takes_over_at_once_and_another_waits_soon(service: RunningService) -> None:
    def spare() -> int | None:
        return next((child.pid for child in service.record().children if child.name == "spare worker"), None)

    waiting = await asyncio.to_thread(eventually, spare)
    async with objects_of(service):
        probe = Probe.namespace.get_by_name("spared")
        assert await probe.add() == 1
        for pid in service.worker_pids():
            service.kill(pid)
        assert await probe.add() == 2
        assert waiting in service.worker_pids()
    assert await asyncio.to_thread(eventually, lambda: spare() not in (None, waiting))
