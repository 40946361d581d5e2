"""One live object: opened, fed with events one at a time, put to sleep.

Invariants:
- One task runs all serial events; nothing else touches the store while that task lives.
- What an event wants done (its reply, socket operations, outgoing calls) goes to the outbox only after its commit.
- An event that raises is rolled back, and its instance is discarded, unless it raised ObjectError and had written
  nothing: memory never disagrees with storage.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import apsw

from durable.errors import (
    DurableError,
    EventTimeoutError,
    FencedError,
    LostWriteError,
    ObjectError,
    ObjectResetError,
    SocketError,
    StorageError,
)
from durable.identity import ObjectId
from durable.storage.store import Store
from durable.storage.transactions import outside_event

from .calls import ObjectCalls
from .context import Context
from .events import DERIVED, Event, MovedError, Operation, current_event
from .mailbox import Mailbox
from .migrations import migrate
from .namespace import task_dispatcher
from .outbox import Outbox
from .sockets import SocketTable
from .storage import Storage

if TYPE_CHECKING:
    from .host import Host
    from .objects import DurableObject

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 64  # events handled before the loop gets its turn
UNSYNCED_SECONDS = 1.0  # how long a relaxed commit may wait for its sync
DERIVED_CALLS_KEPT = 256  # between two looks for old ones
DERIVED_CALL_MS = 10 * 60 * 1000  # how long a call by another object's event may be repeated
START_DELAYS = (0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before another try, by failures so far


class State(Enum):
    """Where an activation is in its life."""

    OPENING = auto()
    ACTIVE = auto()
    LEAVING = auto()
    GONE = auto()


class Leave(Enum):
    """Why an activation ends, and so what becomes of the events that still wait."""

    IDLE = auto()  # evicted: a new activation takes them
    MOVE = auto()  # drained or transferred: they go to the next owner
    LOST = auto()  # the lease or the fence is lost: they go to the next owner, nothing more is released


class Activation:
    """The live instance of one object in this process, or its coming and going."""

    def __init__(self, host: Host, kind: type[DurableObject], object_id: ObjectId) -> None:
        settings = host.settings
        self.host = host
        self.kind = kind
        self.object_id = object_id
        self.state = State.OPENING
        self.epoch = 0
        self.last_active = host.clock()
        self.catalogued = False  # this activation's first write has been noted
        self.woken_for_alarm = False  # opened because the alarm index said so
        self.running: Event | None = None
        self.store: Store | None = None
        self.mailbox = Mailbox(
            kind.max_queue or settings.max_queue, settings.max_queue_bytes, settings.event_timeout
        )
        self.outbox = Outbox(host.may_release, relaxed=kind.durability == "relaxed")
        self.storage = Storage(self._event_store, self.touch_alarm)
        self.sockets = SocketTable(self._event_store, self.effect, kind.max_sockets or settings.max_sockets)
        self.idle_seconds = settings.idle_seconds if kind.idle_seconds is None else kind.idle_seconds
        self.event_timeout = settings.event_timeout if kind.event_timeout is None else kind.event_timeout
        self._instance: DurableObject | None = None
        self._start_failures = 0
        self._resume_due = False
        self._alarm_touched = False
        self._timed_out = False
        self._derived_calls = 0
        self._abort_reason: str | None = None
        self._leave: Leave | None = None
        self.gone: asyncio.Future[None] = host.loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._beside: dict[asyncio.Task[None], Event] = {}
        self._sync_timer: asyncio.TimerHandle | None = None
        self._task = host.loop.create_task(self._live(), name=f"durable:{kind.key}:{object_id.name}")

    # -- from the host

    def offer(self, event: Event) -> None:
        """Queue an event; raises OverloadedError."""
        if (
            event.concurrent
            and self._instance is not None
            and self.state is State.ACTIVE
            and self._leave is None
        ):
            self._start_beside(event)
            return
        self.mailbox.put(event, self.host.clock())
        self._wake()

    def offer_first(self, event: Event) -> None:
        """Queue an event of the runtime's own before all others."""
        self.mailbox.put_first(event, self.host.clock())
        self._wake()

    def leave(self, why: Leave) -> None:
        """End after the running event (LOST: at once); `gone` is done when the file is closed."""
        if self._leave is None or why is Leave.LOST:
            self._leave = why
        settling = self.state in (State.LEAVING, State.GONE)
        if why is Leave.LOST and not settling and asyncio.current_task() is not self._task:
            self._task.cancel()
        self._wake()

    @property
    def leaving(self) -> bool:
        """Whether it is about to end."""
        return self._leave is not None and self.state is not State.GONE

    def is_idle(self, now: float) -> bool:
        """Whether nothing has happened here for the class's idle time, and nothing is under way."""
        return (
            self.state is State.ACTIVE
            and self.running is None
            and not self.mailbox
            and not self.outbox
            and not self._beside
            and now - self.last_active >= self.idle_seconds
        )

    def abort_running(self, reason: str) -> None:
        """Discard the instance now: the running event is cancelled and leaves no trace."""
        if self.running is not None:
            self.running.deadline = float("-inf")
            self._abort_reason = reason
            self._timed_out = True
            self._task.cancel()
        else:
            self._instance = None

    def tick(self, now: float) -> None:
        """Now and then: look at the clock and at what could not leave before."""
        if self.running is not None:
            if now > self.running.deadline:
                self._timed_out = True
                self._task.cancel()
        elif self.state is State.LEAVING:
            self._wake()
        elif self.is_idle(now):
            self.leave(Leave.IDLE)
        for task, event in self._beside.items():
            if now > event.deadline:
                task.cancel()
        if self.outbox:
            self.outbox.release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the life of an activation

    async def _live(self) -> None:
        why = Leave.LOST
        task_dispatcher.set(ObjectCalls(self))
        try:
            await self.host.open(self)
            self.state = State.ACTIVE
            await self._serve()
            why = self._leave or Leave.IDLE
        except asyncio.CancelledError:
            if self._leave is None:
                self._leave = Leave.LOST
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits has to be told
            self.host.failed(self, error)
        finally:
            self.state = State.LEAVING
            await self._end(why)

    def opened(self, store: Store, *, resume: bool) -> None:
        """The host has claimed and opened the storage."""
        self.store = store
        self.epoch = store.claim.epoch
        if store.name is not None and self.object_id.name is None:
            self.object_id = ObjectId(self.object_id.class_key, str(self.object_id), store.name)
        self.outbox.durable(store.log.durable)
        self.sockets.load(store.metadata.sockets())
        self._resume_due = resume and len(self.sockets) > 0
        if store.log.appended_to > store.log.durable:
            store.log.sync_soon()

    async def _serve(self) -> None:
        handled = 0
        mailbox = self.mailbox
        while True:
            if self._leave is not None:
                return
            if not mailbox:
                await self._sleep()
                continue
            await self._handle(mailbox.take())
            handled += 1
            if self.store is not None and self.store.wants_checkpoint:
                await self._checkpoint()
            elif handled % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _sleep(self) -> None:
        self._waiter = self.host.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _checkpoint(self) -> None:
        store = self.open_store()
        await self.host.off_loop(store.checkpoint)

    # -- one event

    async def _handle(self, event: Event) -> None:
        if self._instance is None and event.needs_instance:
            try:
                failure = await self._start_instance()
            except asyncio.CancelledError:
                event.answer.not_owner(None)
                raise
            if failure is not None:
                for waiting in [event, *self.mailbox.drain()]:
                    self._fail(waiting, failure)
                return
        if event.concurrent:
            self._start_beside(event)
            return
        # A repeated event of another object makes its calls anew: they look like first ones to who carries them.
        derived = event.call_id is not None and event.call_id.caller.startswith(DERIVED)
        if (event.repeat or derived) and self._answer_again(event):
            return
        await self._run(event)

    async def _start_instance(self) -> BaseException | None:
        """Construct the object and run `start`; the error when that fails."""
        delay = START_DELAYS[min(self._start_failures, len(START_DELAYS) - 1)]
        if delay:
            await asyncio.sleep(delay)
        failure = await self._run(Event("start", _start))
        if failure is not None:
            self._start_failures += 1
            return failure
        self._start_failures = 0
        if self._resume_due:
            self._resume_due = False
            await self._run(Event("web_socket_resume", _resume))
            if self._instance is None:
                return await self._start_instance()
        return None

    async def _run(self, event: Event) -> BaseException | None:
        """Handle one event in its own transaction and hand over what it produced; what it failed with, if it did."""
        self.running = event
        event.deadline = self.host.clock() + self.event_timeout
        token = current_event.set(event)
        try:
            value = await event.run(self)
            if self._timed_out:  # the handler took no notice
                raise asyncio.CancelledError
            self._succeed(event, value)
            return None
        except asyncio.CancelledError:
            self._roll_back(event)
            if not self._timed_out:
                event.answer.not_owner(None)
                raise
            reason = self._why_cancelled(event)
            self._answer_frame(event)
            self._fail(event, reason)
            return reason
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            return self._judge(event, error)
        finally:
            current_event.reset(token)
            self.running = None
            if self._timed_out:
                self._timed_out = False
                self._task.uncancel()
            self._abort_reason = None
            self.last_active = self.host.clock()

    def _why_cancelled(self, event: Event) -> DurableError:
        delivered: Any = "unknown" if event.flushed else "no"
        if self._abort_reason is not None:
            return ObjectResetError(self._abort_reason, delivered=delivered)
        return EventTimeoutError(f"the event ran longer than {self.event_timeout:g} s", delivered=delivered)

    def _succeed(self, event: Event, value: bytes | None) -> None:
        store = self.open_store()
        store.sql.close_cursors()
        barrier = None
        if store.transactions.writing:
            barrier = self._commit(event, value)
        self._release(event, event.answer.reply, value, barrier)

    def _commit(self, event: Event, outcome: bytes | None) -> asyncio.Future[Any] | None:
        """Commit the event's writes with the record that it has run; returns what else its outputs must wait for."""
        store = self.open_store()
        metadata = store.metadata
        if event.call_id is not None:
            if event.call_id.caller.startswith(DERIVED):
                self._forget_old_calls()
            metadata.put_call(
                event.call_id.caller, event.call_id.slot, event.call_id.number, outcome, self.now()
            )
        if event.socket is not None:
            metadata.set_received(*event.socket)
        seq = store.commit()
        if self.kind.durability == "relaxed":
            store.log.note(seq)
            if self._sync_timer is None:
                self._sync_timer = self.host.loop.call_later(UNSYNCED_SECONDS, self._sync_now)
        else:
            store.log.appended(seq)
        self.host.wrote(self)
        if self._alarm_touched:
            self._alarm_touched = False
            alarm = metadata.get_alarm()
            return self.host.alarm_changed(self, None if alarm is None else alarm.at)
        return None

    def _forget_old_calls(self) -> None:
        """Calls by other objects use a slot each: forget those whose event must be over."""
        self._derived_calls += 1
        if self._derived_calls % DERIVED_CALLS_KEPT == 0:
            self.open_store().metadata.forget_calls(DERIVED, self.now() - DERIVED_CALL_MS)

    def _sync_now(self) -> None:
        self._sync_timer = None
        if self.store is not None:
            self.store.log.sync_soon()

    def _release(
        self,
        event: Event,
        reply: Callable[[Any], None],
        value: Any,
        barrier: asyncio.Future[Any] | None = None,
    ) -> None:
        """Let the event's effects and its reply go when all that they could have seen is durable."""
        effects, event.effects = event.effects, []

        def emit(error: BaseException | None) -> None:
            if error is not None:
                event.answer.fail(error)
                return
            if effects:
                self.host.emit(self, effects)
            reply(value)

        self.outbox.put(self.open_store().transactions.seq, emit, barrier)

    def _judge(self, event: Event, error: BaseException) -> BaseException:
        """An event has raised: decide what it means for the instance, and tell who waits; what others are told."""
        store = self.open_store()
        wrote = store.transactions.writing or event.flushed
        self._roll_back(event, keep_instance=isinstance(error, ObjectError) and not wrote)
        if isinstance(error, FencedError):
            log.warning("%s: fenced: another owner has taken it", self)
            self.leave(Leave.LOST)
            event.answer.not_owner(None)
            return MovedError("another owner has taken this object", delivered="no")
        if not isinstance(error, DurableError):
            log.error("%s: %s failed", self, event.label, exc_info=error)
        elif isinstance(error, StorageError):
            log.warning("%s: %s failed: %s", self, event.label, error)
        self._answer_frame(event)
        self._fail(event, error)
        return error

    def _answer_frame(self, event: Event) -> None:
        """The event has failed: if it was a client's frame, tell the client, where the class has words for it."""
        if event.socket is not None and self.kind.web_socket_error is not None:
            ws = self.sockets.get(event.socket[0])
            if ws is not None:
                event.effects.append((ws.gateway, ("send", [ws.id], self.kind.web_socket_error, None)))

    def _fail(self, event: Event, error: BaseException) -> None:
        self._release(event, event.answer.fail, error)

    def _roll_back(self, event: Event, *, keep_instance: bool = False) -> None:
        event.effects.clear()
        if self.store is None:
            return
        self._alarm_touched = False
        self.store.sql.close_cursors()
        wrote = self.store.transactions.writing
        try:
            self.store.transactions.rollback()
            if wrote:
                self.sockets.load(self.store.metadata.sockets())
        except apsw.Error:
            log.exception("%s: rolling back failed", self)
            self.leave(Leave.LOST)
        if not keep_instance:
            self._instance = None

    def _answer_again(self, event: Event) -> bool:
        """Whether a repeated event has had its effect already; then it gets its first answer."""
        store = self.open_store()
        if event.call_id is not None:
            known = store.metadata.call_outcome(event.call_id.caller, event.call_id.slot)
            if known is None or known[0] < event.call_id.number:
                return False
            number, outcome = known
            if number > event.call_id.number:
                self._fail(
                    event, ObjectResetError("this call was given up by its caller", delivered="unknown")
                )
            elif outcome is None:
                reset = ObjectResetError(
                    "the owner died after a part of this call was committed", delivered="unknown"
                )
                self._fail(event, reset)
            else:
                self._release(event, event.answer.reply, outcome)
            return True
        return False

    # -- events beside the serial ones

    def _start_beside(self, event: Event) -> None:
        event.deadline = self.host.clock() + self.event_timeout
        task = self.host.loop.create_task(self._run_beside(event))
        self._beside[task] = event
        task.add_done_callback(self._beside.pop)

    async def _run_beside(self, event: Event) -> None:
        current_event.set(event)
        try:
            value = await event.run(self)
        except asyncio.CancelledError:
            if self.host.clock() <= event.deadline:
                event.answer.not_owner(None)
                raise
            self._fail(
                event,
                EventTimeoutError(f"the event ran longer than {self.event_timeout:g} s", delivered="unknown"),
            )
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            self._fail(event, error)
        else:
            self._release(event, event.answer.reply, value)
        finally:
            self.last_active = self.host.clock()

    async def run_as_event(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Queue `function(*args)` as an event of its own; its result when that is durable."""
        event = current_event.get()
        if event is None or not event.concurrent:
            raise (
                outside_event()
                if event is None
                else RuntimeError("run() is for @concurrent methods; call it directly")
            )
        result: asyncio.Future[Any] = self.host.loop.create_future()
        kept: list[Any] = []

        async def run(_activation: Activation) -> bytes | None:
            value = function(*args)
            kept.append(await value if inspect.isawaitable(value) else value)
            return None

        self.offer(Event("run", run, _Result(result, kept), chain=event.chain))
        return await result

    # -- segments

    async def flush(self) -> None:
        """Commit what the running event has written so far, release it, and wait until that is durable."""
        event = current_event.get()
        if event is None or event is not self.running:
            raise outside_event()
        store = self.open_store()
        done: asyncio.Future[None] = self.host.loop.create_future()
        barrier = None
        if store.transactions.writing:
            store.sql.close_cursors()
            barrier = self._commit(event, None)
            event.flushed = True
        effects, event.effects = event.effects, []

        def emit(error: BaseException | None) -> None:
            if error is None and effects:
                self.host.emit(self, effects)
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        self.outbox.put(store.transactions.seq, emit, barrier)
        await done

    @property
    def has_unflushed(self) -> bool:
        """Whether the running event has written or wants something done that has not left yet."""
        return self.open_store().transactions.writing or bool(self.running and self.running.effects)

    # -- what the object asks of us

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.host.now()

    def open_store(self) -> Store:
        """The storage; raises ObjectResetError when it is closed."""
        if self.store is None:
            raise ObjectResetError("the object's storage is closed", delivered="no")
        return self.store

    def _event_store(self) -> Store:
        event = current_event.get()
        if event is None or event is not self.running or self.store is None:
            raise outside_event()
        return self.store

    def touch_alarm(self) -> None:
        """The running event may have changed the alarm."""
        self._alarm_touched = True

    def effect(self, gateway: str, operation: Operation) -> None:
        """Have something done to a socket when the running event is durable."""
        event = current_event.get()
        if event is None:
            raise SocketError("a socket can be used inside an event only, not in a task that was left behind")
        if event.concurrent:
            self.outbox.put(
                self.open_store().transactions.seq,
                lambda error: None if error else self.host.emit(self, [(gateway, operation)]),
            )
        else:
            event.effects.append((gateway, operation))

    def set_auto_response(self, request: str | None, response: str | None) -> None:
        """Remember the auto-response in the file; gateways learn it with each accepted socket."""
        self._event_store().metadata.set_auto_response(request, response)
        for gateway in {ws.gateway for ws in self.sockets}:
            self.effect(gateway, ("auto", request, response))

    def auto_response(self) -> tuple[str, str] | None:
        """(request, response) that gateways answer, if set."""
        return self.open_store().metadata.auto_response()

    @property
    def instance(self) -> DurableObject:
        """The object itself, while an event runs."""
        if self._instance is None:
            raise ObjectResetError("this incarnation was discarded", delivered="no")
        return self._instance

    async def construct(self) -> None:
        """Migrate the storage, make the instance and run its `start` hook, all in the running event."""
        store = self.open_store()
        migrate(self.kind, store, Context(self))
        self._instance = self.kind(Context(self))
        await self._instance.start()

    def synced(self, error: BaseException | None) -> None:
        """More commits have become durable, or `error` has ended that for good."""
        if self.store is None:  # a sync that was under way when the file was let go
            return
        if error is None:
            self.outbox.durable(self.store.log.durable)
            if self.state is State.LEAVING:
                self._wake()
            return
        log.error("%s: the disk refused to make a commit durable: %s", self, error)
        self.outbox.fail(LostWriteError(f"the disk refused to make a commit durable: {error}"))
        self.leave(Leave.LOST)

    # -- the end

    async def _end(self, why: Leave) -> None:
        """Close the file, and pass on or refuse what still waits."""
        for task in self._beside:
            task.cancel()
        self._instance = None
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        if why is Leave.LOST:
            self.outbox.fail(MovedError("the owner lost this object", delivered="unknown"))
        store = self.store
        if store is not None:
            if why is not Leave.LOST:
                store.log.sync_soon()
                await self._settle(store)
            try:
                await self.host.close(self, store, why)
            except Exception:
                log.exception("%s: its file could not be closed", self)
            self.store = None
        self.state = State.GONE
        self.host.left(self, why, self.mailbox.drain())
        if not self.gone.done():
            self.gone.set_result(None)

    async def _settle(self, store: Store) -> None:
        """Wait until what was committed is durable and all outputs have left."""
        while not store.log.idle or self.outbox:
            if not self.host.may_release():
                self.outbox.fail(
                    MovedError("the lease ended before this could be released", delivered="unknown")
                )
            await self._sleep()

    def __str__(self) -> str:
        return f"{self.kind.key} {self.object_id.name or str(self.object_id)!r}"


class _Result:
    """An answer that resolves a future in this process."""

    def __init__(self, future: asyncio.Future[Any], kept: list[Any]) -> None:
        self._future = future
        self._kept = kept

    def reply(self, value: bytes | None) -> None:
        """Hand over what the function returned."""
        if not self._future.done():
            self._future.set_result(self._kept[0])

    def fail(self, error: BaseException) -> None:
        """Raise where the result is awaited."""
        if not self._future.done():
            self._future.set_exception(error)

    def not_owner(self, owner: str | None) -> None:
        """The object has moved."""
        self.fail(MovedError("the object has moved", delivered="no"))


async def _start(activation: Activation) -> bytes | None:
    await activation.construct()
    return None


async def _resume(activation: Activation) -> bytes | None:
    await activation.instance.web_socket_resume()
    return None
