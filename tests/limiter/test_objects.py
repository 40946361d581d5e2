"""A shard of a policy as an object: it agrees with the pure algorithms, forgets, and never goes back in time."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.testing import LocalObjects, local_objects
from limiter import objects
from limiter.logic import ALGORITHMS, Rule
from limiter.objects import RateLimiter, WireRule, shard_name
from tests.limiter.test_logic import Key, arrivals, rules

TEN: WireRule = ("sliding_window", 10, 60_000, 10)


def rows(local: LocalObjects, shard: RateLimiter, table: str) -> int:
    """The number of rows in one of the object's tables."""
    store = local.host.activations[str(shard.id)].gate.store  # type: ignore[attr-defined]
    return int(store.sql.exec(f"SELECT count(*) FROM {table}").one()[0])


@pytest.fixture
def shard(local: LocalObjects) -> RateLimiter:
    return RateLimiter.namespace.get_by_name(shard_name("login", "k", 1))


@settings(max_examples=50, deadline=None)
@given(st.data(), rules())
def test_it_decides_as_the_pure_algorithm_does(data: st.DataObject, rule: Rule) -> None:
    plain = Key()
    wire: WireRule = (rule.algorithm, rule.limit, rule.window_ms, rule.burst)
    requests = data.draw(arrivals(rule))
    cleans = data.draw(st.lists(st.booleans(), min_size=len(requests), max_size=len(requests)))

    async def replay(root: Path) -> None:
        async with local_objects(root) as local:
            shard = RateLimiter.namespace.get_by_name("policy/v1/0-of-1")
            for (pause, cost), clean in zip(requests, cleans, strict=True):
                local.clock.advance_ms(pause)
                expected = plain.check(rule, local.clock.now(), cost)
                assert await shard.check("key", cost, wire) == (
                    expected.allowed,
                    expected.remaining,
                    expected.reset_after,
                    expected.retry_after,
                )
                if clean:
                    await local.run_alarm(shard)

    with TemporaryDirectory() as root:
        asyncio.run(replay(Path(root)))


async def test_keys_do_not_share(shard: RateLimiter) -> None:
    assert (await shard.check("a", 10, TEN))[0]
    assert not (await shard.check("a", 1, TEN))[0]
    assert (await shard.check("b", 1, TEN))[0]


async def test_it_remembers_through_eviction(shard: RateLimiter, local: LocalObjects) -> None:
    await shard.check("a", 9, TEN)
    await local.evict(shard)
    assert await shard.check("a", 0, TEN) == (True, 1, 60_000, 0)


async def test_looking_writes_nothing(shard: RateLimiter, local: LocalObjects) -> None:
    await shard.check("a", 0, TEN)
    assert not local.has_file(shard)


async def test_reset_forgets_one_key(shard: RateLimiter) -> None:
    await shard.check("a", 10, TEN)
    await shard.check("b", 10, TEN)
    await shard.reset("a")
    await shard.reset("unknown")
    assert (await shard.check("a", 10, TEN))[0]
    assert not (await shard.check("b", 1, TEN))[0]


async def test_a_clock_that_goes_back_gives_nothing_away(shard: RateLimiter, local: LocalObjects) -> None:
    await shard.check("a", 10, TEN)
    local.clock.advance(-120)
    assert await shard.check("a", 1, TEN) == (False, 0, 60_000, 60_000)
    await local.evict(shard)  # the next owner's clock is behind, and it has only the file to go by
    assert await shard.check("a", 1, TEN) == (False, 0, 60_000, 60_000)
    local.clock.advance(180)
    assert (await shard.check("a", 10, TEN))[0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_another_algorithm_begins_anew(shard: RateLimiter, algorithm: str) -> None:
    await shard.check("a", 10, TEN)
    allowed, remaining, _, _ = await shard.check("a", 10, (algorithm, 10, 60_000, 10))
    assert (allowed, remaining) == (algorithm != "sliding_window", 0)
    assert not (await shard.check("a", 1, (algorithm, 10, 60_000, 10)))[0]


async def test_an_edited_limit_counts_at_once(shard: RateLimiter) -> None:
    await shard.check("a", 10, TEN)
    assert (await shard.check("a", 5, ("sliding_window", 15, 60_000, 15)))[:2] == (True, 0)


@pytest.mark.parametrize("cost", [0, 2])
async def test_a_lengthened_window_counts_what_was_admitted_before(
    shard: RateLimiter, local: LocalObjects, cost: int
) -> None:
    await shard.check("a", 10, ("sliding_window", 10, 2_000, 10))
    assert (await shard.check("a", cost, TEN))[1:3] == (0, 60_000)
    await local.advance(59)  # long after it would have been forgotten
    assert await shard.check("a", 2, TEN) == (False, 0, 1_000, 1_000)
    await local.advance(1)
    assert (await shard.check("a", 2, TEN))[0]


async def test_the_alarm_removes_what_expired_in_batches(
    shard: RateLimiter, local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_CLEAN_KEYS", 2)
    monkeypatch.setattr(objects, "_CLEAN_HITS", 3)
    for _ in range(5):
        await shard.check("a", 1, TEN)
        local.clock.advance_ms(1)
    for key in "bcd":
        await shard.check(key, 1, TEN)
    local.clock.advance(30)
    await shard.check("late", 1, TEN)
    local.clock.advance(31)

    left = [8 + 1]
    while left[-1] > 1:
        assert await local.run_alarm(shard)
        left.append(rows(local, shard, "hit"))
        assert left[-2] - left[-1] <= 5
    assert rows(local, shard, "subject") == 1
    assert (await shard.check("late", 0, TEN))[1] == 9
    await local.advance(61)
    assert local.alarm(shard) is None
    assert await shard.check("late", 0, TEN) == (True, 10, 0, 0)


async def test_a_key_used_again_while_it_is_being_removed(
    shard: RateLimiter, local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_CLEAN_HITS", 2)
    for _ in range(8):
        await shard.check("a", 1, TEN)
        local.clock.advance_ms(1)
    local.clock.advance(61)
    await local.run_alarm(shard)
    assert 0 < rows(local, shard, "hit") < 8
    assert (await shard.check("a", 4, TEN))[1] == 6
    assert rows(local, shard, "hit") == 1


def test_keys_are_spread_the_same_at_every_time() -> None:
    assert shard_name("login", "1.2.3.4", 16) == "login/v1/7-of-16"
    assert shard_name("login", "", 1) == "login/v1/0-of-1"
    assert len({shard_name("p", f"key{n}", 16) for n in range(500)}) == 16
