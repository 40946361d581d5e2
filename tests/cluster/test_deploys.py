"""Deploys under load, with code on disk that really changes: clients notice nothing, and broken code stops nothing but itself."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.load import Result, request_bytes, run
from durable import DurableObject
from durable.errors import StorageError
from tests.running_service import ROOT, RunningService, eventually, running_service

from .conftest import objects_of
from .test_ownership import until, value_of_hot

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CODE = """
import os
import sys

from durable import DurableObject

{trouble}


class Ledger(DurableObject):
    migrations = {migrations!r}

    async def add(self) -> list[int]:
        total = self.ctx.storage.get("total", 0) + 1
        self.ctx.storage.put("total", total)
        return [total, {number}, os.getpid()]
"""
SETTINGS = """
from tests.cluster.settings import *
from tests.cluster.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "ledgers"]
"""


class Ledger(DurableObject, abstract=True):
    """The class as these tests see it; its code is what `Site.deploy` wrote last."""

    async def add(self) -> list[int]:
        """[total, number of the code, process]."""
        raise NotImplementedError


class Site:
    """A project's code on disk, and the service that runs it."""

    def __init__(self, code: Path, data_dir: Path) -> None:
        self._code = code
        self._app = code / "ledgers"
        self._app.mkdir(parents=True)
        (self._app / "__init__.py").touch()
        (code / "site_settings.py").write_text(SETTINGS)
        self._data_dir = data_dir
        data_dir.mkdir()

    def deploy(self, number: int, *, migrations: int, trouble: str = "") -> None:
        """Put the next version of the code on disk."""
        steps = [f"CREATE TABLE t{n} (x)" for n in range(migrations)]
        text = CODE.format(number=number, migrations=steps, trouble=trouble)
        draft = self._app / "draft"
        draft.write_text(text)
        draft.replace(self._app / "objects.py")

    def only_one_starts(self) -> str:
        """Code that lets one worker start, and no other."""
        marker = self._code / "one_has_started"
        return (
            f"if sys.argv[1] in ('worker', 'standby'):\n"
            f"    if os.path.exists({str(marker)!r}):\n"
            f"        sys.exit('the second one is broken')\n"
            f"    if sys.argv[1] == 'worker':\n"
            f"        open({str(marker)!r}, 'w').close()"
        )

    def serve(self) -> Iterator[RunningService]:
        """Run the service."""
        with running_service(
            self._data_dir,
            DJANGO_SETTINGS_MODULE="site_settings",
            PYTHONPATH=f"{self._code}:{ROOT}",
            PYTHONDONTWRITEBYTECODE="1",  # a file that changes twice a second would be taken for its old self
        ) as service:
            yield service


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """The first version of the code."""
    site = Site(tmp_path / "code", tmp_path / "data")
    site.deploy(1, migrations=1)
    return site


@pytest.fixture
def service(site: Site) -> Iterator[RunningService]:
    """The service that runs it."""
    yield from site.serve()


