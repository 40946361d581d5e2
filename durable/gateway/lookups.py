"""Slow look-ups remembered for a moment: one load at a time per key, bounded in number and age."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LookupCache(Generic[K, V]):
    """Remembers what `load` answered, absence included, for `seconds`.

    A burst of requests for one key waits for one load; a key in steady use is loaded ahead of its expiry, so that
    nobody waits. The oldest entries go when there are more than `size`.
    """

    def __init__(
        self,
        load: Callable[[K], Awaitable[V]],
        *,
        seconds: float = 1.0,
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._entries: dict[K, tuple[float, V]] = {}
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The remembered or freshly loaded value. Raises what `load` raises; failures are not remembered."""
        entry = self._entries.get(key)
        if entry is not None:
            left = entry[0] - self._clock()
            if left > 0:
                if left < self._seconds / 2 and key not in self._loading:
                    _ = self._start(key)
                return entry[1]
        loading = self._loading.get(key)
        if loading is None or loading.get_loop() is not asyncio.get_running_loop():
            loading = self._start(key)
        # A caller that goes away must not cancel the load that others wait for.
        return await asyncio.shield(loading)

    def forget(self, key: K) -> None:
        """Load `key` anew at its next use; an answer that is on its way is not remembered."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._loading.clear()

    def _start(self, key: K) -> asyncio.Task[V]:
        # An answer counts from its question: it may have ceased to be true while it was on its way.
        loading = asyncio.create_task(self._fill(key, self._clock()))
        self._loading[key] = loading
        loading.add_done_callback(lambda task: self._forget_load(key, task))
        return loading

    async def _fill(self, key: K, asked: float) -> V:
        value = await self._load(key)
        if self._loading.get(key) is asyncio.current_task():
            self._entries.pop(key, None)
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = (asked + self._seconds, value)
        return value

    def _forget_load(self, key: K, task: asyncio.Task[V]) -> None:
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # the waiters have it; nobody may be left to ask
