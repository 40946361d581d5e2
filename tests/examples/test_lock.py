"""The lock: one holder at a time, tokens that only grow, and waiters that hear of a release or of the end of a lease."""

import asyncio
from typing import Any

import pytest

from durable import RemoteError
from durable.testing import LocalObjects
from examples.lock import Grant, GuardedValue, Lock


@pytest.fixture
def lock(local: LocalObjects) -> Lock:
    return Lock.namespace.get_by_name("backup")


async def test_one_of_many_gets_it(local: LocalObjects, lock: Lock) -> None:
    grants = await asyncio.gather(*(lock.try_acquire(f"host-{n}") for n in range(20)))
    (grant,) = [grant for grant in grants if grant]
    assert await lock.current() == grant
    assert grant == Grant(grant.holder, 1, local.clock.now() + 30_000)


async def test_asking_twice_gives_the_grant_that_stands(lock: Lock) -> None:
    first = await lock.try_acquire("a")
    again = await lock.try_acquire("a")
    assert first is not None
    assert again == first


async def test_tokens_grow_across_crashes_and_sleep(local: LocalObjects, lock: Lock) -> None:
    tokens = []
    for between in (local.crash, lambda: local.evict(lock), local.crash):
        grant = await lock.try_acquire("a")
        assert grant is not None
        tokens.append(grant.token)
        await lock.release(grant.token)
        await between()
    assert tokens == [1, 2, 3]


async def test_a_grant_outlives_its_owner(local: LocalObjects, lock: Lock) -> None:
    grant = await lock.try_acquire("a")
    await local.crash()
    assert await lock.try_acquire("b") is None
    assert await lock.current() == grant


async def test_only_the_grant_itself_can_be_released_or_renewed(lock: Lock) -> None:
    grant = await lock.try_acquire("a")
    assert grant is not None
    assert await lock.release(grant.token + 1) is False
    with pytest.raises(RemoteError, match="this grant has ended") as caught:
        await lock.renew(grant.token + 1)
    assert (caught.value.error_type, caught.value.fields) == ("LockLostError", {"token": 2})
    assert await lock.release(grant.token) is True
    assert await lock.release(grant.token) is False


async def test_a_lease_runs_out_unless_it_is_renewed(local: LocalObjects, lock: Lock) -> None:
    grant = await lock.try_acquire("a", 30)
    assert grant is not None
    await local.advance(20)
    await lock.renew(grant.token, 30)
    await local.advance(20)
    assert await lock.try_acquire("b") is None
    await local.advance(10)
    other = await lock.try_acquire("b")
    assert other is not None
    assert other.token == grant.token + 1


def asking(lock: Lock, holder: str, **options: Any) -> "asyncio.Task[Grant | None]":
    return asyncio.create_task(lock.acquire(holder, **options))


async def test_who_waits_gets_it_at_a_release(local: LocalObjects, lock: Lock) -> None:
    grant = await lock.acquire("a")
    assert grant is not None
    waiting = [asking(lock, name) for name in "bc"]
    await local.settle()
    await lock.release(grant.token)
    (done,), (still,) = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    second = done.result()
    assert second is not None
    assert second.token == 2
    await lock.release(second.token)
    third = await still
    assert third is not None
    assert third.token == 3


async def test_who_waits_gets_it_when_the_lease_runs_out(local: LocalObjects, lock: Lock) -> None:
    await lock.acquire("a", 30)
    waiting = asking(lock, "b")
    await local.settle()
    await local.advance(30)
    grant = await waiting
    assert grant is not None
    assert (grant.holder, grant.token) == ("b", 2)


async def test_waiting_ends(lock: Lock) -> None:
    await lock.acquire("a")
    assert await lock.acquire("b", wait=0.01) is None


async def test_who_waits_waits_on_at_the_next_owner(local: LocalObjects, lock: Lock) -> None:
    grant = await lock.acquire("a")
    assert grant is not None
    waiting = asking(lock, "b")
    await local.settle()
    await local.crash()
    assert await lock.release(grant.token) is True
    second = await waiting
    assert second is not None
    assert second.token == 2


async def test_a_late_holder_does_no_harm(local: LocalObjects, lock: Lock) -> None:
    value = GuardedValue.namespace.get_by_name("backup")
    slow = await lock.try_acquire("slow", 10)
    await local.advance(10)
    quick = await lock.try_acquire("quick", 10)
    assert slow is not None
    assert quick is not None
    await value.write(quick.token, "quick")
    with pytest.raises(RemoteError, match="newer token") as caught:
        await value.write(slow.token, "slow")
    assert caught.value.fields == {"newest": quick.token}
    assert await value.read() == "quick"
