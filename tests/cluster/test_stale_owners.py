"""Redis says what is not so: who is told to own an object does not matter, counts stay exact and nobody is refused."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from benchmarks.load import request_bytes, run
from counters.objects import Counter
from durable.client import ClusterClient
from durable.cluster.redis import _owner_key
from tests.running_service import RunningService

from .conftest import objects_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SECONDS = 5.0
OWNER = _owner_key(Counter.namespace.id_from_name("hot"))

Lie = Callable[[ClusterClient, int], Awaitable[None]]


async def lie(service: RunningService, tell: Lie) -> None:
    """Count from 32 connections while Redis is made to lie again and again."""
    request = request_bytes("POST", "/api/v1/counters/hot/increment", "127.0.0.1")
    load = asyncio.create_task(run("127.0.0.1", service.port, 32, SECONDS, lambda: request))
    async with objects_of(service) as client:
        for number in range(1000):
            await asyncio.sleep(0.3)
            if load.done():
                break
            await tell(client, number)
    result = await load
    assert number > 5
    assert result.broken == 0
    assert set(result.statuses) == {200}
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
        assert (await http.get("/api/v1/counters/hot")).json()["value"] == result.statuses[200]


async def test_O4_the_lease_is_taken_from_under_a_live_owner(service: RunningService) -> None:
    async def end_a_session(client: ClusterClient, number: int) -> None:
        owner = await client.redis.owner(Counter.namespace.id_from_name("hot"))
        if owner is not None and number % 5 == 0:
            await client.redis._redis.delete(f"durable:worker:{owner[0]}")

    await lie(service, end_a_session)


async def test_O4_two_workers_believe_in_turn_that_they_own(service: RunningService) -> None:
    async def name_another(client: ClusterClient, number: int) -> None:
        workers = sorted(session.worker for session in await client.redis.list_workers())
        chosen = workers[number % len(workers)]
        await client.redis._redis.hset(OWNER, mapping={"worker": chosen})
        await client.redis._redis.hincrby(OWNER, "epoch", 1)

    await lie(service, name_another)


async def test_O3_redis_comes_back_with_an_old_epoch_and_another_owner(service: RunningService) -> None:
    async def go_back(client: ClusterClient, number: int) -> None:
        workers = sorted(session.worker for session in await client.redis.list_workers())
        chosen = workers[number % len(workers)]
        await client.redis._redis.hset(OWNER, mapping={"worker": chosen, "epoch": "1"})

    await lie(service, go_back)
