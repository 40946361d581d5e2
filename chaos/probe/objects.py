"""`Bell` notes which alarms rang when; `Slow` can be caught in the middle of a transaction."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from durable import AlarmInfo, DurableObject

_WAITING, _RUNG = "waiting:", "rung:"


class Bell(DurableObject):
    """Rings once for every token it was given."""

    async def wake(self, token: str, delay_ms: int) -> int:
        """Ring for `token` after so long; returns when that is due, by this owner's clock."""
        due = self.ctx.now() + delay_ms
        self.ctx.storage.put(_WAITING + token, due)
        alarm = self.ctx.storage.get_alarm()
        self.ctx.storage.set_alarm(due if alarm is None else min(due, alarm))
        return due

    async def alarm(self, info: AlarmInfo) -> None:
        """Ring for everything that is due."""
        storage, now = self.ctx.storage, self.ctx.now()
        waiting = storage.list(prefix=_WAITING)
        for key, due in waiting.items():
            if due <= max(now, info.scheduled_time):
                storage.put(_RUNG + key.removeprefix(_WAITING), [due, now])
                storage.delete(key)
        later = [due for due in waiting.values() if due > max(now, info.scheduled_time)]
        if later:
            storage.set_alarm(min(later))

    async def told(self) -> dict[str, Any]:
        """`rung`: [due, rung at] by token; `waiting`: due by token; `now`: this owner's time."""
        storage = self.ctx.storage
        rung = {key.removeprefix(_RUNG): times for key, times in storage.list(prefix=_RUNG).items()}
        waiting = {key.removeprefix(_WAITING): due for key, due in storage.list(prefix=_WAITING).items()}
        return {"rung": rung, "waiting": waiting, "now": self.ctx.now()}


class Slow(DurableObject):
    """A counter that takes its time between writing and committing."""

    async def add(self, seconds: float = 0.0) -> int:
        """Count, and stay inside the transaction for so long."""
        total = int(self.ctx.storage.get("total", 0)) + 1
        self.ctx.storage.put("total", total)
        await asyncio.sleep(seconds)
        return total

    async def total(self) -> int:
        """The count."""
        return int(self.ctx.storage.get("total", 0))

    async def pid(self) -> int:
        """The process that owns this object."""
        return os.getpid()
