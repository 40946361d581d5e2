"""A latch: `asyncio.Event` for the thousands of sockets that never have to wait at it.

An Event brings a queue of its own, 800 bytes, when it is made. A latch has one only while somebody waits.
"""

from __future__ import annotations

import asyncio


class Latch:
    """Open at first. Who comes while it is closed waits until it is opened."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._waiting is None

    def clear(self) -> None:
        """Close it."""
        if self._waiting is None:
            self._waiting = []

    def set(self) -> None:
        """Open it, and let everybody go on."""
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            if not one.done():
                one.set_result(None)

    async def wait(self) -> None:
        """Return at once when it is open, else when it has been opened."""
        if self._waiting is not None:
            opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(opened)
            await opened
