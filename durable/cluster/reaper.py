"""Delivers the closes of sockets whose gateway has died, also to objects that sleep.

A gateway's entry in Redis lists the objects of which it holds sockets. When its session is gone, one worker (the one that placement
gives the gateway to) tells each of those objects, through their owners.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from durable.core.envelope import Reply, Vanished
from durable.errors import DurableError
from durable.identity import id_from_string

from .redis import RedisCluster, RedisUnavailableError
from .router import Router

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
AT_ONCE = 50


class GatewayReaper:
    """Looks for dead gateways.

    Args:
        redis: knows which live, and what they hold.
        router: the way to the objects.
        is_mine: whether placement gives a gateway (by id) to this worker.
    """

    def __init__(self, redis: RedisCluster, router: Router, is_mine: Callable[[str], bool]) -> None:
        self._redis = redis
        self._router = router
        self._is_mine = is_mine

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except RedisUnavailableError as error:
                log.warning("dead gateways cannot be looked for: %s", error)

    async def look(self) -> None:
        """Tell the objects of gateways that have died."""
        holding = await self._redis.holding_gateways()
        if not holding:
            return
        live = {session.gateway for session in await self._redis.list_gateways()}
        for gateway in holding:
            if gateway not in live and self._is_mine(gateway):
                await self._bury(gateway)

    async def _bury(self, gateway: str) -> None:
        log.warning("gateway %s has died; its sockets are closed", gateway)
        while references := await self._redis.held_by(gateway, AT_ONCE):
            told = await asyncio.gather(*(self._tell(gateway, reference) for reference in references))
            heard = [reference for reference, done in zip(references, told, strict=True) if done]
            if not heard:
                return  # tried again at the next look
            await self._redis.gateway_lets_go(gateway, heard)

    async def _tell(self, gateway: str, reference: str) -> bool:
        """Whether the object has heard, or there is none."""
        key, _, text = reference.rpartition(":")
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(outcome: Reply | DurableError) -> None:
            if not heard.done():
                heard.set_result(isinstance(outcome, Reply))

        try:
            channel = self._router.channel(id_from_string(key, text))
        except DurableError as error:
            log.error("%s held a socket of something unknown: %s: %s", gateway, reference, error)
            return True
        self._router.post(channel, Vanished(0, channel.target, gateway), done)
        return await heard
