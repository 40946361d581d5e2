"""`Probe`: tells which process runs it, counts, and remembers its alarms."""

import asyncio
import os

from durable import AlarmInfo, DurableObject


class Probe(DurableObject):
    """What the tests ask of an object."""

    async def add(self, amount: int = 1) -> int:
        """Count."""
        total = int(self.ctx.storage.get("total", 0)) + amount
        self.ctx.storage.put("total", total)
        return total

    async def total(self) -> int:
        """The count."""
        return int(self.ctx.storage.get("total", 0))

    async def add_slowly(self, seconds: float) -> int:
        """Count, but take a while between reading and writing."""
        total = int(self.ctx.storage.get("total", 0))
        await asyncio.sleep(seconds)
        self.ctx.storage.put("total", total + 1)
        return total + 1

    async def pid(self) -> int:
        """The process that owns this object."""
        return os.getpid()

    async def wake_in(self, ms: int) -> int:
        """Set the alarm; returns when it is due."""
        due = self.ctx.now() + ms
        self.ctx.storage.set_alarm(due)
        return due

    async def alarms(self) -> list[list[int]]:
        """[due, fired] of every alarm so far."""
        return list(self.ctx.storage.get("alarms", []))

    async def alarm(self, info: AlarmInfo) -> None:
        """Remember it."""
        fired = [*self.ctx.storage.get("alarms", []), [info.scheduled_time, self.ctx.now()]]
        self.ctx.storage.put("alarms", fired)
