"""The router: what it does when the way to an owner ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from durable.cluster.directory import Directory
from durable.cluster.link import Link, listen
from durable.cluster.redis import WorkerSession
from durable.cluster.router import Router
from durable.core.envelope import LINK_VERSION, Attach, Call, Hello, Reply
from durable.errors import UnavailableError
from durable.identity import id_from_name
from durable.testing.cluster import LocalCluster


@asynccontextmanager
async def ungrateful_worker(folder: Path, called: Callable[[], None]) -> AsyncIterator[Directory]:
    """The directory of one worker that ends each link on which it is called."""

    def answer(link: Link, message: object) -> None:
        if isinstance(message, Call):
            called()
            link.close()

    def make() -> Link:
        hello = Hello(LINK_VERSION, "w", "worker")
        return Link(hello, received=answer, opened=lambda _: None, closed=lambda _: None)

    address = str(folder / "w.sock")
    server = await listen(address, make)
    cluster = LocalCluster()
    cluster.workers["w"] = WorkerSession("w", 1, 1, "here", "serving", 0, address)
    directory = Directory(cluster)  # type: ignore[arg-type]
    await directory.refresh()
    yield directory
    server.close()


async def test_a_worker_whose_links_end_again_and_again_is_asked_more_and_more_slowly(
    tmp_path: Path,
) -> None:
    asked: list[float] = []
    often = asyncio.Event()

    def called() -> None:
        asked.append(time.monotonic())
        if len(asked) == 7:
            often.set()

    async with ungrateful_worker(tmp_path, called) as directory:
        router = Router("me", "client", directory, park_seconds=30.0, max_parked=10)
        calling = asyncio.create_task(router.call(id_from_name("Lab", "x"), "get", b""))
        await asyncio.wait_for(often.wait(), 20)
        assert asked[-1] - asked[0] > 0.3  # 8 + 16 + 32 + 64 + 128 + 200 ms and no less
        router.close()
    with pytest.raises(UnavailableError):
        await calling


async def test_O7_a_call_that_finds_no_lasting_owner_ends_when_it_has_waited_long_enough_in_all(
    tmp_path: Path,
) -> None:
    async with ungrateful_worker(tmp_path, lambda: None) as directory:
        router = Router("me", "client", directory, park_seconds=0.3, max_parked=10)
        async with asyncio.timeout(20):
            with pytest.raises(UnavailableError) as caught:
                await router.call(id_from_name("Lab", "x"), "get", b"")
        assert caught.value.delivered == "unknown"
        router.close()


async def test_O6_an_object_is_woken_at_its_new_owner_though_the_one_before_still_answers(
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    cluster = LocalCluster()

    async def serve(worker: str) -> asyncio.Server:
        def answer(link: Link, message: object) -> None:
            assert isinstance(message, Attach | Call)
            asked.append(worker)
            link.send(Reply(message.number, b""))

        def make() -> Link:
            hello = Hello(LINK_VERSION, worker, "worker")
            return Link(hello, received=answer, opened=lambda _: None, closed=lambda _: None)

        address = str(tmp_path / worker)
        cluster.workers[worker] = WorkerSession(worker, 1, 1, "here", "serving", 0, address)
        return await listen(address, make)

    servers = [await serve("v"), await serve("w")]
    directory = Directory(cluster)  # type: ignore[arg-type]
    await directory.refresh()
    router = Router("me", "client", directory, park_seconds=5.0, max_parked=10)
    object_id = id_from_name("Lab", "x")
    try:
        await router.call(object_id, "get", b"")
        (old,) = asked
        new = "w" if old == "v" else "v"
        for owner in (new, new, old):
            await asyncio.wait_for(router.wake(object_id, owner), 5)
        assert asked == [old, new, new, old]
    finally:
        router.close()
        for server in servers:
            server.close()
