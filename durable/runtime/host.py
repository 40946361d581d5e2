"""All objects of one worker: who is active, who may become so, and what leaves this process.

The host knows nothing of Redis, sockets or Django: what it needs of them it is given (`Owners`, `AlarmIndex`,
`Outlets`, `Catalog`, `Troubles`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from durable.core.envelope import Target
from durable.core.leases import LeaseWindow
from durable.errors import (
    DurableError,
    UnavailableError,
    UnknownClassError,
)
from durable.identity import ObjectId, id_from_string
from durable.storage.durability import SyncPool
from durable.storage.journal import Journal
from durable.storage.replay import replay, settle
from durable.storage.store import Store, object_path

from .activation import Activation
from .alarms import AlarmHeap, AlarmIndex, AlarmTurns, alarm_event
from .calls import RemoteCaller
from .capacity import Capacity
from .effects import messages
from .events import Answer, Event, Operation
from .falling_asleep import FallingAsleep
from .freed_memory import FreedMemory
from .handlers import ObjectRequest, event_of, vanished_event
from .leaving import Leave
from .opening import Opener
from .registry import Registry
from .steps import Steps
from .surroundings import Catalog, Clocks, NotOwnerError, Outlets, Owners, RuntimeSettings
from .troubles import NoTroubles, TroubleKind, Troubles, describe, trouble_of

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25

T = TypeVar("T")


class Host:
    """The objects of one worker.

    Args:
        settings: limits and times.
        root: directory of the objects' files.
        worker: this incarnation's id.
        registry: the object classes.
        lease: the time in which outputs may leave.
        pool: where syncs run; ended with the host. Default: one of its own.
        open_store: opens an object's storage; given what `Store` is given.
        steps: what a watchdog looks at. Default: nobody looks.
        troubles: told what is wrong with objects. Default: nobody is.
        capacity: how many objects may be active. Default: by the settings and this process's limits.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        root: Path,
        worker: str,
        registry: Registry,
        lease: LeaseWindow,
        clocks: Clocks,
        owners: Owners,
        outlets: Outlets,
        alarm_index: AlarmIndex,
        catalog: Catalog,
        remote: RemoteCaller,
        pool: SyncPool | None = None,
        open_store: Callable[..., Store] = Store,
        steps: Steps | None = None,
        troubles: Troubles | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.clock, self.now, self.random = clocks
        self.worker = worker
        self.draining = False
        self.steps = steps or Steps()
        self.troubles = troubles or NoTroubles()
        self.capacity = capacity or Capacity(settings.max_active, settings.worker_memory)
        self.exports = root.parent / "exports"  # files of objects that an operator has asked for
        self.activations: dict[str, Activation] = {}
        self.falling_asleep = FallingAsleep(self.clock)
        self._root = root
        self._registry = registry
        self._lease = lease
        self._owners = owners
        self.outlets = outlets
        self._alarm_index = alarm_index
        self._catalog = catalog
        self.remote = remote
        self._pool = pool or SyncPool.of(self.loop, settings.sync_threads)
        self.journal = Journal(root, worker, self._pool) if settings.journal else None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="durable-disk")
        self.freed = FreedMemory(self._threads.submit)
        self._opener = Opener(
            settings,
            root=root,
            worker=worker,
            owners=owners,
            pool=self._pool,
            journal=self.journal,
            clock=self.clock,
            now=self.now,
            open_store=open_store,
            off_loop=self.off_loop,
        )
        self.alarms = AlarmHeap(self.now, self.loop, lambda object_id: self.alarm_turns.due(object_id))
        self.alarm_turns = AlarmTurns(self.capacity.for_alarms(settings.max_alarms), self._fire_alarm)
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)

    async def recover(self) -> None:
        """Bring into the objects' files what earlier workers have left in their journals. Before the first event."""
        await self.off_loop(lambda: replay(self._root))
        _ = self.off_loop(lambda: settle(self._root))

    # -- events in

    def dispatch(self, request: ObjectRequest, peer: str, answer: Answer) -> None:
        """Hand a request from `peer` to its object; `answer` is told the outcome."""
        try:
            activation = self.activations.get(request.target.id)
            kind = activation.kind if activation is not None else self._registry.get(request.target.key)
            event = event_of(kind, request, peer, answer)
            if activation is None:
                activation = self._activate(request.target)
            activation.offer(event, request.target.name)
        except NotOwnerError as error:
            answer.not_owner(error.owner)
        except DurableError as error:
            answer.fail(error)
        except Exception as error:
            log.exception("a request for %s could not be understood", request.target)
            answer.fail(error)

    def _activate(self, target: Target) -> Activation:
        if self.draining or not self.may_release():
            raise NotOwnerError(None)
        self.capacity.make_room(self.activations.values(), self.clock())
        kind = self._registry.get(target.key)
        checked = id_from_string(target.key, target.id)
        activation = Activation(self, kind, ObjectId(target.key, str(checked), target.name))
        self.activations[target.id] = activation
        return activation

    # -- opening and closing

    async def open(self, activation: Activation) -> None:
        """Claim the object and open its storage."""
        object_id = activation.object_id
        await self.capacity.files.acquire()
        try:
            store = await self._opener.open(activation)
        except BaseException:
            self.capacity.files.release()
            raise
        self.alarm_turns.woken(str(object_id))
        activation.opened(store, resume=store.took_over)
        if len(activation.sockets):
            live = await self.outlets.live_gateways()
            for ws in activation.sockets:
                if ws.gateway not in live:
                    activation.offer_first(vanished_event(ws.id))
        alarm = store.metadata.get_alarm()
        at = None if alarm is None else alarm.at
        if at is not None:
            self.alarms.set(str(object_id), at)
        if store.took_over:  # the owner before may have died between its commit and the index
            activation.gate.wait_for(self._alarm_index.put(object_id, at))
        elif activation.woken_for_alarm and (at is None or at > self.now()):
            _ = self._alarm_index.put(object_id, at)  # the index was early

    def off_loop(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run something that waits for the disk in a thread. Who stops waiting does not stop it."""
        return self.loop.run_in_executor(self._threads, work)

    async def close(self, activation: Activation, store: Store, why: Leave) -> None:
        """Close an activation's file and let its ownership rest, or go."""
        object_id = activation.object_id
        self.alarms.set(str(object_id), None)
        gateways = {ws.gateway for ws in activation.sockets}
        try:
            entry = await self._opener.close(activation, store, why)
        finally:
            self.capacity.files.release()
        self.freed.noted()
        if entry is not None:
            wake = store.needed_until if entry.alarm is None else entry.alarm  # to be deleted then
            if wake is not None and not entry.gone:
                _ = self._alarm_index.put(object_id, wake)  # Redis may have lost it meanwhile
            self._catalog.note(entry)
            self.troubles.over(object_id, TroubleKind.DISK)
        await self._opener.give_back(activation, why, has_file=entry is not None and not entry.gone)
        if why is Leave.LOST:
            return
        for gateway in gateways:
            self.emit(activation, [(gateway, ("asleep",))])

    def failed(self, activation: Activation, error: BaseException) -> None:
        """An activation could not open, or broke: tell all who wait."""
        if isinstance(error, NotOwnerError):
            if activation.woken_for_alarm and error.owner is not None:
                self.remote.wake(activation.object_id)  # placement has changed since it fell asleep
            for event in activation.mailbox.drain():
                event.answer.not_owner(error.owner)
            return
        if not isinstance(error, DurableError):
            log.error("%s: cannot be activated", activation, exc_info=error)
            error = UnavailableError(f"{type(error).__name__}: {error}")
        else:
            log.warning("%s: cannot be activated: %s", activation, error)
            trouble = trouble_of(error)
            if trouble is not None:
                self.troubles.seen(activation.object_id, trouble, describe(error))
        for event in activation.mailbox.drain():
            event.answer.fail(error)

    def left(self, activation: Activation, why: Leave, waiting: list[Event]) -> None:
        """An activation has ended; `waiting` are the events it did not get to."""
        object_id = str(activation.object_id)
        self.alarm_turns.woken(object_id)
        if self.activations.get(object_id) is activation:
            del self.activations[object_id]
        if waiting and why is Leave.IDLE:
            try:
                successor = self._activate(activation.target)
                for event in waiting:
                    if event.moves:
                        successor.offer(event, refuse=False)
                    else:
                        event.answer.not_owner(None)
                return
            except (NotOwnerError, DurableError):
                pass
        for event in waiting:
            event.answer.not_owner(None)

    def wrote(self, activation: Activation) -> None:
        """An event of this object has written: the catalog should know it, once until it is backed up."""
        if not activation.catalogued:
            activation.catalogued = True
            self._catalog.note(activation.entry())

    # -- effects out

    def may_release(self) -> bool:
        """Whether the lease lets outputs leave now."""
        return self._lease.open_at(self.clock())

    def emit(self, activation: Activation, effects: list[tuple[str, Operation]]) -> None:
        """Send operations to the gateways that hold the sockets, in order."""
        for gateway, message in messages(activation.target, activation.epoch, effects):
            self.outlets.send(gateway, message)

    # -- alarms

    def alarm_changed(self, activation: Activation, at: int | None) -> asyncio.Future[None]:
        """A commit has set or cleared an alarm; what comes back is done when the index knows."""
        self.alarms.set(str(activation.object_id), at)
        return self._alarm_index.put(activation.object_id, at)

    def _fire_alarm(self, object_id: str) -> bool:
        activation = self.activations.get(object_id)
        if activation is None:
            return False  # it sleeps again: the index knows
        activation.offer_first(alarm_event(self.random, activation))
        return True

    def wake_for_alarm(self, object_id: ObjectId) -> bool:
        """The index says that a sleeping object's alarm is due. Opening it finds the alarm and fires it.

        False when there is no room for it now: ask again.
        """
        activation = self.activations.get(str(object_id))
        if activation is not None:
            self._correct_index(activation)
        else:
            if not self.alarm_turns.room:
                return False
            try:
                target = Target(object_id.class_key, str(object_id), object_id.name)
                self._activate(target).woken_for_alarm = True
                self.alarm_turns.wakes(str(object_id))
            except UnknownClassError:
                if not object_path(self._root, object_id).exists():  # its class was deleted
                    _ = self._alarm_index.put(object_id, None)
            except (NotOwnerError, DurableError) as error:
                log.info("an alarm of %r has to wait: %s", object_id, error)
        return True

    def _correct_index(self, activation: Activation) -> None:
        """The index names an active object: if its alarm is set for later, say so."""
        at = self.alarms.get(str(activation.object_id))
        if at is not None and at > self.now():
            _ = self._alarm_index.put(activation.object_id, at)

    # -- time

    def tick(self) -> None:
        """Look at the clock: what has timed out, is idle, or is due. Happens by itself every quarter of a second."""
        self.alarms.check()  # first, so that nothing falls asleep whose alarm is due
        now = self.clock()
        for activation in list(self.activations.values()):
            activation.tick(now)
        self.falling_asleep.look(self.activations.values())
        self.capacity.look()
        if self.capacity.tight:
            self.capacity.evict(self.activations.values(), now)
        self.freed.look(now, urgent=self.capacity.tight)

    def stop_ticking(self) -> None:
        """From now on nobody looks at the clock but who calls `tick`: for tests that move it."""
        self._ticker.cancel()

    def _tick(self) -> None:
        self.tick()
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)

    # -- leaving

    def taken(self, object_id: str, epoch: int) -> None:
        """Another worker owns the object by Redis: let go of it.

        Its epoch may be older than ours, when Redis came back as it was before: it finds a newer one in the file.
        """
        activation = self.activations.get(object_id)
        if activation is None:
            self._owners.forget(object_id)
        elif activation.epoch:
            activation.leave(Leave.MOVE)
            activation.beside.cancel()  # the next owner waits for the file, not for them

    def evict(self, object_id: str) -> asyncio.Future[None] | None:
        """Put an object to sleep after its running event; None when it is not active here."""
        activation = self.activations.get(object_id)
        if activation is None:
            return None
        activation.leave(Leave.IDLE)
        return activation.gone

    async def drain(self, deadline: float) -> None:
        """Give all objects away, busiest first; running events finish until `deadline` (on the host's clock)."""
        self.draining = True
        busiest = sorted(
            self.activations.values(), key=lambda a: (len(a.mailbox), a.last_active), reverse=True
        )
        for activation in busiest:
            activation.leave(Leave.MOVE)
        if busiest:
            await asyncio.wait(
                [activation.gone for activation in busiest], timeout=max(0.0, deadline - self.clock())
            )

    async def drop_all(self) -> None:
        """The lease is lost: end everything, release nothing."""
        self._owners.forget()
        dropped = list(self.activations.values())
        for activation in dropped:
            activation.leave(Leave.LOST)
        if dropped:
            await asyncio.wait([activation.gone for activation in dropped])

    async def close_all(self) -> None:
        """End the host itself. What is still active is dropped."""
        await self.drop_all()
        self._ticker.cancel()
        self.alarms.close()
        await self.loop.run_in_executor(None, self._pool.close)
        if self.journal is not None:
            self.journal.close()
        self._threads.shutdown(wait=False)

    def class_keys(self) -> list[str]:
        """The keys of the classes that have code here."""
        return [key for key, _ in self._registry]

    def figures(self) -> dict[str, Any]:
        """How many objects are active, and how much waits."""
        return {
            "active": len(self.activations),
            "queued": sum(len(activation.mailbox) for activation in self.activations.values()),
        }
