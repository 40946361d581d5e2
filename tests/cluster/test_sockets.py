"""Sockets outlive their objects: through sleep, kill -9 of workers, and drains."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect

from durable.cluster.reaper import LOOK_SECONDS
from durable.core.envelope import Vanished
from rooms.objects import DemoChat
from tests.running_service import RunningService

from .conftest import objects_of
from .test_ownership import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@asynccontextmanager
async def chat(service: RunningService, room: str) -> AsyncIterator[ClientConnection]:
    """A socket of the demonstration chat."""
    async with connect(f"ws://127.0.0.1:{service.port}/ws/demo/chat/{room}/", proxy=None) as client:
        yield client


async def say(client: ClientConnection, text: str) -> None:
    """Send one message."""
    await client.send(json.dumps({"user": "Alice", "text": text}))


async def hear(client: ClientConnection) -> str:
    """The text of the next message."""
    async with asyncio.timeout(20):
        while True:
            frame = json.loads(await client.recv())
            if "text" in frame:
                return str(frame["text"])


async def asleep(service: RunningService, room: str) -> None:
    """Wait until the chat's object is not in anybody's memory."""
    object_id = DemoChat.namespace.id_from_name(room)
    async with objects_of(service) as client:

        async def is_asleep() -> bool:
            from durable.core.envelope import Target
            from durable.errors import UnavailableError

            found = await client.redis.owner(object_id)
            if found is None:
                return True
            try:
                await client.router.command(found[0], Target("DemoChat", str(object_id), room), "show")
            except UnavailableError:
                return True
            return False

        await until(is_asleep)


async def test_W3_sockets_stay_open_and_frames_in_order_when_all_workers_are_killed(
    service: RunningService,
) -> None:
    async with chat(service, "tough") as alice, chat(service, "tough") as bob:
        await say(alice, "0")
        assert await hear(bob) == "0"
        for pid in service.worker_pids():
            service.kill(pid)
        for number in range(1, 21):
            await say(alice, str(number))
        heard = [await hear(bob)]
        while heard[-1] != "20":
            heard.append(await hear(bob))
        # This chat stores nothing: what its owner had just passed on when it died, the next one passes on again.
        if heard[0] == "0":
            del heard[0]
        assert heard == [str(number) for number in range(1, 21)]
        await say(bob, "still here")
        assert await hear(alice) == "still here"


async def test_W6_the_sockets_of_a_killed_gateway_are_closed_also_while_their_object_sleeps(
    service: RunningService,
) -> None:
    room = "abandoned"
    async with chat(service, room):
        await asleep(service, room)
        for pid in service.gateway_pids():
            service.kill(pid)
    shown = {}

    async def empty() -> bool:
        text = await asyncio.to_thread(service.manage, "objects", "show", "DemoChat", room, "--json")
        shown.update(json.loads(text))
        return shown["sockets"] == 0

    await until(empty, within=40)


async def test_W8_a_gateway_whose_session_is_lost_again_and_again_keeps_its_sockets(
    service: RunningService,
) -> None:
    async with chat(service, "lively") as alice, chat(service, "lively") as bob:
        async with objects_of(service) as client:
            begun = time.monotonic()
            while time.monotonic() - begun < 3 * LOOK_SECONDS:
                for session in await client.redis.list_gateways():
                    await client.redis.end_gateway(session.gateway)
        await say(alice, "are you there?")
        assert await hear(bob) == "are you there?"
        await say(bob, "yes")
        assert await hear(alice) == "yes"


async def test_W6_sockets_that_their_object_takes_for_vanished_are_closed_when_the_gateway_is_back(
    service: RunningService,
) -> None:
    object_id = DemoChat.namespace.id_from_name("mistaken")
    async with chat(service, "mistaken") as alice, objects_of(service) as client:
        gateways = [session.gateway for session in await client.redis.list_gateways()]
        channel = client.router.channel(object_id)
        for gateway in gateways:
            heard = asyncio.get_running_loop().create_future()
            client.router.post(channel, Vanished(0, channel.target, gateway), heard.set_result)
            await heard
        for gateway in gateways:
            await client.redis.end_gateway(gateway)
        async with asyncio.timeout(20):
            await alice.wait_closed()
        assert alice.close_code == 1012
