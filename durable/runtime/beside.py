"""Events that run beside the serial ones: `@concurrent` methods, each in a task of its own, without storage."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable.core import codec
from durable.errors import DurableError, EventTimeoutError, OverloadedError, ValueRefusedError
from durable.storage.transactions import outside_event

from .calls import ObjectCalls
from .context import AbortError
from .events import Event, MovedError, current_event
from .namespace import task_dispatcher

if TYPE_CHECKING:
    from .activation import Activation

log = logging.getLogger(__name__)


class Beside:
    """The concurrent events of one activation.

    Args:
        max_events: how many may run at once.
        max_bytes: how many bytes their arguments may have together.
    """

    def __init__(self, activation: Activation, max_events: int, max_bytes: int) -> None:
        self._activation = activation
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._is_ended = False
        self._running: dict[asyncio.Task[None], Event] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, event: Event) -> bool:
        return event in self._running.values()

    def start(self, event: Event) -> None:
        """Run an event beside the others; raises OverloadedError, and then it is never run."""
        activation, running = self._activation, self._running
        if running:
            if len(running) >= self._max_events:
                raise OverloadedError(f"{len(running)} concurrent events already run in this object")
            if self._bytes + event.size > self._max_bytes:
                raise OverloadedError(f"{self._bytes} bytes are already with this object's concurrent events")
        self._bytes += event.size
        event.deadline = activation.host.clock() + activation.event_timeout
        task = activation.host.loop.create_task(self._run(event))
        running[task] = event
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        event = self._running.pop(task)
        self._bytes -= event.size
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, DurableError):
            log.error("%s: %s was not answered", self._activation, event.label, exc_info=error)
        # Perhaps before its first step; or it took no notice, and could not be answered any more when the object had ended.
        if task.cancelled() or error is not None:
            event.answer.not_owner(None)
        self._activation.wake()

    async def _run(self, event: Event) -> None:
        activation = self._activation
        instance = activation.runner.instance
        if instance is None:  # discarded since the event was offered: the next one is for it
            activation.offer(event, refuse=False)
            return
        current_event.set(event)
        task_dispatcher.set(ObjectCalls(activation))  # whoever offered the event may have had another
        try:
            value = await activation.host.steps.guard(activation, event, event.run(activation))
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            self._failed(event, error)
            if isinstance(error, AbortError) and activation.runner.instance is instance:
                activation.runner.abort(error.message)
        else:
            activation.gate.release(event, event.answer.reply, value)
        finally:
            activation.last_active = activation.host.clock()

    def _failed(self, event: Event, error: BaseException) -> None:
        activation, task = self._activation, asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            if activation.host.clock() > event.deadline:
                late = f"the event ran longer than {activation.event_timeout:g} s"
                error = EventTimeoutError(late, delivered="unknown")
            elif self._is_ended:
                raise error
        activation.gate.fail(event, error)

    def check_deadlines(self, now: float) -> None:
        """Cancel what has run too long."""
        for task, event in self._running.items():
            if now > event.deadline:
                task.cancel()

    def cancel(self) -> None:
        """End them all; no more will be started."""
        self._is_ended = True
        for task in self._running:
            task.cancel()

    async def run_as_event(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Queue `function(*args)` as a serial event of its own; its result when that is durable.

        It has an identity derived from the concurrent event's: when that is repeated at another owner, what this has
        written is not written again.
        """
        event = current_event.get()
        if event is None:
            raise outside_event()
        if not event.concurrent:
            raise RuntimeError("run() is for @concurrent methods; call it directly")
        host = self._activation.host
        result: asyncio.Future[Any] = host.loop.create_future()
        kept: list[Any] = []

        async def run(activation: Activation) -> bytes | None:
            value = function(*args)
            kept.append(await value if inspect.isawaitable(value) else value)
            if not activation.gate.store.transactions.writing:
                return None  # no record of it is kept
            try:
                return codec.encode(kept[0])
            except ValueRefusedError:  # that it has run is known to the next owner, but not what came of it
                return None

        object_id = str(self._activation.object_id)
        call_id = event.next_call_id(object_id, object_id, f"run {getattr(function, '__qualname__', '')}")
        queued = Event("run", run, _Result(result, kept), call_id=call_id, chain=event.chain, inside=True)
        with event.leaving():
            self._activation.offer(queued)
            return await result


class _Result:
    """An answer that resolves a future in this process."""

    def __init__(self, future: asyncio.Future[Any], kept: list[Any]) -> None:
        self._future = future
        self._kept = kept

    def reply(self, value: bytes | None) -> None:
        """Hand over what the function returned, here or at an owner before."""
        if not self._future.done():
            self._future.set_result(self._kept[0] if self._kept else codec.decode(value or b""))

    def fail(self, error: BaseException) -> None:
        """Raise where the result is awaited."""
        if not self._future.done():
            self._future.set_exception(error)

    def not_owner(self, owner: str | None) -> None:
        """The object has moved."""
        self.fail(MovedError("the object has moved", delivered="no"))
