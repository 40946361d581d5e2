"""Alarms fire though their object sleeps, its worker died, or the whole service was down."""

import asyncio

import pytest

from tests.running_service import RunningService

from .conftest import objects_of
from .probe.objects import Probe
from .test_ownership import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


async def test_A3_an_alarm_that_was_due_while_the_service_was_down_fires_once_at_its_start(
    service: RunningService,
) -> None:
    async with objects_of(service):
        due = await Probe.namespace.get_by_name("missed").wake_in(300)
        service.crash()
    service.start()
    async with objects_of(service):
        probe = Probe.namespace.get_by_name("missed")

        async def fired() -> list[list[int]]:
            return await probe.alarms()

        assert [scheduled for scheduled, _ in await until(fired)] == [due]  # type: ignore[union-attr]
        await asyncio.sleep(1.0)
        assert len(await probe.alarms()) == 1


async def test_A8_sleeping_objects_alarms_are_found_in_their_files_when_redis_was_wiped(
    service: RunningService,
) -> None:
    async with objects_of(service) as client:
        probes = [Probe.namespace.get_by_name(f"sleeper{n}") for n in range(300)]
        await asyncio.gather(*(probe.add() for probe in probes))
        due = await asyncio.gather(*(probe.wake_in(30_000) for probe in probes[:200]))

        async def swept() -> bool:
            return await client.redis.last_sweep() == await client.redis.run_id()

        async def asleep() -> bool:
            logs = service.data_dir.glob("objects/Probe/*/*-wal")
            return not any(log.stat().st_size for log in logs)

        await until(asleep)
        await until(swept)
        await client.redis._redis.flushall()
        await until(swept, within=28.0)
        found = await client.redis._redis.zcard("durable:alarms")
        assert found == 200

        async def fired() -> bool:
            return not await client.redis._redis.zcard("durable:alarms")

        await until(fired, within=60.0)
        for at, probe in zip(due, probes, strict=False):
            [[scheduled, when]] = await probe.alarms()
            assert when >= scheduled
            assert scheduled == at
