"""Frames for one client that come in quick succession leave in one write.

A write to a socket costs a system call, several times what the server does besides for a frame, and wakes the client. So a
frame that comes shortly after the last write waits for others; one that comes alone leaves at once.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

PACE_SECONDS = 0.004  # between two writes of frames to one client
MOST_BYTES = 64 * 1024  # that wait for one client


class Paced(Protocol):
    """A connection that holds frames back."""

    def flush(self) -> None:
        """Write what is held back."""


class Pacer:
    """Lets the connections of one loop write what they hold back, all at the same moments."""

    _of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Pacer] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._held: list[Paced] = []

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Pacer:
        """The one of that loop."""
        pacer = cls._of_loop.get(loop)
        if pacer is None:
            pacer = cls._of_loop[loop] = cls()
        return pacer

    def hold(self, connection: Paced) -> None:
        """Have the connection flushed soon."""
        if not self._held:
            asyncio.get_running_loop().call_later(PACE_SECONDS, self._flush)
        self._held.append(connection)

    def _flush(self) -> None:
        held, self._held = self._held, []
        for connection in held:
            connection.flush()