async def redeploy(service: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`manage.py objects redeploy`, however it ends."""
    command = [sys.executable, "manage.py", "objects", "redeploy", *arguments]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Talk:
    """A chat client who counts what it hears, and notes when it is cut off."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.heard: list[str] = []
        self.closed: ConnectionClosed | None = None
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for frame in self.client:
                if text := json.loads(frame).get("text"):
                    self.heard.append(text)
        except ConnectionClosed as error:
            self.closed = error

    async def say(self, text: str) -> None:
        """Send one message."""
        await self.client.send(json.dumps({"user": "Alice", "text": text}))


@asynccontextmanager
async def talks(service: RunningService, count: int) -> AsyncIterator[list[Talk]]:
    """Clients in pairs, each pair in a room of its own."""
    addresses = [f"ws://127.0.0.1:{service.port}/ws/demo/chat/room{n // 2}/" for n in range(count)]
    clients = [await connect(address, proxy=None) for address in addresses]
    try:
        yield [Talk(client) for client in clients]
    finally:
        for client in clients:
            await client.close()


async def chatter(pairs: list[Talk], over: asyncio.Event) -> int:
    """Until it is over, the first of each pair talks to the second; how much each said."""
    number = 0
    while not over.is_set():
        for speaker in pairs[::2]:
            await speaker.say(str(number))
        number += 1
        await asyncio.sleep(0.05)
    return number


async def count_until(over: asyncio.Event, service: RunningService) -> Result:
    """Increment one counter from 16 connections until it is over."""
    request = request_bytes("POST", "/api/v1/counters/hot/increment", "127.0.0.1")
    total = Result()
    while not over.is_set():
        result = await run("127.0.0.1", service.port, 16, 0.5, lambda: request)
        total.statuses += result.statuses
        total.broken += result.broken
    return total


async def test_W3_a_roll_out_under_load_fails_no_request_and_closes_no_socket(
    service: RunningService, site: Site
) -> None:
    workers, gateways = service.worker_pids(), service.gateway_pids()
    over = asyncio.Event()
    async with talks(service, 10) as pairs, objects_of(service):
        ledgers = [Ledger.namespace.get_by_name(f"l{n}") for n in range(20)]
        assert [(await ledger.add())[:2] for ledger in ledgers] == [[1, 1]] * 20
        site.deploy(2, migrations=2)
        chatting = asyncio.create_task(chatter(pairs, over))
        load = asyncio.create_task(count_until(over, service))
        done = await redeploy(service)
        over.set()
        result = await load
        said = await chatting
        assert done.returncode == 0, done.stdout + done.stderr
        assert "worker 2/2 replaced" in done.stdout
        assert result.broken == 0
        assert set(result.statuses) == {200}
        assert await value_of_hot(service) == result.statuses[200]
        expected = [str(number) for number in range(said)]

        async def all_heard() -> bool:
            return all(listener.heard == expected for listener in pairs[1::2])

        await until(all_heard)
        assert [talk.closed for talk in pairs] == [None] * 10
        assert [(await ledger.add())[:2] for ledger in ledgers] == [[2, 2]] * 20
    assert not set(workers) & set(service.worker_pids())
    assert service.gateway_pids() == gateways


async def test_O9_code_that_cannot_be_imported_stops_the_roll_out_and_nothing_else(
    service: RunningService, site: Site
) -> None:
    workers = service.worker_pids()
    async with objects_of(service):
        ledger = Ledger.namespace.get_by_name("steady")
        assert (await ledger.add())[:2] == [1, 1]
        site.deploy(2, migrations=2, trouble="if 'objects' not in sys.argv:\n    import no_such_module")
        done = await redeploy(service)
        assert done.returncode == 1
        assert "The new code does not pass its checks" in done.stderr
        assert "No module named 'no_such_module'" in done.stderr
        assert "What ran before goes on." in done.stderr
        assert (await ledger.add())[:2] == [2, 1]
    assert service.worker_pids() == workers
    assert "No module named 'no_such_module'" in service.log()


async def test_S11_what_new_code_has_migrated_is_never_served_by_old(
    service: RunningService, site: Site
) -> None:
    site.deploy(2, migrations=2, trouble=site.only_one_starts())
    done = await redeploy(service, "--json")
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert steps[-1]["state"] == "failed"
    assert "the second one is broken" in steps[-1]["detail"]
    async with objects_of(service):
        ledgers = [Ledger.namespace.get_by_name(f"m{n}") for n in range(20)]
        assert {(await ledger.add())[1] for ledger in ledgers} == {2}
        new = (await ledgers[0].add())[2]
        service.kill(new)  # and what is on disk does not start any more
        with pytest.raises(StorageError, match="it needs newer code"):
            await ledgers[0].add()
        site.deploy(3, migrations=2)
        assert (await redeploy(service)).returncode == 0
        assert (await ledgers[0].add())[:2] == [3, 3]
        assert (await ledgers[1].add())[:2] == [2, 3]


async def test_O9_SIGHUP_brings_the_new_code_in_and_a_new_spare_waits(
    service: RunningService, site: Site
) -> None:
    def spare() -> int | None:
        return next((child.pid for child in service.record().children if child.name == "spare worker"), None)

    old = await asyncio.to_thread(eventually, spare)
    async with objects_of(service):
        ledger = Ledger.namespace.get_by_name("reloaded")
        assert (await ledger.add())[:2] == [1, 1]
        site.deploy(2, migrations=2)
        service.hang_up()

        async def rolled_out() -> bool:
            return "roll-out: done" in service.log()

        await until(rolled_out, 60)
        assert (await ledger.add())[:2] == [2, 2]
        assert await asyncio.to_thread(eventually, lambda: spare() not in (None, old), 30)
        for pid in service.worker_pids():
            service.kill(pid)
        assert (await ledger.add())[:2] == [3, 2]


async def test_W11_replaced_gateways_close_with_1012_and_refuse_nobody(service: RunningService) -> None:
    gateways = service.gateway_pids()
    refused = 0
    over = asyncio.Event()

    async def knock() -> int:
        nonlocal refused
        welcomed = 0
        while not over.is_set():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            except OSError:
                refused += 1
            else:
                writer.close()
                welcomed += 1
            await asyncio.sleep(0.005)
        return welcomed

    async with talks(service, 6) as pairs:
        knocking = asyncio.create_task(knock())
        done = await redeploy(service, "--gateways")
        assert done.returncode == 0, done.stdout + done.stderr
        over.set()
        assert await knocking > 50
        assert refused == 0

        async def all_closed() -> bool:
            return all(talk.closed is not None for talk in pairs)

        await until(all_closed)
        assert {talk.closed.rcvd.code for talk in pairs if talk.closed and talk.closed.rcvd} == {1012}
    assert not set(gateways) & set(service.gateway_pids())
    assert len(service.gateway_pids()) == 2
    async with talks(service, 2) as (speaker, listener):
        await speaker.say("back")

        async def heard() -> bool:
            return listener.heard == ["back"]

        await until(heard)
