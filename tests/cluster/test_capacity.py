"""A service whose processes may have few descriptors open."""

import asyncio
from pathlib import Path

import pytest

from durable.runtime.capacity import DESCRIPTORS_PER_OBJECT, OTHER_DESCRIPTORS
from tests.running_service import running_service

from .conftest import objects_of
from .probe.objects import Probe

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

HELD = 10  # objects a worker can hold
OBJECTS = 150


async def test_L2_workers_with_few_descriptors_serve_more_objects_than_they_can_hold(tmp_path: Path) -> None:
    few = OTHER_DESCRIPTORS + HELD * DESCRIPTORS_PER_OBJECT
    with running_service(
        tmp_path, descriptors=few, DJANGO_SETTINGS_MODULE="tests.cluster.settings"
    ) as service:
        async with objects_of(service):
            pids = service.worker_pids()
            turns = asyncio.Semaphore(HELD // 2)  # callers at once, so that some objects are always idle

            async def count(number: int) -> int:
                async with turns:
                    return await Probe.namespace.get_by_name(f"{number}").add()

            for time in (1, 2):
                assert await asyncio.gather(*map(count, range(OBJECTS))) == [time] * OBJECTS
            assert service.worker_pids() == pids
            assert "Too many open files" not in service.log()
