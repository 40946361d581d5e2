"""The queue: nothing lost, nothing with two workers at once, and what nobody finishes comes back or is set aside."""

import asyncio

import pytest

from durable.testing import LocalObjects
from examples.work_queue import Job, WorkQueue


@pytest.fixture
def queue(local: LocalObjects) -> WorkQueue:
    return WorkQueue.namespace.get_by_name("mail")


async def test_jobs_come_in_order_and_are_gone_when_done(queue: WorkQueue) -> None:
    for body in ("one", "two", "three"):
        await queue.put(body)
    assert await queue.take(2) == [Job(1, 1, "one"), Job(2, 1, "two")]
    assert await queue.take(2) == [Job(3, 1, "three")]
    assert [await queue.done(number, 1) for number in (1, 2, 3)] == [True, True, True]
    assert await queue.take(2) == []


async def test_concurrent_workers_never_get_the_same_job(queue: WorkQueue) -> None:
    await asyncio.gather(*(queue.put(str(n)) for n in range(30)))
    taken = await asyncio.gather(*(queue.take(2) for _ in range(20)))
    assert sorted(job.id for jobs in taken for job in jobs) == list(range(1, 31))


async def test_a_key_adds_a_job_once(queue: WorkQueue) -> None:
    first, again = await queue.put("one", key="order-7"), await queue.put("one", key="order-7")
    assert first == again
    assert len(await queue.take(5)) == 1
    assert await queue.put("no key") != await queue.put("no key")


async def test_a_job_comes_back_when_its_time_is_over(local: LocalObjects, queue: WorkQueue) -> None:
    await queue.put("one")
    await queue.take(seconds=30)
    await local.advance(29)
    assert await queue.take() == []
    await local.advance(1)
    assert await queue.take() == [Job(1, 2, "one")]


async def test_who_was_too_slow_can_do_nothing_more(local: LocalObjects, queue: WorkQueue) -> None:
    await queue.put("one")
    await queue.take(seconds=30)
    await local.advance(30)
    assert await queue.done(1, 1) is False
    await queue.take(seconds=30)
    assert await queue.done(1, 1) is False
    assert await queue.extend(1, 1, 30) is False
    assert await queue.done(1, 2) is True


async def test_extending_keeps_a_job_and_zero_gives_it_back(local: LocalObjects, queue: WorkQueue) -> None:
    await queue.put("one")
    await queue.take(seconds=30)
    await local.advance(20)
    assert await queue.extend(1, 1, 30) is True
    await local.advance(20)
    assert await queue.take() == []
    assert await queue.extend(1, 1, 0) is True
    assert await queue.take() == [Job(1, 2, "one")]


async def test_a_taken_job_stays_taken_through_crash_and_sleep(local: LocalObjects, queue: WorkQueue) -> None:
    await queue.put("one")
    await queue.take(seconds=30)
    await local.crash()
    assert await queue.take() == []
    await local.evict(queue)
    assert await queue.done(1, 1) is True


async def test_a_take_whose_owner_dies_before_it_answers_takes_once(
    local: LocalObjects, queue: WorkQueue
) -> None:
    await queue.put("one")
    await queue.put("two")
    local.commits.hold()
    taking = asyncio.create_task(queue.take())
    await local.commits.waiting()  # committed, but nobody has heard of it
    local.commits.pass_through()
    await local.crash()
    assert await taking == [Job(1, 1, "one")]
    assert await queue.take(5) == [Job(2, 1, "two")]


async def test_what_is_never_done_is_set_aside_until_it_is_retried(
    local: LocalObjects, queue: WorkQueue
) -> None:
    await queue.put("poison")
    for attempt in range(1, 6):
        assert await queue.take(seconds=30) == [Job(1, attempt, "poison")]
        await local.advance(30)
    assert await queue.take() == []
    assert await queue.set_aside() == [Job(1, 5, "poison")]
    assert await queue.retry(1) is True
    assert await queue.retry(1) is False
    assert await queue.take() == [Job(1, 1, "poison")]


async def test_workers_are_told_when_there_is_something_to_take(
    local: LocalObjects, queue: WorkQueue
) -> None:
    worker = await local.connect(queue)
    await local.settle()
    assert worker.take() == []
    await queue.put("now")
    await queue.put("later", delay=60)
    assert await worker.receive() == "ready"
    assert await queue.take(5, seconds=300) == [Job(1, 1, "now")]
    await local.evict(queue)
    worker.take()
    await local.advance(60)  # the alarm wakes the queue
    assert await worker.receive() == "ready"
    assert await queue.take(5, seconds=300) == [Job(2, 1, "later")]
    assert local.alarm(queue) == local.clock.now() + 240_000  # when the first one comes back


async def test_a_worker_that_connects_late_is_told_too(local: LocalObjects, queue: WorkQueue) -> None:
    await queue.put("now")
    worker = await local.connect(queue)
    assert await worker.receive() == "ready"
    await local.crash()
    await queue.take(0)
    assert await worker.receive() == "ready"
