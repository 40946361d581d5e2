"""One event's turn: an instance is made for it, it runs in a transaction of its own, and what it comes to is judged.

Invariants:
- What an event wants done (its reply, socket operations, outgoing calls) goes through the output gate, after its commit.
- An event that raises is rolled back, and the instance is discarded, unless it raised ObjectError and had written
  nothing: memory never disagrees with storage.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw

from durable.errors import (
    DurableError,
    EventTimeoutError,
    FencedError,
    ObjectError,
    ObjectResetError,
    OverloadedError,
    ReentrantCallError,
    SetAsideError,
    StorageError,
)
from durable.storage.failures import storage_failure

from .alarms import alarm_origin
from .calls import cycle
from .context import Context
from .events import Event, MovedError, current_event
from .handlers import forget_event
from .leaving import Leave
from .migrations import migrate
from .troubles import TroubleKind, describe, trouble_of

if TYPE_CHECKING:
    from .activation import Activation
    from .objects import DurableObject

log = logging.getLogger(__name__)

DEADLY = 2  # owners that died in the middle of an event, after which it is not tried again
START_DELAYS = (0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before another try, by failures so far


class EventRunner:
    """Runs the serial events of one activation, in its task.

    Attributes:
        running: the event whose turn it is.
        instance: the object itself, from one discarding to the next.
        resume_due: a takeover has found sockets, which the next instance is to be told of.
    """

    def __init__(self, activation: Activation) -> None:
        self._activation = activation
        self._start_failures = 0
        self._cut_off = False  # the running event is cancelled because of its time, or on purpose
        self._abort_reason: str | None = None
        self.running: Event | None = None
        self.instance: DurableObject | None = None
        self.resume_due = False

    async def handle(self, event: Event) -> None:
        """Give an event its turn."""
        activation = self._activation
        try:
            activation.gate.store.database.go_on_in_file()
            if not event.moves:
                event.origin = alarm_origin(activation)
            if event.repeat and self._is_deadly(event):
                return
            if not event.concurrent and activation.gate.answer_again(event):
                return
        except (DurableError, apsw.Error) as error:
            self._judge(event, self.understood(error))
            return
        if self.instance is None and event.needs_instance:
            try:
                failure = await self._start_instance(event)
            except asyncio.CancelledError:
                event.answer.not_owner(None)
                raise
            if failure is not None:
                self._start_failed(event, failure)
                return
        if event.concurrent:
            try:
                activation.beside.start(event)
            except OverloadedError as error:
                activation.gate.fail(event, error)
            return
        await self._run(event)

    def _is_deadly(self, event: Event) -> bool:
        """Whether two owners have died in the middle of the event already; then it is set aside, not tried again."""
        activation = self._activation
        deaths = activation.host.steps.deaths(activation, event)
        if deaths < DEADLY:
            return False
        log.error("%s: %s is set aside: %d workers died in the middle of it", activation, event.label, deaths)
        error = SetAsideError(f"set aside: {deaths} workers died in the middle of it")
        activation.report(TroubleKind.SET_ASIDE, f"{event.label}: {error}")
        self._fail([event], error)
        return True

    async def _start_instance(self, event: Event) -> BaseException | None:
        """Construct the object and run `start` for an event, whose callers wait for that too; the error when it fails."""
        activation = self._activation
        delay = START_DELAYS[min(self._start_failures, len(START_DELAYS) - 1)]
        if delay:
            await asyncio.sleep(delay)
        failure = await self._run(Event("start", self._construct, origin=event.origin, chain=event.chain))
        if failure is not None:
            self._start_failures += 1
            if trouble_of(failure) is None and not isinstance(failure, MovedError):
                activation.report(TroubleKind.START, describe(failure))
            return failure
        self._start_failures = 0
        activation.host.troubles.over(activation.object_id, TroubleKind.START)
        if self.resume_due:
            self.resume_due = False
            await self._run(Event("web_socket_resume", self._resume, origin=event.origin, chain=event.chain))
            if self.instance is None:
                return await self._start_instance(event)
        return None

    def _start_failed(self, event: Event, failure: BaseException) -> None:
        """Tell who waits, but for what runs without an instance, and calls that have had their effect already."""
        activation = self._activation
        if isinstance(failure, MovedError):  # the others move with the activation's end
            event.answer.not_owner(None)
            return
        for waiting in [event, *activation.mailbox.drain()]:
            if not waiting.needs_instance:
                activation.mailbox.put(waiting, activation.host.clock(), refuse=False)
            elif waiting.concurrent or not self._answer_again(waiting):
                self._give_up(waiting, failure)

    def _answer_again(self, event: Event) -> bool:
        try:
            return self._activation.gate.answer_again(event)
        except apsw.Error:  # perhaps what `start` has failed with
            return False

    async def _construct(self, activation: Activation) -> None:
        """Migrate the storage, make the instance and run its `start` hook, all in the running event."""
        migrate(activation.kind, activation.gate.store, Context(activation))
        instance = activation.kind(Context(activation))
        await instance.start()
        self.instance = instance  # not before: concurrent events would run in it

    def check_start_waits_not_for(self, event: Event) -> None:
        """Raise ReentrantCallError for an event which `start` waits for while it would wait for `start`."""
        if self.running is not None and self.instance is None:
            found = cycle(event.chain, self._activation.target)
            if found is not None:
                raise ReentrantCallError(f"a call came back to an object whose start waits for it: {found}")

    async def _resume(self, activation: Activation) -> None:
        await activation.instance.web_socket_resume()

    async def _run(self, event: Event) -> BaseException | None:
        """Handle one event in its own transaction and hand over what it produced; what it failed with, if it did."""
        activation = self._activation
        self.running = event
        event.deadline = activation.host.clock() + activation.event_timeout
        token = current_event.set(event)
        try:
            value = await activation.host.steps.guard(activation, event, event.run(activation))
            if self._cut_off:  # the handler took no notice
                raise asyncio.CancelledError
            activation.gate.succeed(event, value)
            return None
        except asyncio.CancelledError as error:
            if not self._cut_off and not activation.is_lost:
                # The handler's own: what it waited for was cancelled, or its task by itself; or the whole loop ends.
                if activation.task.cancelling():
                    activation.leave(Leave.IDLE)
                return self._judge(event, error)
            others = self._roll_back(event)
            if not self._cut_off:
                for one in [*others, event]:
                    one.answer.not_owner(None)
                raise
            reason = self._why_cut_off()
            self._fail_others(others, reason)
            self._fail([event], reason)
            return reason
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            return self._judge(event, self.understood(error))
        finally:
            current_event.reset(token)
            self.running = None
            self._cut_off = False
            self._abort_reason = None
            activation.used()
            if event.waits and activation.task.cancelling() and not activation.is_lost:
                await self._take_back_cancellations()

    async def _take_back_cancellations(self) -> None:
        """The event is over, and with it what was asked of its handler, once or more often: the task goes on."""
        while self._activation.task.uncancel():
            pass
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # one that the handler has not met yet would meet the next event

    # -- events that share a commit

    def may_share(self, event: Event) -> bool:
        """Whether the event may run before what is held is committed: it cannot wait, and needs nothing that could."""
        if event.waits or self.instance is None:
            return False
        if event.socket is None:
            return True
        # An object may have given itself another one, or another class.
        hook = self.instance.web_socket_message
        return getattr(hook, "__func__", None) is self._activation.kind.web_socket_message

    def commit_held(self) -> None:
        """Commit what is held, if anything is. When that fails, so do all events that it holds."""
        gate = self._activation.gate
        if not gate.holds:
            return
        try:
            gate.commit_held()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits has to be told
            error = self.understood(error)
            trouble = trouble_of(error)
            if trouble is not None:
                self._activation.report(trouble, f"a commit of several events: {error}")
            self._fail(self._roll_back(None), error)

    # -- cut off

    def check_deadline(self, now: float) -> None:
        """Cancel the running event if it has run too long."""
        if self.running is not None and now > self.running.deadline:
            self._cancel()

    def abort(self, reason: str) -> None:
        """Discard the instance now: the running event is cancelled and leaves no trace."""
        if self.running is None:
            self.instance = None
        else:
            self._abort_reason = reason
            self._cancel()

    def _cancel(self) -> None:
        self._cut_off = True
        self._activation.task.cancel()

    def _why_cut_off(self) -> DurableError:
        if self._abort_reason is not None:
            return ObjectResetError(self._abort_reason, delivered="no")
        limit = self._activation.event_timeout
        return EventTimeoutError(f"the event ran longer than {limit:g} s", delivered="no")

    # -- failed

    def _judge(self, event: Event, error: BaseException) -> BaseException:
        """An event has raised: decide what it means for the instance, and tell who waits; what others are told."""
        activation = self._activation
        trouble = trouble_of(error)
        if trouble is not None:
            activation.report(trouble, f"{event.label}: {error}")
        wrote = activation.gate.store.transactions.writing or event.flushed
        others = self._roll_back(event, keep_instance=isinstance(error, ObjectError) and not wrote)
        if isinstance(error, FencedError):
            self._fail([*others, event], error)
            return MovedError("another owner has taken this object", delivered="no")
        if not isinstance(error, DurableError):
            log.error("%s: %s failed", activation, event.label, exc_info=error)
        elif isinstance(error, StorageError):
            log.warning("%s: %s failed: %s", activation, event.label, error)
        self._fail_others(others, error)
        self._fail([event], error)
        return error

    def _fail_others(self, events: list[Event], error: BaseException) -> None:
        """These are lost with the one that failed with `error`."""
        if events:
            what = f"the transaction failed that this event shared with others: {error}"
            self._fail(events, StorageError(what, delivered="no"))

    def _fail(self, events: list[Event], error: BaseException) -> None:
        """Tell who waits for the events that they have failed."""
        activation = self._activation
        if isinstance(error, FencedError):
            log.warning("%s: fenced: another owner has taken it", activation)
            activation.leave(Leave.LOST)
            for event in events:
                event.answer.not_owner(None)
            return
        for event in events:
            self._answer_frame(event)
            self._give_up(event, error)

    def _give_up(self, event: Event, error: BaseException) -> None:
        """The event has failed for good: say so, or forget the socket whose end it is, which is the answer then."""
        if event.closes is None:
            self._activation.gate.fail(event, error)
        else:
            self._activation.offer_first(forget_event(event.closes, event.answer))

    def understood(self, error: BaseException) -> BaseException:
        """An error of SQLite's, met in the runtime's own bookkeeping, as what it means."""
        gate = self._activation.gate
        if isinstance(error, apsw.Error) and gate.is_open:
            return storage_failure(error, gate.store.database)
        return error

    def _answer_frame(self, event: Event) -> None:
        """The event has failed: if it was a client's frame, tell the client, where the class has words for it."""
        words = self._activation.kind.web_socket_error
        if event.socket is not None and words is not None:
            ws = self._activation.sockets.get(event.socket[0])
            if ws is not None:
                event.effects.append((ws.gateway, ("send", [ws.id], words, None)))

    def _roll_back(self, event: Event | None, *, keep_instance: bool = False) -> list[Event]:
        """Forget what the event wrote, or (None) what is held; the events before it that are lost with it."""
        activation = self._activation
        lost: list[Event] = []
        try:
            wrote, lost = activation.gate.undo(event)
            if wrote:
                activation.sockets.load(activation.gate.store.metadata.sockets())
        except apsw.Error:
            log.exception("%s: rolling back failed", activation)
            activation.leave(Leave.LOST)
        if not keep_instance or lost:
            self.instance = None
        return lost
