"""The look-up cache: one load a key at a time, remembered for a moment."""

import asyncio

import pytest

from durable.gateway.lookups import LookupCache


class Source:
    """A slow source whose answers the test releases."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = False
        self.now = 0.0

    async def load(self, key: str) -> str:
        self.loads.append(key)
        await self.gate.wait()
        if self.fail:
            raise LookupError(key)
        return f"{key}{len(self.loads)}"


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> LookupCache[str, str]:
    return LookupCache(source.load, seconds=1.0, size=2, clock=lambda: source.now)


async def test_an_answer_is_remembered_for_its_time(source: Source, cache: LookupCache[str, str]) -> None:
    assert await cache.get("a") == await cache.get("a") == "a1"
    source.now = 1.0
    assert await cache.get("a") == "a2"


async def test_a_burst_loads_once(source: Source, cache: LookupCache[str, str]) -> None:
    source.gate.clear()
    tasks = [asyncio.create_task(cache.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    source.gate.set()
    assert set(await asyncio.gather(*tasks[1:])) == {"a1"}
    assert source.loads == ["a"]


async def test_failures_are_not_remembered(source: Source, cache: LookupCache[str, str]) -> None:
    source.fail = True
    with pytest.raises(LookupError):
        await cache.get("a")
    source.fail = False
    assert await cache.get("a") == "a2"


async def test_the_number_of_entries_is_bounded(source: Source, cache: LookupCache[str, str]) -> None:
    for key in ("a", "b", "c", "a"):
        await cache.get(key)
    assert source.loads == ["a", "b", "c", "a"]


async def test_an_answer_on_its_way_is_forgotten_too(source: Source, cache: LookupCache[str, str]) -> None:
    source.gate.clear()
    stale = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    cache.forget("a")
    source.gate.set()
    await stale
    assert await cache.get("a") == "a2"


async def test_a_key_in_steady_use_is_loaded_ahead_and_nobody_waits(
    source: Source, cache: LookupCache[str, str]
) -> None:
    assert await cache.get("a") == "a1"
    source.now = 0.6
    source.gate.clear()
    assert [await cache.get("a") for _ in range(3)] == ["a1"] * 3
    await asyncio.sleep(0)
    assert source.loads == ["a", "a"]
    source.gate.set()
    source.now = 1.2
    assert await cache.get("a") == "a2"


async def test_a_slow_answer_is_as_old_as_its_question(source: Source, cache: LookupCache[str, str]) -> None:
    source.gate.clear()
    first = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    source.now = 5.0
    source.gate.set()
    assert await first == "a1"
    assert await cache.get("a") == "a2"
