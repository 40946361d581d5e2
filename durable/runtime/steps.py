"""Which handler has the loop at this moment: set around every step of every handler, so that others can look and judge.

A step is what runs between two waits. Three things hang on it: the watchdog names the handler of a step that does not
end and interrupts it; a marker outside the process says, when the process has died, in whose step it died; and an
interruption can hit nothing else.

Invariant: an interruption is raised by a signal handler, which Python runs on the loop's own thread between two
instructions. There, and not earlier, it is decided: only while a step of the blocked handler runs, and only where the
innermost code is the class's own (or a library's that it called), never the runtime's, so neither a commit nor the
loop can be cut in two. When it comes elsewhere, it is put off until the class's code goes on to its next line, by a
trace function that ends with the step. Tasks that a handler has made (`asyncio.gather`, `asyncio.wait_for`) have steps of
their own, which are not counted here: they are interrupted where nothing but their own code lies above the loop's.
"""

from __future__ import annotations

import logging
import sys
import traceback
import types
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, cast

from durable.errors import EventTimeoutError, MemoryLimitError

from . import memory
from .events import Event, current_event

if TYPE_CHECKING:
    from .activation import Activation

log = logging.getLogger(__name__)

PROTECTED = ("durable.", "contextlib", "asyncio", "logging")
"""Modules that are never interrupted: cut at the wrong place, they would leave locks taken or things half done."""

STORAGE = "durable.storage"
TASKS = "durable.runtime.tasks"


class Charge(Enum):
    """What a handler is interrupted for, and the error that its event fails with."""

    BLOCKED = EventTimeoutError
    GREEDY = MemoryLimitError


_VERDICTS = {
    Charge.BLOCKED: "the handler blocked the loop and was interrupted: what takes long has to wait with `await`",
    Charge.GREEDY: "the handler took more memory than its worker may have, and was interrupted (worker_memory_limit)",
}


class InterruptedStepError(BaseException):
    """Raised inside a handler that has kept the loop for too long, or takes too much memory."""


class Marker(Protocol):
    """Says outside this process what runs in it."""

    def set(self, what: bytes) -> None:
        """This runs now."""

    def clear(self) -> None:
        """Nothing runs now."""

    def deaths(self, what: bytes) -> int:
        """How many other processes have died in the middle of it."""


class NoMarker:
    """For processes that nobody survives."""

    def set(self, what: bytes) -> None:
        """Nobody would read it."""

    def clear(self) -> None:
        """Nobody would read it."""

    def deaths(self, what: bytes) -> int:
        """None that we know of."""
        return 0


