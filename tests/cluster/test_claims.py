"""Claims that leave together: one write to Redis, an answer for each."""

import asyncio
from typing import Any

import pytest
import redis

from durable.cluster.owners import RedisOwners
from durable.cluster.redis import RedisCluster, RedisUnavailableError, Wanted
from durable.identity import id_from_name
from durable.runtime.surroundings import NotOwnerError
from tests.cluster.conftest import objects_of
from tests.running_service import RunningService

IDS = [id_from_name("Probe", f"claimed-{number}") for number in range(5)]


def redis_of(service: RunningService) -> Any:
    """For an operator's commands."""
    return redis.Redis.from_url(service.record().redis_url)


async def test_O2_claims_of_one_turn_are_one_write_and_each_gets_its_own_answer(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with objects_of(service) as client:
        cluster = client.redis
        living = (await cluster.list_workers())[0].worker
        assert await cluster.claim(IDS[1], living, 6) == (living, 7)
        assert await cluster.claim(IDS[2], "dead", 8) == ("dead", 9)
        asked: list[int] = []
        claim_each = cluster.claim_each

        async def noted(worker: str, wanted: Any) -> list[tuple[str, int]]:
            asked.append(len(wanted))
            return await claim_each(worker, wanted)

        monkeypatch.setattr(cluster, "claim_each", noted)
        owners = RedisOwners(cluster, "me")
        answers = await asyncio.gather(*(owners.claim(one, 3) for one in IDS), return_exceptions=True)
        assert answers[0] == answers[3] == answers[4] == 4
        assert isinstance(answers[1], NotOwnerError)
        assert answers[1].owner == living
        assert answers[2] == 10  # asked once more, over who is dead
        assert asked == [5, 1]


async def test_O2_claims_that_leave_together_find_a_redis_that_has_forgotten_its_scripts(
    service: RunningService,
) -> None:
    async with objects_of(service) as client:
        wanted = [Wanted(one) for one in IDS]
        redis_of(service).script_flush()
        assert await client.redis.claim_each("me", wanted) == [("me", 1)] * len(IDS)
        assert await client.redis.claim_each("other", wanted) == [("me", 1)] * len(IDS)


async def test_O2_claims_that_redis_refuses_fail_and_the_next_do_not(service: RunningService) -> None:
    async with objects_of(service) as client:
        owners = RedisOwners(client.redis, "me")
        redis_of(service).config_set("min-replicas-to-write", 1)  # it takes no writes now
        try:
            answers = await asyncio.gather(*(owners.claim(one, 0) for one in IDS), return_exceptions=True)
        finally:
            redis_of(service).config_set("min-replicas-to-write", 0)
        assert all(isinstance(answer, RedisUnavailableError) for answer in answers)
        assert await asyncio.gather(*(owners.claim(one, 0) for one in IDS)) == [1] * len(IDS)


async def test_O2_who_does_not_wait_any_more_takes_no_answer_from_others() -> None:
    cluster = RedisCluster("redis://127.0.0.1:1")
    go = asyncio.Event()

    async def claim_each(worker: str, wanted: Any) -> list[tuple[str, int]]:
        await go.wait()
        return [(worker, 1) for _ in wanted]

    cluster.claim_each = claim_each  # type: ignore[method-assign]
    owners = RedisOwners(cluster, "me")
    claims = [asyncio.create_task(owners.claim(one, 0)) for one in IDS]
    await asyncio.sleep(0)
    claims[1].cancel()
    await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*claims, return_exceptions=True)
    assert isinstance(answers.pop(1), asyncio.CancelledError)
    assert answers == [1] * 4
    await cluster.close()
