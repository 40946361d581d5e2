"""The bounded queue in front of one object."""

from __future__ import annotations

from collections import deque

from durable.errors import OverloadedError

from .events import Event


class Mailbox:
    """Events of one object in the order of their arrival.

    Args:
        max_events: how many may wait.
        max_bytes: how many bytes they may hold together.
        max_age: seconds after which the first one has waited so long that more are refused.
    """

    __slots__ = ("_bytes", "_events", "_max_age", "_max_bytes", "_max_events")

    def __init__(self, max_events: int, max_bytes: int, max_age: float) -> None:
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age = max_age

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event, now: float, *, refuse: bool = True) -> None:
        """Append an event; raises OverloadedError, and then it is never run, unless it must not be refused."""
        events = self._events
        if events and refuse:
            if len(events) >= self._max_events:
                raise OverloadedError(f"{len(events)} events already wait for this object")
            if self._bytes + event.size > self._max_bytes:
                raise OverloadedError(f"{self._bytes} bytes already wait for this object")
            if now - events[0].queued_at > self._max_age:
                raise OverloadedError(f"events for this object wait longer than {self._max_age:g} s")
        event.queued_at = now
        self._bytes += event.size
        events.append(event)

    def put_first(self, event: Event, now: float) -> None:
        """Put an event of the runtime's own before all others; it is never refused."""
        event.queued_at = now
        self._bytes += event.size
        self._events.appendleft(event)

    @property
    def first(self) -> Event:
        """The next event, which stays."""
        return self._events[0]

    def take(self) -> Event:
        """The next event."""
        event = self._events.popleft()
        self._bytes -= event.size
        return event

    def take_inside(self) -> Event | None:
        """The next event that a concurrent event waits for, or None."""
        for event in self._events:
            if event.inside:
                self._events.remove(event)
                self._bytes -= event.size
                return event
        return None

    def drain(self) -> list[Event]:
        """All events; none is left."""
        events = list(self._events)
        self._events.clear()
        self._bytes = 0
        return events
