"""Alarms: objects that are asked to wake, at times from at once to after they have fallen asleep, and note when they did."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from chaos.history import Stored

from .workload import Stage

BELLS = ("bell-1", "bell-2", "bell-3")
PACE = 0.8
DELAYS_MS = (0, 200, 1000, 3000)
RING_WITHIN = 30.0


class Alarms:
    """One client an object."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def objects(self) -> list[str]:
        """None is asked often enough to tell a pause from the clients' own."""
        return []

    async def prepare(self) -> None:
        """Bells need nothing."""

    def drive(self) -> list[Coroutine[Any, Any, None]]:
        """The clients."""
        return [self._set(f"{name} client", name) for name in BELLS]

    async def _set(self, me: str, name: str) -> None:
        chance, client, number = self._stage.chance(me), self._stage.client(), 0
        while not self._stage.over.is_set():
            number += 1
            token, delay = f"{name}/{number}", chance.choice(DELAYS_MS)
            pending = self._stage.history.begin(me, name, "wake", token=token, delay=delay)
            answer = await client.ask("POST", f"objects/Bell/{name}/call/wake", {"args": [token, delay]})
            if answer.effect == "done":
                pending.ok(due=answer.body["result"])
            elif answer.effect == "none":
                pending.fail(answer.problem)
            else:
                pending.unknown(answer.problem)
            await self._stage.pause(PACE)
        await client.close()

    async def collect(self) -> None:
        """Wait until no bell has anything due, and read what each has noted."""
        client = self._stage.client()
        for name in BELLS:
            clock = self._stage.history.clock
            deadline = clock() + RING_WITHIN
            while True:
                told = (await client.surely("POST", f"objects/Bell/{name}/call/told", {}))["result"]
                soon = told["now"] + max(DELAYS_MS)
                if not any(due <= soon for due in told["waiting"].values()) or clock() > deadline:
                    break
                await asyncio.sleep(0.2)
            self._stage.history.note(Stored(name, "alarms", clock(), told))
        await client.close()
