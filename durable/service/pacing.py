"""Frames for one client that come in quick succession leave in one write (see `durable.core.pacing`).

One that comes alone leaves at the end of the loop's turn, with what else comes in that turn.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

from durable.core.pacing import BEAT_SECONDS, MOST_BEATS


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
        self._leaving: list[Paced] = []  # at the end of this turn
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
        """Have the connection flushed with so many beats, the running one counted: up to `MOST_BEATS`; 0: when this turn ends."""
        if not beats:
            if not self._leaving:
                asyncio.get_running_loop().call_soon(self._flush_leaving)
            self._leaving.append(connection)
            return
        if not self._count:
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self._flush)
        self._held[(self._beat + beats - 1) % MOST_BEATS].append(connection)
        self._count += 1

    def _flush_leaving(self) -> None:
        leaving, self._leaving = self._leaving, []
        for connection in leaving:
            connection.flush()

    def _flush(self) -> None:
        held, self._held[self._beat] = self._held[self._beat], []
        self._beat = (self._beat + 1) % MOST_BEATS
        self._count -= len(held)
        if self._count:
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self._flush)
        for connection in held:
            connection.flush()
