"""Idle objects fall asleep one after the other, and only when many wait for that, several at a time.

Objects that were busy together become idle together, and closing a file takes the loop and the disk: if all did so at once,
whoever calls another object would have to wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .leaving import Leave

if TYPE_CHECKING:
    from .activation import Activation

WAITING_FOR_EACH = 256  # that wait, for each further one that is closed at once


class FallingAsleep:
    """The idle objects of one worker.

    Args:
        clock: growing seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: deque[Activation] = deque()
        self._closing = 0

    def __bool__(self) -> bool:
        """Whether some are on their way, or wait for their turn."""
        return self._closing > 0 or len(self._next) > 0

    def look(self, active: Iterable[Activation]) -> None:
        """See which are idle now."""
        now = self._clock()
        self._next = deque(activation for activation in active if activation.is_idle(now))
        self._go_on()

    def _go_on(self) -> None:
        now = self._clock()
        while self._next and self._closing <= len(self._next) // WAITING_FOR_EACH:
            activation = self._next.popleft()
            if activation.is_idle(now):  # it may have been called meanwhile
                activation.leave(Leave.IDLE)
                activation.gone.add_done_callback(self._ended)
                self._closing += 1

    def _ended(self, _: asyncio.Future[None]) -> None:
        self._closing -= 1
        self._go_on()