class Steps:
    """The step that runs on the loop's thread.

    Attributes:
        number: of the last step that began; read by the watchdog's thread.
        running: whose step runs, or None.
        interrupted: number of the step that has been interrupted last.
        condemned: the event of which no further step may begin; set by the watchdog's thread.
        charge: what for.
        last: the event of the step that began last, as the marker names it.
        memory_limit: bytes beyond which a handler may not let the process grow.
    """

    __slots__ = (
        "_marker",
        "_tracing",
        "charge",
        "condemned",
        "interrupted",
        "last",
        "memory_limit",
        "number",
        "running",
    )

    def __init__(self, marker: Marker | None = None, memory_limit: float = float("inf")) -> None:
        self._marker = marker or NoMarker()
        self.memory_limit = memory_limit
        self.number = 0
        self.running: tuple[Activation, Event] | None = None
        self.interrupted = -1
        self.condemned: Event | None = None
        self.charge = Charge.BLOCKED
        self.last: bytes | None = None
        self._tracing = False

    @contextmanager
    def mark(self, what: bytes) -> Iterator[None]:
        """Within this block something runs that belongs to the event of that mark, but is no step of its handler."""
        self.last = what
        self._marker.set(what)
        try:
            yield
        finally:
            self._marker.clear()

    def blame_last(self) -> None:
        """This process is about to die of what the step that ran last has done."""
        if self.last is not None:
            self._marker.set(self.last)

    def deaths(self, activation: Activation, event: Event) -> int:
        """How many owners have died in the middle of a step of this event."""
        what = _identity(activation, event)
        return self._marker.deaths(what) if what else 0

    @types.coroutine
    def guard(
        self, activation: Activation, event: Event, handler: Coroutine[Any, Any, bytes | None]
    ) -> Generator[Any, None, bytes | None]:
        """Run a handler step by step; the charge's error when it had to be interrupted, even if it caught that."""
        marker, what = self._marker, _identity(activation, event)
        event.mark = what
        who = (activation, event)
        thrown: BaseException | None = None
        while True:
            cut = False
            self.number = number = self.number + 1
            if what:
                marker.set(what)
            self.running, self.last = who, what
            try:
                if self.condemned is event:
                    self.condemned, self.interrupted = None, number
                    wanted = handler.throw(InterruptedStepError())
                else:
                    wanted = handler.send(None) if thrown is None else handler.throw(thrown)
                if self.interrupted == number:
                    handler.close()
            except StopIteration as ended:
                if self.interrupted != number:
                    return ended.value  # type: ignore[no-any-return]
                wanted = None
            except InterruptedStepError:  # perhaps out of a task that the handler waited for
                cut, wanted = True, None
            except BaseException as error:
                if self.interrupted != number:
                    if not isinstance(error, MemoryError) or memory.resident() <= self.memory_limit:
                        raise
                    self.charge = Charge.GREEDY  # it was faster than the watchdog
                    text = "%s: %s is interrupted: the process has all memory that it may have:\n%s"
                    log.error(
                        text, activation, event.label, "".join(traceback.format_tb(error.__traceback__))
                    )
                    cut = True
                wanted = None
            finally:
                self.running = None
                if self._tracing:
                    self._tracing = False
                    sys.settrace(None)
                if what:
                    marker.clear()
            if cut or self.interrupted == number:
                raise self.charge.value(_VERDICTS[self.charge], delivered="no")
            thrown = None
            try:
                yield wanted
            except BaseException as error:  # noqa: BLE001 - a cancellation, or the end: the handler's business
                thrown = error

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise InterruptedStepError if step `number` runs: in `frame`, where the loop's thread is, or when that has returned.

        Only for that thread itself.
        """
        if self.number != number:
            return
        if self.running is None:
            if current_event.get() is not None and in_own_task(frame):
                raise InterruptedStepError
            return
        own = _own_frame(frame)
        if own is not None and own is frame:
            self.interrupted = number
            raise InterruptedStepError
        if own is not None and sys.gettrace() is None:
            self._tracing = True

            def next_line(traced: FrameType, _event: str, _argument: Any) -> Any:
                if self._tracing:
                    self._tracing = False
                    sys.settrace(None)
                    self.interrupt(number, traced)
                return None

            own.f_trace = next_line
            sys.settrace(_no_trace)


_GUARD = cast(types.FunctionType, Steps.guard).__code__


def _identity(activation: Activation, event: Event) -> bytes | None:
    origin = event.origin
    return None if origin is None else f"{activation.object_id}/{origin}".encode()


def _no_trace(_frame: FrameType, _event: str, _argument: Any) -> None:
    """New frames are not traced."""


def in_own_task(frame: FrameType | None) -> bool:
    """Whether the innermost frames are neither the runtime's nor the loop's, and the loop has called them directly."""
    innermost = True
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(PROTECTED):
            return not innermost and module.startswith(("asyncio", TASKS))
        innermost = False
        frame = frame.f_back
    return False


def _own_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the class's code that has no runtime's frame between itself and the handler's first one.

    It is `frame` itself when that may be interrupted on the spot; None when there is no such frame.
    """
    own: FrameType | None = None
    inside_runtime = True
    while frame is not None and frame.f_code is not _GUARD:
        module = str(frame.f_globals.get("__name__", ""))
        protected = module.startswith(PROTECTED)
        if not protected and inside_runtime:
            own = frame
        elif module.startswith(STORAGE):
            own = None
        inside_runtime = protected
        frame = frame.f_back
    return own if frame is not None else None
