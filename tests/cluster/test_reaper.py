"""Gateways that are taken for dead: those without a session and without a link, when they have had the time to come back."""

import os
from collections.abc import AsyncIterator
from typing import cast

import pytest

from durable.cluster.channel import Channel, Outcome
from durable.cluster.reaper import GatewayReaper
from durable.cluster.redis import GatewaySession, RedisCluster
from durable.cluster.router import Router
from durable.core.envelope import Reply, Request, Target, Vanished
from durable.errors import (
    DamagedFileError,
    DurableError,
    OverloadedError,
    RemoteError,
    SqlError,
    StorageError,
    UnknownClassError,
    error_to_wire,
)
from durable.identity import ObjectId
from durable.service.valkey import Valkey
from rooms.objects import DemoChat

GATEWAY = GatewaySession("gateway-1", os.getpid(), "test")
ROOM = DemoChat.namespace.id_from_name("room")
PATIENCE = 7.0


class Told:
    """In a router's place: answers for the objects, and remembers which were told that a gateway vanished."""

    def __init__(self) -> None:
        self.objects: list[str] = []
        self.answers: list[Reply] = []  # before those that say that all went well

    def channel(self, object_id: ObjectId) -> Channel:
        return Channel(Target(object_id.class_key, str(object_id), object_id.name))

    def post(self, channel: Channel, request: Request, done: Outcome) -> None:
        assert isinstance(request, Vanished)
        assert request.gateway == GATEWAY.gateway
        self.objects.append(channel.target.id)
        done(self.answers.pop() if self.answers else Reply(0, None))


class Ground:
    """A reaper on a real Redis, a gateway that holds a socket, and time that the test moves."""

    def __init__(self, redis: RedisCluster) -> None:
        self.redis = redis
        self.now = 0.0
        self.linked = False
        self.told = Told()
        self.reaper = GatewayReaper(
            redis,
            cast(Router, self.told),
            lambda gateway: True,
            is_linked=lambda gateway: self.linked,
            patience=PATIENCE,
            clock=lambda: self.now,
        )

    async def look_for(self, seconds: float) -> None:
        """Let the reaper look every two seconds."""
        for _ in range(int(seconds / 2)):
            await self.reaper.look()
            self.now += 2


@pytest.fixture
async def ground(valkey: Valkey) -> AsyncIterator[Ground]:
    redis = RedisCluster(valkey.url)
    await redis.register_gateway(GATEWAY, 60)
    await redis.gateway_holds(GATEWAY.gateway, [f"DemoChat:{ROOM}"])
    yield Ground(redis)
    await redis.close()


async def test_W6_the_objects_of_a_gateway_that_does_not_come_back_are_told(ground: Ground) -> None:
    await ground.redis.end_gateway(GATEWAY.gateway)
    await ground.look_for(6)
    assert ground.told.objects == []
    await ground.look_for(6)
    assert ground.told.objects == [str(ROOM)]
    assert await ground.redis.holding_gateways() == []


async def test_W6_a_gateway_that_comes_back_in_time_is_not_buried(ground: Ground) -> None:
    for _ in range(3):
        await ground.redis.end_gateway(GATEWAY.gateway)
        await ground.look_for(6)
        await ground.redis.register_gateway(GATEWAY, 60)
        await ground.look_for(2)
    assert ground.told.objects == []


async def test_W6_a_gateway_with_a_link_lives_whatever_redis_says(ground: Ground) -> None:
    await ground.redis.end_gateway(GATEWAY.gateway)
    ground.linked = True
    await ground.look_for(60)
    assert ground.told.objects == []
    ground.linked = False
    await ground.look_for(12)
    assert ground.told.objects == [str(ROOM)]


@pytest.mark.parametrize("error", [OverloadedError("no room"), StorageError("the disk is full")])
async def test_W6_an_object_that_cannot_be_opened_or_write_is_told_again(
    ground: Ground, error: DurableError
) -> None:
    await ground.redis.end_gateway(GATEWAY.gateway)
    ground.told.answers = [refusal(error), refusal(error)]
    await ground.look_for(20)
    assert ground.told.objects == [str(ROOM)] * 3
    assert await ground.redis.holding_gateways() == []


@pytest.mark.parametrize(
    "error",
    [
        DamagedFileError("no database"),
        UnknownClassError("no code"),
        SqlError("wrong migration"),
        RemoteError("ValueError", "its start fails"),
    ],
)
async def test_W6_an_object_that_fails_at_what_it_is_told_is_not_told_for_ever(
    ground: Ground, error: DurableError
) -> None:
    await ground.redis.end_gateway(GATEWAY.gateway)
    ground.told.answers = [refusal(error)]
    await ground.look_for(20)
    assert ground.told.objects == [str(ROOM)]
    assert await ground.redis.holding_gateways() == []


def refusal(error: DurableError) -> Reply:
    return Reply(0, None, error_to_wire(error))
