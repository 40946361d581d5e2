"""Redis that dies, forgets, remembers old times, or does not answer."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

from chaos.service import until
from durable.cluster.processes import ProcessIdentity

from .fault import Fault

SLOW_SECONDS = 0.2
_ANSWER_SECONDS = 0.01  # how long a slow Redis runs between two stops


class _RedisFault(Fault):
    """What the faults of Redis share."""

    @property
    def server(self) -> ProcessIdentity:
        """The embedded server."""
        return self.site.service.any_of("valkey", self.chance)

    async def restarted(self, dead: ProcessIdentity) -> None:
        """Wait until the supervisor has started another."""
        found = self.site.service.processes
        await until(lambda: any(one != dead for one in found("valkey")), 30.0, "Redis is started again")


class KillValkey(_RedisFault):
    """The server dies and reads its file again."""

    name, about = "kill-valkey", "kill -9 of Valkey"

    async def inject(self) -> None:
        """Kill it."""
        self.dead = self.server
        self.site.service.kill(self.dead)

    async def heal(self) -> None:
        """Wait for the next."""
        await self.restarted(self.dead)


class FlushRedis(_RedisFault):
    """Everything in it is gone."""

    name, about = "flush-redis", "FLUSHALL"
    hold, cost = 2.0, 4.0  # sessions find out at their next renewal

    async def inject(self) -> None:
        """Flush it."""
        path = self.site.service.record().redis_url.removeprefix("unix://")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"*1\r\n$8\r\nFLUSHALL\r\n")
        await writer.drain()
        await asyncio.wait_for(reader.readline(), 5.0)
        writer.close()


class OldRedis(_RedisFault):
    """It comes back as it was before owners changed."""

    name, about = "old-redis", "Redis restarted from an old snapshot, after owners have changed"
    hold, cost = 2.0, 7.0

    async def inject(self) -> None:
        """Copy its files, let a worker die, put the copy back and kill the server."""
        directory: Path = self.site.service.data_dir / "redis"
        now, old, away = directory / "appendonlydir", directory / "old", directory / "away"
        for left in (old, away):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(now, old)
        victim = self.site.service.any_of("worker", self.chance)
        self.site.service.kill(victim)
        await self.site.service.replaced(victim, "worker")
        self.dead = self.server
        now.rename(away)  # the server goes on writing there until it dies
        old.rename(now)
        self.site.service.kill(self.dead)

    async def heal(self) -> None:
        """Wait for the server that remembers old times."""
        await self.restarted(self.dead)


class _RedisAway(_RedisFault):
    """It is there and does not answer."""

    async def inject(self) -> None:
        """Stop it."""
        self.stopped = self.server
        self.site.service.kill(self.stopped, signal.SIGSTOP)

    async def heal(self) -> None:
        """Let it go on."""
        self.site.service.kill(self.stopped, signal.SIGCONT)


class RedisAway1(_RedisAway):
    """Shorter than a lease."""

    name, about, hold, cost = "redis-away-1", "Redis unreachable for 1 s", 1.0, 3.0


class RedisAway8(_RedisAway):
    """Longer than a lease."""

    name, about, hold, cost = "redis-away-8", "Redis unreachable for 8 s", 8.0, 12.0


class RedisAway30(_RedisAway):
    """Longer than calls wait."""

    name, about, hold, cost = "redis-away-30", "Redis unreachable for 30 s", 30.0, 36.0


class SlowRedis(_RedisFault):
    """Each answer takes up to 200 ms: the server is stopped for so long, and goes on for a moment."""

    name, about, hold, cost = "redis-slow", "Redis answers within 200 ms", 3.0, 5.0
    fails_nothing = keeps_sockets = True

    async def inject(self) -> None:
        """Begin to stop it again and again."""
        self.slowed = self.server
        self.slowing = asyncio.create_task(self._slow())

    async def _slow(self) -> None:
        try:
            while True:
                self.site.service.kill(self.slowed, signal.SIGSTOP)
                await asyncio.sleep(SLOW_SECONDS)
                self.site.service.kill(self.slowed, signal.SIGCONT)
                await asyncio.sleep(_ANSWER_SECONDS)
        finally:
            self.site.service.kill(self.slowed, signal.SIGCONT)

    async def heal(self) -> None:
        """Let it run."""
        self.slowing.cancel()
        await asyncio.gather(self.slowing, return_exceptions=True)


REDIS_FAULTS: tuple[type[Fault], ...] = (
    KillValkey,
    FlushRedis,
    OldRedis,
    RedisAway1,
    RedisAway8,
    RedisAway30,
    SlowRedis,
)
