"""What a process knows of the workers, whatever else is said on the same Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from durable.cluster.directory import Directory
from durable.cluster.redis import RedisCluster, WorkerSession
from durable.service.valkey import Valkey


@pytest.fixture
async def cluster(valkey: Valkey) -> AsyncIterator[RedisCluster]:
    made = RedisCluster(valkey.url)
    yield made
    await made.close()


def session(worker: str) -> WorkerSession:
    return WorkerSession(worker, 1, 1, "here", "serving", 0, "/nowhere")


async def test_what_cannot_be_read_hides_no_worker_and_no_notice(
    valkey: Valkey, cluster: RedisCluster
) -> None:
    taken = asyncio.Event()
    directory = Directory(cluster, taken=lambda notice: taken.set())
    raw = redis.asyncio.from_url(valkey.url)
    await raw.set("durable:worker:odd", b"{")
    await raw.sadd("durable:workers", "odd")
    await cluster.register_worker(session("w1"), 60)
    await directory.start()
    try:
        assert set(directory.live) == {"w1"}
        async with asyncio.timeout(10):
            while await raw.publish("durable:notices", b"not a notice") == 0:
                await asyncio.sleep(0.01)  # until it listens
            await raw.publish("durable:notices", b'{"kind":"taken","worker":"w2","object_id":"x","epoch":1}')
            await taken.wait()
            await cluster.register_worker(session("w2"), 60)
            while set(directory.live) != {"w1", "w2"}:
                await directory.wait_for_change(0.1)
    finally:
        await directory.stop()
        await raw.aclose()
