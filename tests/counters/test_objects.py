"""The counter as an object: one record, bounds, versions and idempotency keys."""

from typing import Any

import pytest

from counters import objects
from counters.objects import HIGHEST, KEY_LIFETIME_MS, LOWEST, Counter
from durable import RemoteError
from durable.testing import LocalObjects

START = 1_800_000_000_000
DAY = KEY_LIFETIME_MS / 1000


@pytest.fixture
def counter(local: LocalObjects) -> Counter:
    return Counter.namespace.get_by_name("views")


async def test_an_untouched_counter_is_zero(counter: Counter) -> None:
    assert await counter.read() == [0, 0, 0]
    assert await counter.value() == 0


async def test_increments_add_up(counter: Counter, local: LocalObjects) -> None:
    assert await counter.increment() == 1
    assert await counter.increment(5) == 6
    assert await counter.increment(-10) == -4
    local.clock.advance(1)
    assert await counter.add(1) == [-3, 4, local.clock.now()]


@pytest.mark.parametrize(
    ("amount", "bounds", "error"),
    [
        (HIGHEST, (None, None), "CounterOverflow"),
        (LOWEST, (None, None), None),
        (5, (None, 15), None),
        (6, (None, 15), "CounterOutOfRange"),
        (-10, (0, None), None),
        (-11, (0, None), "CounterOutOfRange"),
        (0, (11, None), "CounterOutOfRange"),
    ],
)
async def test_leaving_the_bounds_changes_nothing(
    counter: Counter, amount: int, bounds: tuple[int | None, int | None], error: str | None
) -> None:
    before = await counter.add(10)
    if error is None:
        assert (await counter.add(amount, *bounds))[0] == 10 + amount
        return
    with pytest.raises(RemoteError) as caught:
        await counter.add(amount, *bounds)
    assert caught.value.error_type == error
    assert await counter.read() == before


async def test_overflow_downwards(counter: Counter) -> None:
    await counter.set(LOWEST)
    with pytest.raises(RemoteError, match="CounterOverflow"):
        await counter.increment(-1)
    assert await counter.value() == LOWEST


async def test_a_key_counts_once_and_is_answered_the_same(counter: Counter) -> None:
    replayed, first = await counter.add_once("k", 5)
    assert not replayed
    await counter.increment()
    assert await counter.add_once("k", 5) == (True, first)
    assert await counter.value() == 6


@pytest.mark.parametrize("other", [(6, None, None), (5, 0, None), (5, None, 100)])
async def test_a_key_of_another_operation_is_refused(counter: Counter, other: tuple[Any, ...]) -> None:
    await counter.add_once("k", 5)
    with pytest.raises(RemoteError, match="IdempotencyKeyReused"):
        await counter.add_once("k", *other)
    assert await counter.value() == 5


async def test_a_refused_operation_leaves_its_key_unused(counter: Counter) -> None:
    with pytest.raises(RemoteError, match="CounterOutOfRange"):
        await counter.add_once("k", 5, None, 3)
    assert (await counter.add_once("k", 2, None, 3))[0] is False


async def test_keys_are_kept_through_eviction_and_a_day(counter: Counter, local: LocalObjects) -> None:
    _, first = await counter.add_once("k", 5)
    await local.evict(counter)
    local.clock.advance(DAY - 1)
    assert await counter.add_once("k", 5) == (True, first)
    local.clock.advance(1)
    replayed, later = await counter.add_once("k", 5)
    assert (replayed, later[0]) == (False, 10)
    assert (await counter.add_once("k", 5))[0] is True


async def test_the_oldest_keys_go_when_there_are_too_many(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "KEYS_KEPT", 3)
    for key in "abcd":
        await counter.add_once(key, 1)
    assert [(await counter.add_once(key, 1))[0] for key in "bcd"] == [True] * 3
    assert (await counter.add_once("a", 1))[0] is False


async def test_the_alarm_forgets_expired_keys_in_batches(
    counter: Counter, local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_PURGE_ROWS", 2)
    for key in "abc":
        await counter.add_once(key, 1)
    local.clock.advance(DAY / 2)
    await counter.add_once("late", 1)
    await local.advance(DAY / 2)
    assert local.alarm(counter) == local.clock.now() + 1000
    await local.advance(1)
    assert local.alarm(counter) == START + int(1.5 * KEY_LIFETIME_MS)
    await local.advance(DAY / 2)
    assert local.alarm(counter) is None


async def test_set_and_preconditions(counter: Counter) -> None:
    assert (await counter.set(7, absent=True))[:2] == [7, 1]
    with pytest.raises(RemoteError, match="CounterChanged"):
        await counter.set(8, absent=True)
    with pytest.raises(RemoteError, match="CounterChanged"):
        await counter.set(8, [2])
    assert (await counter.set(8, [5, 1]))[:2] == [8, 2]
    assert (await counter.set(9, []))[:2] == [9, 3]
    with pytest.raises(RemoteError, match="CounterOverflow"):
        await counter.set(2**63)


async def test_delete_forgets_everything(counter: Counter) -> None:
    await counter.add_once("k", 5)
    with pytest.raises(RemoteError, match="CounterChanged"):
        await counter.delete([7])
    await counter.delete([1])
    assert await counter.read() == [0, 0, 0]
    assert (await counter.add_once("k", 6))[0] is False
    assert await counter.value() == 6


async def test_any_version_that_exists_is_not_an_untouched_one(counter: Counter) -> None:
    with pytest.raises(RemoteError, match="CounterChanged"):
        await counter.set(1, [])
    with pytest.raises(RemoteError, match="CounterChanged"):
        await counter.delete([])
