"""One object as a process talks to it: the link to its owner, and the requests that have no answer yet, in order."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from durable.core.envelope import Reply, Request, Target
from durable.errors import DamagedFileError, DurableError, SqlError, StorageError, error_from_wire

from .link import Link

Outcome = Callable[[Reply | DurableError], None]


def has_heard(outcome: Reply | DurableError) -> bool:
    """Whether an object has taken what it was told, or would fail at it again: its class is gone or wrong, or its file damaged.

    Else it could not be opened, or not write. So who tells it something that it has to know has to tell it again.
    """
    if isinstance(outcome, DurableError):
        return False
    if outcome.error is None:
        return True
    error = error_from_wire(outcome.error)
    if isinstance(error, StorageError):
        return isinstance(error, DamagedFileError | SqlError)
    return not error.retryable


class Pending:
    """A request without an answer.

    Attributes:
        sent: some owner may have got it already.
        parked_at: since when its object has had no owner; None while it is at one.
        waited: seconds that it was parked before.
    """

    __slots__ = ("done", "number", "parked_at", "request", "sent", "waited")

    def __init__(self, request: Request, done: Outcome) -> None:
        self.request = request
        self.done = done
        self.number = 0
        self.sent = request.repeat
        self.parked_at: float | None = None
        self.waited = 0.0


class Channel:
    """What this process knows of one object: its owner's link, and what it has asked.

    Attributes:
        sockets: gives the ids of the object's sockets held here; set by who holds them.
        epoch: the highest seen in effects; older ones are dropped.
        asleep: the object said that it sleeps, and nothing has been sent to it since.
    """

    __slots__ = (
        "_free_slots",
        "_next_slot",
        "asleep",
        "bounces",
        "epoch",
        "link",
        "pending",
        "routing",
        "sockets",
        "target",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.link: Link | None = None
        self.pending: dict[int, Pending] = {}
        self.routing: asyncio.Task[None] | None = None
        self.sockets: Callable[[], list[str]] | None = None
        self.epoch = 0
        self.asleep = True
        self.bounces = 0
        self._free_slots: list[int] = []
        self._next_slot = 0

    def take_slot(self) -> int:
        """The lowest slot that no unanswered call uses."""
        if self._free_slots:
            return heapq.heappop(self._free_slots)
        self._next_slot += 1
        return self._next_slot - 1

    def free_slot(self, slot: int) -> None:
        """The answer to the slot's call is here."""
        heapq.heappush(self._free_slots, slot)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        return not self.pending and self.sockets is None and self.routing is None
