"""One event of an object: what is to be done, for whom, and what it has produced so far."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from durable.core.envelope import DERIVED, CallId
from durable.errors import DurableError, ObjectResetError

if TYPE_CHECKING:
    from .activation import Activation

Operation = tuple[Any, ...]


class Answer(Protocol):
    """Who waits for an event: called exactly once, when its outcome may be known, or when it has to go elsewhere."""

    def reply(self, value: bytes | None) -> None:
        """The event succeeded and is as durable as promised."""

    def fail(self, error: BaseException) -> None:
        """The event failed."""

    def not_owner(self, owner: str | None) -> None:
        """The event did not run here for good; `owner` should be asked, if known."""


class MovedError(ObjectResetError):
    """The owner lost the object before the outcome could be released; the next owner has to be asked."""


class Nobody:
    """An answer that nobody waits for."""

    def reply(self, value: bytes | None) -> None:
        """Ignored."""

    def fail(self, error: BaseException) -> None:
        """Ignored; the activation has logged it."""

    def not_owner(self, owner: str | None) -> None:
        """Ignored."""


NOBODY = Nobody()


class Event(msgspec.Struct, eq=False):
    """An event waiting for, or being handled by, one activation.

    Attributes:
        label: what it is, for logs: "call increment", "alarm", ...
        run: does the work; gets the activation, whose instance is ready. Its result is encoded already, or None.
        answer: who waits.
        size: bytes it holds while it waits.
        call_id: identity across repeats, where the event has one; recorded with the event's writes.
        chain: objects that wait for this event, outermost first.
        repeat: it may have run before.
        alarm: number of the alarm whose hook it runs; that alarm stays in the file until the event has succeeded.
        socket: (socket id, frame number) that it handles, if any.
        mark: what it is called outside this process, while it runs; None for the runtime's own bookkeeping.
        origin: what it is, the same when another owner repeats it; None for the runtime's own bookkeeping.
        inside: asked for by a concurrent event, which waits for it; runs also while the object is leaving.
        waits: its handler may suspend; one that cannot may share its commit with those before and after it.
        moves: False when the next activation makes the event itself, as it does for an alarm that is due.
        needs_instance: False for the runtime's own bookkeeping, which runs though the class cannot start.
        effects: (gateway, operation) it wants done, held until its commit is durable.
        closes: the socket whose end it is: such an event is never refused, and the socket is forgotten though its hook fails.
        flushed: a segment of it has been committed already.
        seen: how much of it has left and may have been seen by others, who do not forget it when the event is undone.
    """

    label: str
    run: Callable[[Activation], Coroutine[Any, Any, bytes | None]]
    answer: Answer = NOBODY
    size: int = 0
    call_id: CallId | None = None
    chain: list[str] = []
    repeat: bool = False
    socket: tuple[str, int] | None = None
    concurrent: bool = False
    needs_instance: bool = True
    moves: bool = True
    origin: str | None = None
    inside: bool = False
    waits: bool = True
    closes: str | None = None
    alarm: int | None = None
    effects: list[tuple[str, Operation]] = []
    flushed: bool = False
    seen: int = 0
    mark: bytes | None = None
    queued_at: float = 0.0
    deadline: float = float("inf")
    _calls_made: dict[str, int] = {}

    def __post_init__(self) -> None:
        call_id = self.call_id
        if call_id is not None:
            self.origin = f"call/{call_id.caller}/{call_id.slot}/{call_id.number}"
        elif self.socket is not None:
            self.origin = f"frame/{self.socket[0]}/{self.socket[1]}"
        elif self.closes is not None:
            self.origin = f"close/{self.closes}"

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Something of the event leaves in this block: others see it, unless that fails and says that nothing was done."""
        self.seen += 1
        try:
            yield
        except DurableError as error:
            if error.delivered == "no":
                self.seen -= 1
            raise

    def next_call_id(self, object_id: str, target: str, method: str) -> CallId:
        """The id of the next call this event makes: derived, so that a repeat of the event makes the same ones.

        What runs side by side may come in another order the next time, so calls are counted by what they call. Their
        arguments cannot tell them apart: a repeat has another time in them, or another random number.
        """
        if self.origin is None:
            return CallId(f"{DERIVED}{os.urandom(16).hex()}", 0, 1)  # a caller that nobody has been
        called = f"{target}/{method}"
        slot = self._calls_made[called] = self._calls_made.get(called, 0) + 1
        # `start` has the origin of the event that needs it, and its label tells them apart.
        derived = f"{object_id}/{self.label}/{self.origin}/{called}"
        return CallId(f"{DERIVED}{blake2b(derived.encode(), digest_size=16).hexdigest()}", slot, 1)


current_event: ContextVar[Event | None] = ContextVar("durable_current_event", default=None)
"""The event in whose handler we are, if any."""
