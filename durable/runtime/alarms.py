"""Alarms of the objects in memory: a heap of due times, and what happens when one fires or fails.

Invariants:
- The truth is in the object's file; the heap, and the index of sleeping objects, may only be early.
- While its hook runs an alarm looks deleted to the object, but the deletion is part of the hook's own commit: if the
  owner dies, the alarm is still there.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from durable.core.alarms import retry_delay
from durable.errors import DurableError, EventTimeoutError, ObjectError, RemoteError, SetAsideError
from durable.identity import ObjectId

from .context import AlarmInfo
from .events import NOBODY, Event, MovedError

if TYPE_CHECKING:
    from .activation import Activation

log = logging.getLogger(__name__)


class AlarmIndex(Protocol):
    """Where due times are kept for objects that sleep."""

    def put(self, object_id: ObjectId, at: int | None) -> asyncio.Future[None]:
        """Remember (or forget) that an object wants to be woken; done when it is remembered, or after a bounded wait."""


class AlarmHeap:
    """Due times of active objects.

    Args:
        now: ms since the epoch.
        loop: to set the timer on.
        fire: called with an object's id (hex) when it is due.
    """

    def __init__(
        self, now: Callable[[], int], loop: asyncio.AbstractEventLoop, fire: Callable[[str], None]
    ) -> None:
        self._now = now
        self._loop = loop
        self._fire = fire
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._timer: asyncio.TimerHandle | None = None

    def set(self, object_id: str, at: int | None) -> None:
        """Set or clear one object's due time."""
        if at is None:
            self._due.pop(object_id, None)
            return
        self._due[object_id] = at
        heapq.heappush(self._heap, (at, object_id))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._heap:
            wait = max(0.0, (self._heap[0][0] - self._now()) / 1000)
            self._timer = self._loop.call_later(min(wait, 3600.0), self.check)

    def check(self) -> None:
        """Fire what is due."""
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            at, object_id = heapq.heappop(self._heap)
            if self._due.get(object_id) == at:
                del self._due[object_id]
                self._fire(object_id)
        self._arm()

    def close(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()


def alarm_event(random: Callable[[], float], activation: Activation) -> Event:
    """The event of a due alarm."""
    outcome = _AlarmOutcome(random, activation)

    async def run(activation: Activation) -> bytes | None:
        metadata = activation.gate.store.metadata
        alarm = metadata.get_alarm()
        if alarm is None:
            return None
        if alarm.at > activation.now():
            activation.host.set_alarm(activation, alarm.at)
            return None
        outcome.scheduled, outcome.retries = alarm.at, alarm.retries
        activation.touch_alarm()
        metadata.set_alarm(None)
        await activation.instance.alarm(AlarmInfo(alarm.at, alarm.retries))
        return None

    known = activation.gate.store.metadata.get_alarm() if activation.gate.is_open else None
    origin = None if known is None else f"alarm/{known.at}"
    return Event("alarm", run, outcome, moves=False, repeat=activation.took_over, origin=origin)


class _AlarmOutcome:
    """Waits for an alarm's event: a failure of the hook's own is counted and tried again later."""

    def __init__(self, random: Callable[[], float], activation: Activation) -> None:
        self._random = random
        self._activation = activation
        self.scheduled: int | None = None
        self.retries = 0

    def reply(self, value: bytes | None) -> None:
        """Nothing more to do."""

    def not_owner(self, owner: str | None) -> None:
        """The alarm is still in the file: the next owner fires it."""

    def fail(self, error: BaseException) -> None:
        """Write the next try, or that the alarm is given up, as an event of its own."""
        own = not isinstance(error, DurableError) or isinstance(
            error, ObjectError | RemoteError | EventTimeoutError
        )
        deadly = isinstance(error, SetAsideError)
        if isinstance(error, MovedError):
            return
        scheduled, retries, text = self.scheduled, self.retries, f"{type(error).__name__}: {error}"
        delay = retry_delay(retries, self._random()) if own and scheduled is not None else 1000
        if deadly:
            delay = None

        async def run(activation: Activation) -> bytes | None:
            metadata = activation.gate.store.metadata
            alarm = metadata.get_alarm()
            if alarm is None or (scheduled is not None and alarm.at != scheduled):
                return None
            activation.touch_alarm()
            if delay is None:
                log.error("%s: alarm abandoned after %d retries: %s", activation, retries, text)
                metadata.set_alarm(None, retries, text)
            elif own:
                metadata.set_alarm(activation.now() + delay, retries + 1, text)
            else:
                activation.host.set_alarm(activation, activation.now() + delay)
            return None

        self._activation.offer_first(Event("alarm retry", run, NOBODY, needs_instance=False))
