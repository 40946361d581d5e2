"""A gateway process's part in the cluster: its client, its sockets and its session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid

from durable.client import ClusterClient, home
from durable.cluster.redis import GatewaySession, RedisUnavailableError
from durable.cluster.session import RETRY_SECONDS
from durable.conf import DurableSettings, durable_settings

from .hub import Hub

log = logging.getLogger(__name__)

CLOSING_SECONDS = 2.0  # for objects to hear of the sockets that a stopping gateway closes


class GatewayNode:
    """What one gateway process has on its loop.

    Attributes:
        client: the way to objects.
        hub: the sockets held here.
    """

    def __init__(self, conf: DurableSettings) -> None:
        me = uuid.uuid4().hex
        self._conf = conf
        self.hub = Hub(me)
        self.client = ClusterClient(
            conf,
            "gateway",
            effects=self.hub.apply,
            last_auto_response=self.hub.last_auto_response,
            me=me,
        )
        self.hub.router = self.client.router
        self.hub.holding_changed = self._note_holding
        self._holding: dict[str, bool] = {}
        self._noting: asyncio.Task[None] | None = None
        self._session = GatewaySession(me, os.getpid(), socket.gethostname())
        self._renewing: asyncio.Task[None] | None = None
        self._attaching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the cluster. Raises RedisUnavailableError."""
        await self.client.redis.register_gateway(self._session, self._conf.lease_ttl)
        await self.client.start()
        self._renewing = asyncio.create_task(self._renew())
        home.attach(self.client)

    def _note_holding(self, reference: str, held: bool) -> None:
        """Keep the list in Redis of the objects whose sockets are here; if this process dies, somebody tells them."""
        self._holding[reference] = held
        if self._noting is None:
            self._noting = asyncio.create_task(self._write_holding())

    async def _write_holding(self) -> None:
        me, redis = self._session.gateway, self.client.redis
        try:
            while self._holding:
                batch, self._holding = self._holding, {}
                taken = [reference for reference, held in batch.items() if held]
                left = [reference for reference, held in batch.items() if not held]
                try:
                    if taken:
                        await redis.gateway_holds(me, taken)
                    if left:
                        await redis.gateway_lets_go(me, left)
                except RedisUnavailableError as error:
                    log.warning("the list of held sockets cannot be written: %s", error)
                    self._holding = batch | self._holding
                    await asyncio.sleep(1.0)
        finally:
            self._noting = None

    async def _renew(self) -> None:
        redis, ttl = self.client.redis, self._conf.lease_ttl
        registered = True
        wait = self._conf.lease_renew
        while True:
            await asyncio.sleep(wait)
            try:
                registered = registered and await redis.renew_gateway(self._session, ttl)
                if not registered:
                    # A gateway owns nothing, so it may come back under its old id: its sockets are still here.
                    await redis.register_gateway(self._session, ttl)
                    registered = True
                    self._attach_again()
                wait = self._conf.lease_renew
            except RedisUnavailableError as error:
                log.warning("this gateway's session could not be renewed: %s", error)
                wait = RETRY_SECONDS

    def _attach_again(self) -> None:
        if self._attaching is not None:
            self._attaching.cancel()
        self._attaching = asyncio.create_task(self.hub.attach_all())

    async def close(self) -> None:
        """Leave the cluster, after the objects have heard which sockets are gone."""
        for task in (self._renewing, self._attaching):
            if task is not None:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.hub.emptied.wait()
        home.attach(None)
        try:
            await self.client.redis.end_gateway(self._session.gateway)
        except RedisUnavailableError as error:
            log.warning("this gateway's session could not be ended: %s", error)
        await self.client.close()


class _Nodes:
    """The process's node: one for the loop that serves."""

    def __init__(self) -> None:
        self._node: GatewayNode | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[GatewayNode] | None = None

    async def get(self) -> GatewayNode:
        """The node of the running loop, started at the first question. Raises RedisUnavailableError."""
        loop = asyncio.get_running_loop()
        if self._node is not None and self._loop is loop:
            return self._node
        if self._starting is None or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start())
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        finally:
            if starting.done() and self._starting is starting:
                self._starting = None

    async def _start(self) -> GatewayNode:
        node = GatewayNode(durable_settings())
        await node.start()
        self._node, self._loop = node, asyncio.get_running_loop()
        return node

    async def close(self) -> None:
        """End the running loop's node, if there is one."""
        node, loop = self._node, self._loop
        if node is not None and loop is asyncio.get_running_loop():
            self._node = self._loop = None
            await node.close()


nodes = _Nodes()
