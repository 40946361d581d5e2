"""A worker's session: registered once, renewed while the loop makes progress, and over for good when it has expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from durable.core.leases import LeaseWindow

from .redis import RedisCluster, RedisUnavailableError, WorkerSession

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.25


class SessionKeeper:
    """Keeps one worker session alive.

    Args:
        redis: where the session is.
        session: what it says.
        lease: the window in which outputs may be released; moved by each renewal.
        renew_every: seconds between renewals.
        clock: growing seconds, also while the machine sleeps.
        figures: how many objects are active now.
        expired: awaited once when the session is over.
    """

    def __init__(
        self,
        redis: RedisCluster,
        session: WorkerSession,
        lease: LeaseWindow,
        *,
        renew_every: float,
        clock: Callable[[], float],
        figures: Callable[[], int],
        expired: Callable[[], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self.session = session
        self._lease = lease
        self._renew_every = renew_every
        self._clock = clock
        self._figures = figures
        self._expired = expired
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    async def start(self) -> None:
        """Register, and keep renewing."""
        sent = self._clock()
        await self._redis.register_worker(self.session, self._lease.ttl)
        self._lease.renewed(sent)
        self._task = asyncio.create_task(self._keep())

    async def change_state(self, state: str) -> None:
        """Tell everybody that this worker is "serving" or "draining"."""
        self.session = msgspec.structs.replace(self.session, state=state)
        try:
            if await self._renew():
                await self._redis.announce(self.session.worker)
        except RedisUnavailableError as error:
            log.warning("the state %r could not be told: %s", state, error)

    async def _renew(self) -> bool:
        sent = self._clock()
        self.session = msgspec.structs.replace(self.session, objects=self._figures())
        if not await self._redis.renew_worker(self.session, self._lease.ttl):
            return False
        self._lease.renewed(sent)
        return True

    async def _keep(self) -> None:
        wait = self._renew_every
        while True:
            await asyncio.sleep(wait)
            try:
                if not await self._renew():
                    break
                wait = self._renew_every
            except RedisUnavailableError as error:
                log.warning("the session could not be renewed: %s", error)
                wait = RETRY_SECONDS
                if not self._lease.open_at(self._clock() - self._lease.margin):
                    # Redis may have lost the session or not: what is certain is that we may not act on it.
                    break
        self._lease.close()
        log.error("the session of worker %s has expired", self.session.worker)
        await self._expired()

    async def stop(self) -> None:
        """End the session."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lease.close()
        try:
            await self._redis.revoke_worker(self.session.worker)
        except RedisUnavailableError as error:
            log.warning("the session could not be ended: %s", error)
