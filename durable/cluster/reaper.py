"""Delivers the closes of sockets whose gateway has died, also to objects that sleep.

A gateway's entry in Redis lists the objects of which it holds sockets. When its session is gone, one worker (the one that placement
gives the gateway to) tells each of those objects, through their owners.

That a session is gone does not say that the gateway is: after an outage of Redis everybody's has expired, and workers come back sooner
than gateways. So a gateway with a link to this worker lives, and others have the time to come back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from durable.core.envelope import Reply, Vanished
from durable.errors import DurableError
from durable.identity import id_from_string

from .channel import has_heard
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
        is_linked: whether a gateway has a link to this worker.
        patience: seconds that a gateway must have been missed for: enough to renew its session once more.
        clock: growing seconds.
    """

    def __init__(
        self,
        redis: RedisCluster,
        router: Router,
        is_mine: Callable[[str], bool],
        *,
        is_linked: Callable[[str], bool],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._router = router
        self._is_mine = is_mine
        self._is_linked = is_linked
        self._patience = patience
        self._clock = clock
        self._missed_since: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except RedisUnavailableError as error:
                self._missed_since.clear()  # gateways cannot renew either
                log.warning("dead gateways cannot be looked for: %s", error)

    async def look(self) -> None:
        """Tell the objects of gateways that have died."""
        holding = await self._redis.holding_gateways()
        live = {session.gateway for session in await self._redis.list_gateways()} if holding else set()
        now, before = self._clock(), self._missed_since
        self._missed_since = {
            gateway: before.get(gateway, now)
            for gateway in holding
            if gateway not in live and not self._is_linked(gateway)
        }
        for gateway, since in list(self._missed_since.items()):
            if now - since >= self._patience and self._is_mine(gateway):
                await self._bury(gateway)

    async def _bury(self, gateway: str) -> None:
        log.warning("gateway %s has died; its sockets are closed", gateway)
        while not self._is_linked(gateway):
            references = await self._redis.held_by(gateway, AT_ONCE)
            if not references:
                return
            told = await asyncio.gather(*(self._tell(gateway, reference) for reference in references))
            heard = [reference for reference, done in zip(references, told, strict=True) if done]
            if not heard:
                return  # tried again at the next look
            await self._redis.gateway_lets_go(gateway, heard)

    async def _tell(self, gateway: str, reference: str) -> bool:
        """Whether the object has heard, or never will."""
        key, _, text = reference.rpartition(":")
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(outcome: Reply | DurableError) -> None:
            if not heard.done():
                heard.set_result(has_heard(outcome))

        try:
            channel = self._router.channel(id_from_string(key, text))
        except DurableError as error:
            log.error("%s held a socket of something unknown: %s: %s", gateway, reference, error)
            return True
        self._router.post(channel, Vanished(0, channel.target, gateway), done)
        return await heard
