"""A cancelled task ends, also where the Redis client keeps the cancellation to itself."""

import asyncio

import pytest

from durable.cluster.redis import RedisCluster


async def test_a_cancellation_that_the_client_swallowed_takes_effect() -> None:
    cluster = RedisCluster("redis://127.0.0.1:1")  # never connects
    asked = asyncio.Event()

    async def answers_in_spite_of_cancellation() -> str:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as asyncio.wait_for did before Python 3.12 when the answer had just come"
        raise AssertionError

    task = asyncio.create_task(cluster._ask(answers_in_spite_of_cancellation()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cluster.close()


async def test_what_is_asked_while_a_task_is_being_cancelled_is_still_answered() -> None:
    cluster = RedisCluster("redis://127.0.0.1:1")
    answers: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            answers.append(await cluster._ask(asyncio.sleep(0, "done")))

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answers == ["done"]
    await cluster.close()
