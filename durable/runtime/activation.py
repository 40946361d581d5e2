"""One live object: opened, fed with events one at a time, put to sleep.

Invariant: one task runs all serial events; nothing else touches the store while that task lives.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from typing import TYPE_CHECKING

from durable.core.envelope import Target
from durable.errors import ObjectResetError, SocketError
from durable.identity import ObjectId
from durable.storage.store import Store
from durable.storage.transactions import outside_event

from .beside import Beside
from .calls import ObjectCalls
from .context import Context
from .events import Event, MovedError, Operation, current_event
from .gate import OutputGate
from .leaving import Leave
from .mailbox import Mailbox
from .migrations import migrate_wiped
from .namespace import task_dispatcher
from .runner import EventRunner
from .sockets import SocketTable
from .storage import Storage
from .surroundings import CatalogEntry
from .troubles import TroubleKind

if TYPE_CHECKING:
    from .host import Host
    from .objects import DurableObject
    from .sockets import WebSocket

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 16  # events handled before the loop gets its turn
SHRINK_SECONDS = 1.0  # without events, after which memory that a burst has left is given back


class State(Enum):
    """Where an activation is in its life."""

    MADE = auto()  # its task has not begun: cancelled now, it would never come to its end
    OPENING = auto()
    ACTIVE = auto()
    LEAVING = auto()
    GONE = auto()


class Activation:
    """The live instance of one object in this process, or its coming and going."""

    def __init__(self, host: Host, kind: type[DurableObject], object_id: ObjectId) -> None:
        settings = host.settings
        self.host = host
        self.kind = kind
        self.object_id = object_id
        self.state = State.MADE
        self.epoch = 0
        self.last_active = host.clock()
        self.catalogued = False  # a write of this activation that no backup has was noted
        self.took_over = False  # somebody else owned it before
        self.woken_for_alarm = False  # opened because the alarm index said so
        self.runner = EventRunner(self)
        most, most_bytes = kind.max_queue or settings.max_queue, settings.max_queue_bytes
        self.mailbox = Mailbox(most, most_bytes, settings.event_timeout)
        self.gate = OutputGate(
            host.loop,
            now=host.now,
            may_release=host.may_release,
            relaxed=kind.durability == "relaxed",
            emit=lambda effects: host.emit(self, effects),
            wrote=lambda: host.wrote(self),
            alarm_changed=lambda at: host.alarm_changed(self, at),
        )
        self.beside = Beside(self, most, most_bytes)
        self.sockets = SocketTable(self._event_store, self.effect, kind.max_sockets or settings.max_sockets)
        self.idle_seconds = settings.idle_seconds if kind.idle_seconds is None else kind.idle_seconds
        self.event_timeout = settings.event_timeout if kind.event_timeout is None else kind.event_timeout
        self._may_shrink = False  # events have used the storage since it was made small
        self._leave: Leave | None = None
        # Uses the file in a thread, also when nobody waits.
        self.checkpointing: asyncio.Future[None] | None = None
        self.claiming: asyncio.Task[None] | None = None  # asks whether the object is still this worker's
        self.gone: asyncio.Future[None] = host.loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        self.task = host.loop.create_task(
            self._live(), name=f"durable:{object_id.class_key}:{object_id.name}"
        )

    # -- from the host

    def offer(self, event: Event, name: str | None = None, *, refuse: bool = True) -> None:
        """Queue an event, from somebody who calls the object `name`.

        Raises OverloadedError, unless it was accepted before, or is a socket's end: each has only one; ReentrantCallError.
        """
        if name is not None and self.object_id.name is None:
            self._call_it(name)
        if event.concurrent:
            if self.runner.instance is not None and self.state is State.ACTIVE and self._leave is None:
                self.beside.start(event)
                return
            self.runner.check_start_waits_not_for(event)
        self.mailbox.put(event, self.host.clock(), refuse=refuse and event.closes is None)
        self.wake()

    def offer_first(self, event: Event) -> None:
        """Queue an event of the runtime's own before all others."""
        self.mailbox.put_first(event, self.host.clock())
        self.wake()

    def leave(self, why: Leave) -> None:
        """End after the running event (LOST: at once); `gone` is done when the file is closed."""
        if self._leave is None or why is Leave.LOST:
            self._leave = why
        cancellable = self.state in (State.OPENING, State.ACTIVE)
        if why is Leave.LOST and cancellable and asyncio.current_task() is not self.task:
            self.task.cancel()
        self.wake()

    @property
    def target(self) -> Target:
        """The object as the link names it."""
        object_id = self.object_id
        return Target(object_id.class_key, str(object_id), object_id.name)

    def entry(self) -> CatalogEntry:
        """What the catalog should say of it."""
        store = self.gate.store
        alarm = store.metadata.get_alarm()
        return CatalogEntry(
            self.object_id.class_key,
            str(self.object_id),
            self.object_id.name,
            store.created_at,
            self.now(),
            store.database.size,
            None if alarm is None else alarm.at,
            gone=False,
            changed=self.catalogued and self.kind.backup,
        )

    @property
    def leaving(self) -> bool:
        """Whether it is about to end."""
        return self._leave is not None and self.state is not State.GONE

    @property
    def is_lost(self) -> bool:
        """Whether the object is another owner's, or nobody's: nothing of what it does now counts."""
        return self._leave is Leave.LOST

    def is_idle(self, now: float) -> bool:
        """Whether nothing has happened here for the class's idle time, and nothing is under way."""
        return (
            now - self.last_active >= self.idle_seconds  # first: it is what most objects fail
            and self.state is State.ACTIVE
            and self._leave is None
            and self.running is None
            and not self.mailbox
            and not self.gate.outbox
            and not self.beside
            and not self.host.alarm_turns.waits(str(self.object_id))
        )

    def tick(self, now: float) -> None:
        """Now and then: look at the clock and at what could not leave before."""
        if self.runner.running is not None:
            self.runner.check_deadline(now)
        elif self.state is State.LEAVING or (self._may_shrink and now - self.last_active >= SHRINK_SECONDS):
            self.wake()
        if self.beside:
            self.beside.check_deadlines(now)
        if self.gate.outbox:
            self.gate.outbox.release()

    def wake(self) -> None:
        """Let the activation look again at what there is to do."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the life of an activation

    async def _live(self) -> None:
        why = Leave.LOST
        task_dispatcher.set(ObjectCalls(self))
        self.state = State.OPENING
        try:
            if self._leave is Leave.LOST:
                return
            await self.host.open(self)
            self.state = State.ACTIVE
            await self._serve()
            why = self._leave or Leave.IDLE
        except asyncio.CancelledError:
            if self._leave is None:
                self._leave = Leave.LOST
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits has to be told
            self.host.failed(self, self.runner.understood(error))
        finally:
            self.state = State.LEAVING
            await self._end(why)

    def opened(self, store: Store, *, resume: bool) -> None:
        """The host has claimed and opened the storage."""
        self.epoch = store.claim.epoch
        self.gate.open(store)
        self.sockets.load(store.metadata.sockets())
        self._call_it(self.object_id.name or store.name)
        self.took_over = resume
        self.runner.resume_due = resume and len(self.sockets) > 0

    def _call_it(self, name: str | None) -> None:
        """Who asks for an object by its id does not know its name; when it is known, the next commit writes it down."""
        self.object_id = ObjectId(self.object_id.class_key, str(self.object_id), name)
        if self.gate.is_open:
            self.gate.store.transactions.name = name

    async def _serve(self) -> None:
        runner, mailbox, in_turn = self.runner, self.mailbox, 0
        while True:
            turn_ends = in_turn >= EVENTS_PER_TURN
            if turn_ends or self._leave is not None or not mailbox or not runner.may_share(mailbox.first):
                runner.commit_held()
                if self._leave is None and self.gate.is_open and self.gate.store.wants_checkpoint:
                    await self._checkpoint()
                elif turn_ends:
                    in_turn = 0
                    await asyncio.sleep(0)
            if self._leave is not None:
                await self._finish_beside()
                return
            if mailbox:
                await runner.handle(mailbox.take())
                in_turn += 1
            else:
                if self._may_shrink and self.host.clock() - self.last_active >= SHRINK_SECONDS:
                    self._may_shrink = False
                    self.gate.store.shrink()
                await self._sleep()
                in_turn = 0

    async def _checkpoint(self) -> None:
        """Copy the log into the main file."""
        self.checkpointing = self.host.off_loop(self.gate.store.checkpoint)
        await asyncio.shield(self.checkpointing)
        self.gate.store.checkpointed()

    async def _finish_beside(self) -> None:
        """Let concurrent events finish, each until its own deadline, with what they ask for inside."""
        while self.beside and not self.is_lost:
            event = self.mailbox.take_inside()
            if event is None:
                await self._sleep()
            else:
                await self.runner.handle(event)

    async def _sleep(self) -> None:
        self._waiter = self.host.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # -- what events tell us

    @property
    def running(self) -> Event | None:
        """The event whose turn it is."""
        return self.runner.running

    @property
    def instance(self) -> DurableObject:
        """The object itself, while an event runs."""
        if self.runner.instance is None:
            raise ObjectResetError("this incarnation was discarded", delivered="no")
        return self.runner.instance

    def used(self) -> None:
        """An event has had its turn."""
        self._may_shrink = True
        self.last_active = self.host.clock()

    def report(self, kind: TroubleKind, message: str) -> None:
        """Tell the operator what is wrong with this object."""
        self.host.troubles.seen(self.object_id, kind, message)

    # -- what the object asks of us

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.host.now()

    async def flush(self) -> None:
        """Commit what the running event has written so far, let it out, and wait until that is durable."""
        event = current_event.get()
        if event is None or event is not self.running:
            raise outside_event()
        await self.gate.flush(event)

    def storage(self) -> Storage:
        """What one incarnation sees of the file."""
        return Storage(
            self._event_store, self.touch_alarm, lambda store: migrate_wiped(self.kind, store, Context(self))
        )

    def _event_store(self) -> Store:
        event = current_event.get()
        if event is None or event is not self.runner.running or not self.gate.is_open:
            raise outside_event()
        return self.gate.store

    def backed_up(self) -> None:
        """A backup has all that was written so far: the next write is to be noted."""
        self.catalogued = False

    def touch_alarm(self) -> None:
        """The running event may have changed the alarm."""
        self.gate.alarm_touched = True

    def effect(self, gateway: str, operation: Operation) -> None:
        """Have something done to a socket when the running event is durable."""
        event = current_event.get()
        if event is not None and event is self.runner.running:
            event.effects.append((gateway, operation))
        elif event is not None and event in self.beside:
            event.seen += 1
            self.gate.push(gateway, operation)
        else:
            raise SocketError("a socket can be used inside an event only, not in a task that was left behind")

    async def last_auto_response(self, ws: WebSocket) -> int | None:
        """Ask the socket's gateway when it last answered in the object's place."""
        return await self.host.outlets.last_auto_response(ws.gateway, self.target, ws.id)

    def auto_response(self) -> tuple[str, str] | None:
        """(request, response) that gateways answer, if set."""
        return self.gate.store.metadata.auto_response()

    def synced(self, error: BaseException | None) -> None:
        """More commits have become durable, or `error` has ended that for good."""
        if self.gate.synced(error):
            if self.state is State.LEAVING:
                self.wake()
            return
        log.error("%s: the disk refused to make a commit durable: %s", self, error)
        self.report(TroubleKind.DISK, f"the disk refused to make a commit durable: {error}")
        self.leave(Leave.LOST)

    # -- the end

    async def _end(self, why: Leave) -> None:
        """Close the file, and pass on or refuse what still waits."""
        self.beside.cancel()
        self.runner.instance = None
        if why is Leave.LOST:
            lost = MovedError("the owner lost this object", delivered="unknown")
            self.gate.outbox.fail(lost)
            for event in self.gate.give_up_held():
                event.answer.fail(lost)
        if self.gate.is_open:
            store = self.gate.store
            if why is not Leave.LOST:
                store.log.sync_soon()
            await self._settle(store)
            try:
                await self.host.close(self, store, why)
            except Exception:
                log.exception("%s: its file could not be closed", self)
        self.gate.close()
        self.state = State.GONE
        self.host.left(self, why, self.mailbox.drain())
        if not self.gone.done():
            self.gone.set_result(None)

    async def _settle(self, store: Store) -> None:
        """Wait until nothing uses the file in a thread, and all outputs have left."""
        if self.checkpointing is not None:
            await asyncio.wait({self.checkpointing})
        while not store.log.idle or self.gate.outbox:
            if not self.host.may_release():
                self.gate.outbox.fail(
                    MovedError("the lease ended before this could be released", delivered="unknown")
                )
            await self._sleep()

    def __str__(self) -> str:
        return f"{self.object_id.class_key} {self.object_id.name or str(self.object_id)!r}"
