"""Alarms of the objects in memory: a heap of due times, and what happens when one fires or fails.

Invariants:
- The truth is in the object's file; the heap, and the index of sleeping objects, may only be early.
- While its hook runs an alarm looks deleted to the object, but it is deleted by the last commit of the hook's event: if
  the owner dies, or the hook raises, the alarm is still there, also when a part of the event was committed before.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from durable.core import codec
from durable.core.alarms import retry_delay
from durable.core.envelope import Call
from durable.errors import (
    ObjectResetError,
    OverloadedError,
    SetAsideError,
    SqlError,
    StorageError,
    StorageLimitError,
    StorageOutsideEventError,
    UnavailableError,
    has_travelled,
)
from durable.identity import ObjectId
from durable.storage.metadata import Alarm

from .context import AbortError, AlarmInfo
from .events import NOBODY, Answer, Event, MovedError
from .troubles import TroubleKind

if TYPE_CHECKING:
    from .activation import Activation

log = logging.getLogger(__name__)

OUTDATED = 64  # times in the heap that may have been changed since, whatever it has else
PAUSE_MS = 1000  # before an alarm is tried again that has failed for nothing of its own


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

    def get(self, object_id: str) -> int | None:
        """One object's due time; None when there is none, or it has fired."""
        return self._due.get(object_id)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._heap) > 2 * len(self._due) + OUTDATED:
            self._heap = [(at, object_id) for object_id, at in self._due.items()]
            heapq.heapify(self._heap)
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


class AlarmTurns:
    """Bounds how many alarms run at once, and objects are opened for them; more wait, the longest due first.

    Args:
        most: how many.
        fire: called with an object's id whose turn it is; True when it has begun one.
    """

    def __init__(self, most: int, fire: Callable[[str], bool]) -> None:
        self._most = most
        self._fire = fire
        self._running: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._waking: set[str] = set()

    @property
    def room(self) -> int:
        """How many more objects may be woken now."""
        return max(0, 2 * self._most - len(self._running) - len(self._waiting) - len(self._waking))

    def wakes(self, object_id: str) -> None:
        """An object is about to be opened, since its alarm may be due."""
        self._waking.add(object_id)

    def woken(self, object_id: str) -> None:
        """The object has been opened, or will not be."""
        self._waking.discard(object_id)

    def waits(self, object_id: str) -> bool:
        """Whether the object's alarm waits for its turn."""
        return object_id in self._waiting

    def due(self, object_id: str) -> None:
        """An alarm wants to run."""
        self._waiting[object_id] = None
        self._next()

    def over(self, object_id: str) -> None:
        """An alarm has run, or will not run here."""
        self._running.discard(object_id)
        self._next()

    def _next(self) -> None:
        while self._waiting and len(self._running) < self._most:
            object_id = next(iter(self._waiting))
            del self._waiting[object_id]
            if self._fire(object_id):
                self._running.add(object_id)


def alarm_event(random: Callable[[], float], activation: Activation) -> Event:
    """The event of a due alarm."""
    outcome = _AlarmOutcome(random, activation)

    async def run(activation: Activation) -> bytes | None:
        metadata = activation.gate.store.metadata
        alarm = metadata.get_alarm()
        if alarm is None:
            return None
        if alarm.at > activation.now():
            activation.host.alarms.set(str(activation.object_id), alarm.at)
            return None
        outcome.alarm = alarm
        event.alarm = alarm.number
        await activation.instance.alarm(AlarmInfo(alarm.at, alarm.retries))
        left = metadata.get_alarm()
        if left is not None and left.number == alarm.number:
            activation.touch_alarm()
            metadata.set_alarm(None)
        return None

    event = Event("alarm", run, outcome, moves=False, repeat=activation.took_over)  # `run` asks it back
    return event


def alarm_origin(activation: Activation) -> str | None:
    """What tells the alarm that is set from the object's others. For an activation that is about to handle an event."""
    store = activation.gate.store
    alarm = store.metadata.get_alarm()
    return None if alarm is None else f"alarm/{store.created_at}/{alarm.number}"


RUN_ALARM = "_do_run_alarm"
"""Called like a method, but no class can have it: runs an abandoned alarm again. Gives whether there was one."""


def run_alarm_event(request: Call, answer: Answer) -> Event:
    """The event that makes an abandoned alarm due now, with all its tries before it."""

    async def run(activation: Activation) -> bytes | None:
        metadata = activation.gate.store.metadata
        abandoned = metadata.get_alarm() is None and metadata.alarm_error() is not None
        if abandoned:
            activation.touch_alarm()
            metadata.set_alarm(activation.now())
        return codec.encode(abandoned)

    return Event(
        "run the alarm",
        run,
        answer,
        size=len(request.arguments),
        call_id=request.id,
        chain=request.chain,
        repeat=request.repeat,
        needs_instance=False,
    )


class _AlarmOutcome:
    """Waits for an alarm's event: a failure of the hook's own is counted and tried again later."""

    def __init__(self, random: Callable[[], float], activation: Activation) -> None:
        self._random = random
        self._activation = activation
        self.alarm: Alarm | None = None  # whose hook has run

    def _over(self) -> None:
        self._activation.host.alarm_turns.over(str(self._activation.object_id))

    def reply(self, value: bytes | None) -> None:
        """Nothing more to do."""
        self._over()
        if self.alarm is not None:
            self._activation.host.troubles.over(self._activation.object_id, TroubleKind.ALARM)

    def not_owner(self, owner: str | None) -> None:
        """The alarm is still in the file: the next owner fires it."""
        self._over()

    def fail(self, error: BaseException) -> None:
        """Write the next try, or that the alarm is given up, as an event of its own."""
        self._over()
        if isinstance(error, MovedError):
            return
        # Without the hook's doing, for instance when `start` fails, the alarm stays as it is.
        failed, counts = self.alarm, self.alarm is not None and _is_its_own(error)
        deadly = isinstance(error, SetAsideError) and not has_travelled(error)
        text = f"{type(error).__name__}: {error}"

        async def run(activation: Activation) -> bytes | None:
            metadata = activation.gate.store.metadata
            alarm = metadata.get_alarm()
            if alarm is None or (failed is not None and alarm.number != failed.number):
                return None
            delay = retry_delay(alarm.retries, self._random()) if counts else PAUSE_MS
            if deadly or delay is None:
                log.error("%s: alarm abandoned after %d retries: %s", activation, alarm.retries, text)
                activation.touch_alarm()
                metadata.set_alarm(None, alarm.retries, text)
                activation.host.troubles.seen(activation.object_id, TroubleKind.ALARM, text)
            elif counts:
                activation.touch_alarm()
                metadata.set_alarm(activation.now() + delay, alarm.retries + 1, text)
            else:
                activation.host.alarms.set(str(activation.object_id), activation.now() + delay)
            return None

        self._activation.offer_first(Event("alarm retry", run, NOBODY, needs_instance=False))


def _is_its_own(error: BaseException) -> bool:
    """Whether a hook's failure is its own doing, and not its worker's, the cluster's or the disk's.

    So is what another object has answered it with, unless that could not be reached, or asks it to slow down.
    """
    if isinstance(error, OverloadedError | UnavailableError):
        return False
    if isinstance(error, AbortError) or has_travelled(error):
        return True
    if isinstance(error, StorageError):
        return isinstance(error, SqlError | StorageLimitError | StorageOutsideEventError)
    return not isinstance(error, ObjectResetError | SetAsideError)
