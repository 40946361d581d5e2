"""A distributed lock with a lease and fencing tokens: a late holder can do no harm.

A lease alone excludes nobody for certain: its holder may pause, the lease runs out, and two believe that they hold the lock. So each
grant has a token that only grows, and what the lock guards refuses a token older than the newest it has seen. The idea is
Martin Kleppmann's, "How to do distributed locking" (2016).
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from durable import AlarmInfo, DurableObject, ObjectError, concurrent


@dataclass(frozen=True)
class Grant:
    """Who holds a lock.

    Attributes:
        holder: the name under which it was asked for.
        token: the fencing token; greater than that of every earlier grant of this lock.
        expires_at: when it ends by itself, ms since the epoch.
    """

    holder: str
    token: int
    expires_at: int


class LockLostError(ObjectError):
    """The grant has ended: by its time, or because it was released."""


class StaleTokenError(ObjectError):
    """Somebody with a newer token has been here."""


class Lock(DurableObject):
    """One lock. Whoever asks again under the name that holds it gets the grant that stands."""

    async def start(self) -> None:
        """Nobody waits in this incarnation yet."""
        self._freed = asyncio.Event()

    async def try_acquire(self, holder: str, seconds: float = 30.0) -> Grant | None:
        """Take the lock for `seconds`; None when somebody else holds it."""
        return self._take(holder, seconds)

    @concurrent
    async def acquire(self, holder: str, seconds: float = 30.0, wait: float = 20.0) -> Grant | None:
        """Take the lock for `seconds`, waiting up to `wait` seconds for it; None when that was not enough."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            freed = self._freed  # before the attempt: a release right after it sets this one
            grant: Grant | None = await self.ctx.run(self._take, holder, seconds)
            if grant is not None:
                return grant
            try:
                await asyncio.wait_for(freed.wait(), deadline - loop.time())
            except TimeoutError:
                return None

    async def renew(self, token: int, seconds: float = 30.0) -> Grant:
        """Hold the lock for `seconds` from now. Raises LockLostError."""
        grant = self._grant()
        if grant is None or grant.token != token:
            raise LockLostError("this grant has ended", token=token)
        return self._keep(grant.holder, token, seconds)

    async def release(self, token: int) -> bool:
        """Give the lock back; False when it had ended before."""
        grant = self._grant()
        if grant is None or grant.token != token:
            return False
        self.ctx.storage.delete_alarm()
        self._free()
        return True

    async def current(self) -> Grant | None:
        """Who holds the lock."""
        return self._grant()

    async def alarm(self, info: AlarmInfo) -> None:
        """The lease has run out: whoever waits may try."""
        if self._grant() is None:
            self._free()

    def _grant(self) -> Grant | None:
        stored = self.ctx.storage.get("grant")
        return Grant(**stored) if stored and stored["expires_at"] > self.ctx.now() else None

    def _take(self, holder: str, seconds: float) -> Grant | None:
        grant = self._grant()
        if grant is not None:
            return self._keep(holder, grant.token, seconds) if grant.holder == holder else None
        token = self.ctx.storage.get("token", 0) + 1
        self.ctx.storage.put("token", token)
        return self._keep(holder, token, seconds)

    def _keep(self, holder: str, token: int, seconds: float) -> Grant:
        grant = Grant(holder, token, self.ctx.now() + int(seconds * 1000))
        self.ctx.storage.put("grant", asdict(grant))
        self.ctx.storage.set_alarm(grant.expires_at)
        return grant

    def _free(self) -> None:
        self.ctx.storage.delete("grant")
        self._freed.set()
        self._freed = asyncio.Event()


class GuardedValue(DurableObject):
    """What a lock may guard: it takes writes in the order of their tokens, and refuses those that come too late."""

    async def write(self, token: int, value: str) -> None:
        """Write as the holder of `token`. Raises StaleTokenError."""
        newest = self.ctx.storage.get("token", 0)
        if token < newest:
            raise StaleTokenError("a newer token has been seen", newest=newest)
        self.ctx.storage.put_many({"token": token, "value": value})

    async def read(self) -> str | None:
        """The value."""
        value: str | None = self.ctx.storage.get("value")
        return value
