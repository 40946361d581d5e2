"""Handlers that take memory without end: they are named, interrupted and undone, and others go on."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.errors import MemoryLimitError, RemoteError, SetAsideError
from tests.running_service import RunningService, eventually, running_service

from .conftest import objects_of
from .probe.objects import Villain

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only"),
]

LIMIT = 400 * 1024 * 1024  # as tests.cluster.greedy_settings has it


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service whose workers have little memory."""
    with running_service(tmp_path, DJANGO_SETTINGS_MODULE="tests.cluster.greedy_settings") as running:
        yield running


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("method", ["hoard", "hoard_between_waits"])
async def test_L3_a_handler_that_takes_all_memory_is_named_interrupted_and_undone(
    service: RunningService, method: str
) -> None:
    async with objects_of(service):
        villain, bystander = Villain.namespace.get_by_name("v"), Villain.namespace.get_by_name("b")
        assert (await villain.count(), await bystander.count()) == (1, 1)
        pid = await villain.pid()
        with pytest.raises(MemoryLimitError, match="worker_memory_limit") as raised:
            await getattr(villain, method)()
        assert raised.value.delivered == "no"
        assert f"Villain 'v': call {method} is interrupted: the process has" in service.log()
        assert f"in {method}" in service.log()
        assert (await villain.count(), await bystander.count()) == (2, 2)
        assert await villain.pid() == pid
        await asyncio.to_thread(eventually, lambda: resident(pid) < LIMIT)


async def test_L3_one_allocation_beyond_all_bounds_fails_by_itself(service: RunningService) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        assert await villain.count() == 1
        pid = await villain.pid()
        with pytest.raises(RemoteError) as raised:
            await villain.take(3 * LIMIT)
        assert raised.value.error_type == "MemoryError"
        assert (await villain.count(), await villain.pid()) == (2, pid)
        assert await villain.take(LIMIT // 8) == LIMIT // 8


async def test_L3_if_the_machine_runs_out_of_memory_a_worker_goes_first(service: RunningService) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert min(map(score, service.worker_pids())) > max(map(score, service.gateway_pids()))


async def test_L3_who_takes_memory_and_cannot_be_interrupted_costs_its_worker_only(
    service: RunningService,
) -> None:
    async with objects_of(service):
        villain = Villain.namespace.get_by_name("v")
        bystanders = [Villain.namespace.get_by_name(f"b{number}") for number in range(10)]
        await asyncio.gather(*(one.count() for one in [villain, *bystanders]))
        gateways = service.gateway_pids()
        with pytest.raises(SetAsideError):  # it was tried once more, and then no more
            await villain.hoard_on()
        assert "cannot be interrupted" in service.log()
        assert await asyncio.gather(*(one.count() for one in [villain, *bystanders])) == [2] * 11
        assert service.gateway_pids() == gateways
