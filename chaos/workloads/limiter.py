"""The limiter by REST: a few keys that are asked for more than they may have."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .workload import Stage

POLICY = "chaos"
KEYS = ("limited-1", "limited-2")
LIMIT, WINDOW = 20, 1
PACE = 0.03


class Limiter:
    """Two clients a key, which together ask faster than the limit allows."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def objects(self) -> list[str]:
        """The keys that are asked all the time; they belong to different shards or to one."""
        return list(KEYS)

    async def prepare(self) -> None:
        """Make the policy."""
        client = self._stage.client()
        await client.surely("PUT", f"limiters/{POLICY}", {"limit": LIMIT, "window_seconds": WINDOW})
        await client.close()

    def drive(self) -> list[Coroutine[Any, Any, None]]:
        """The clients."""
        return [self._check(f"{key} client {n}", key) for key in KEYS for n in (1, 2)]

    async def _check(self, me: str, key: str) -> None:
        client = self._stage.client()
        while not self._stage.over.is_set():
            pending = self._stage.history.begin(me, key, "check", limit=LIMIT, window=float(WINDOW))
            answer = await client.ask(
                "POST", f"limiters/{POLICY}/check", {"key": key}, expected=frozenset({429})
            )
            if answer.effect == "done":
                pending.ok(allowed=answer.body["allowed"])
            elif answer.effect == "none":
                pending.fail(answer.problem)
            else:
                pending.unknown(answer.problem)
            await self._stage.pause(PACE)
        await client.close()

    async def collect(self) -> None:
        """What was admitted is in the answers."""
