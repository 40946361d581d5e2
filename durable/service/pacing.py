"""Frames for one client that come in quick succession leave in one write.

A write to a socket costs a system call, several times what the server does besides for a frame, and wakes the client. So a
frame that comes shortly after the last write waits for others, and longer where others do come; one that comes alone leaves at once.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

BEAT_SECONDS = 0.004  # between two writes of frames to one client, at the least
MOST_BEATS = 4  # between two writes, while every write has several frames
MOST_BYTES = 64 * 1024  # that wait for one client


class Paced(Protocol):
    """A connection that holds frames back."""

    def flush(self) -> None:
        """Write what is held back."""


class Pacer:
    """Lets the connections of one loop write what they hold back, all at the same moments."""

    _of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Pacer] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._held: list[list[Paced]] = [
            [] for _ in range(MOST_BEATS)
        ]  # by the beat at which they are flushed
        self._beat = 0
        self._count = 0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Pacer:
        """The one of that loop."""
        pacer = cls._of_loop.get(loop)
        if pacer is None:
            pacer = cls._of_loop[loop] = cls()
        return pacer

    def hold(self, connection: Paced, beats: int) -> None:
        """Have the connection flushed with so many beats, the running one counted: 1 to `MOST_BEATS`."""
        if not self._count:
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self._flush)
        self._held[(self._beat + beats - 1) % MOST_BEATS].append(connection)
        self._count += 1

    def _flush(self) -> None:
        held, self._held[self._beat] = self._held[self._beat], []
        self._beat = (self._beat + 1) % MOST_BEATS
        self._count -= len(held)
        if self._count:
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self._flush)
        for connection in held:
            connection.flush()
