"""All objects of one worker: who is active, who may become so, and what leaves this process.

The host knows nothing of Redis, sockets or Django: what it needs of them it is given (`Owners`, `AlarmIndex`,
`Outlets`, `Catalog`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from durable.core.envelope import (
    Attach,
    Call,
    Effects,
    SocketClose,
    SocketFrame,
    SocketOpen,
    Target,
    Vanished,
)
from durable.core.leases import LeaseWindow
from durable.errors import (
    DurableError,
    OverloadedError,
    ReentrantCallError,
    UnavailableError,
    UnknownClassError,
)
from durable.identity import ObjectId, id_from_string
from durable.storage.database import BusyFileError
from durable.storage.durability import SyncPool
from durable.storage.store import Claim, EpochTooOldError, Store, object_path

from .activation import Activation, Leave
from .alarms import AlarmHeap, AlarmIndex, AlarmTurns, alarm_event
from .calls import RemoteCaller, label
from .events import DERIVED, Answer, Event, Operation
from .handlers import (
    attach_event,
    call_event,
    gateway_vanished_event,
    socket_close_event,
    socket_frame_event,
    socket_open_event,
    vanished_event,
)
from .registry import Registry
from .steps import Steps
from .surroundings import Catalog, CatalogEntry, Clocks, NotOwnerError, Outlets, Owners, RuntimeSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
OPENING_AT_ONCE = 64
BUSY_SECONDS = 15.0  # how long to wait for a dead owner's file lock
FIRST_BUSY_PAUSE = 0.002
TELL_SECONDS = 1.0  # between two notices to who still holds the file: a restarting Redis may lose one
LARGE_EFFECTS_BYTES = 4 << 20  # frames of one event beyond this go in several messages
LARGE_LOG_BYTES = 1 << 20  # a log above this is recovered off the loop

T = TypeVar("T")
ObjectRequest = Call | SocketOpen | SocketFrame | SocketClose | Attach | Vanished


class Host:
    """The objects of one worker.

    Args:
        settings: limits and times.
        root: directory of the objects' files.
        worker: this incarnation's id.
        registry: the object classes.
        lease: the time in which outputs may leave.
        pool: where syncs run; ended with the host. Default: one of its own.
        steps: what a watchdog looks at. Default: nobody looks.
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
        steps: Steps | None = None,
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.clock, self.now, self.random = clocks
        self.worker = worker
        self.draining = False
        self.steps = steps or Steps()
        self.exports = root.parent / "exports"  # files of objects that an operator has asked for
        self.activations: dict[str, Activation] = {}
        self._root = root
        self._registry = registry
        self._lease = lease
        self._owners = owners
        self._outlets = outlets
        self._alarm_index = alarm_index
        self._catalog = catalog
        self.remote = remote
        self._pool = pool or SyncPool(settings.sync_threads, self.loop.call_soon_threadsafe)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="durable-disk")
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._alarms = AlarmHeap(self.now, self.loop, lambda object_id: self.alarm_turns.due(object_id))
        self.alarm_turns = AlarmTurns(settings.max_alarms, self._fire_alarm)
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)

    # -- events in

    def dispatch(
        self,
        request: ObjectRequest,
        peer: str,
        answer: Answer,
    ) -> None:
        """Hand a request from `peer` to its object; `answer` is told the outcome."""
        try:
            activation = self.activations.get(request.target.id)
            kind = activation.kind if activation is not None else self._registry.get(request.target.key)
            event = _event(kind, request, peer, answer)
            if activation is None:
                activation = self._activate(request.target)
            activation.offer(event)
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
        if len(self.activations) >= self.settings.max_active:
            self._make_room()
        kind = self._registry.get(target.key)
        checked = id_from_string(target.key, target.id)
        activation = Activation(self, kind, ObjectId(target.key, str(checked), target.name))
        self.activations[target.id] = activation
        return activation

    def _make_room(self) -> None:
        """Evict the idle objects that were used least recently; refuse when there is none."""
        now = self.clock()
        idle = [a for a in self.activations.values() if a.is_idle(now + a.idle_seconds)]
        idle.sort(key=lambda activation: activation.last_active)
        for activation in idle[: max(1, len(idle) // 20)]:
            activation.leave(Leave.IDLE)
        if not idle:
            raise OverloadedError(
                f"this worker has all of the {self.settings.max_active} objects it may hold"
            )

    # -- opening and closing

    async def open(self, activation: Activation) -> None:
        """Claim the object and open its storage."""
        async with self._opening:
            object_id = activation.object_id
            epoch = await self._owners.claim(object_id, 0)
            begun, told = self.clock(), 0
            delay = FIRST_BUSY_PAUSE
            store = None
            while store is None:
                try:
                    store = await self._open_store(activation, Claim(epoch, self.worker))
                except EpochTooOldError as error:
                    epoch = await self._owners.claim(object_id, error.found)
                except BusyFileError as error:
                    waited = self.clock() - begun
                    if waited > BUSY_SECONDS:
                        raise UnavailableError(error.message) from error
                    if waited >= told * TELL_SECONDS:
                        if told:  # it may be another's by now
                            epoch = await self._owners.claim(object_id, 0)
                        told += 1
                        await self._owners.tell_taken(object_id, epoch)
                    await asyncio.sleep(delay)
                    delay = min(0.1, delay * 2)
        activation.opened(store, resume=store.took_over)
        if len(activation.sockets):
            live = await self._outlets.live_gateways()
            for ws in activation.sockets:
                if ws.gateway not in live:
                    activation.offer_first(vanished_event(ws.id))
        alarm = store.metadata.get_alarm()
        if alarm is not None:
            self._alarms.set(str(object_id), alarm.at)
            if activation.woken_for_alarm and alarm.at > self.now():
                _ = self._alarm_index.put(object_id, alarm.at)  # the index was early
        elif activation.woken_for_alarm:
            _ = self._alarm_index.put(object_id, None)  # the index was early: there is none any more

    async def _open_store(self, activation: Activation, claim: Claim) -> Store:
        def open_store() -> Store:
            return Store(
                self._root,
                activation.object_id,
                claim,
                pool=self._pool,
                changed=activation.synced,
                now=self.now(),
                clock=self.clock,
                statement_timeout=self.settings.statement_timeout,
                max_bytes=self.settings.max_database_bytes,
            )

        path = object_path(self._root, activation.object_id)
        log_file = path.with_name(f"{path.name}-wal")
        try:
            large = log_file.stat().st_size > LARGE_LOG_BYTES
        except FileNotFoundError:
            large = False
        return await self.off_loop(open_store) if large else open_store()

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run something that waits for the disk in a thread."""
        return await self.loop.run_in_executor(self._threads, work)

    async def close(self, activation: Activation, store: Store, why: Leave) -> None:
        """Close an activation's file and let its ownership rest, or go."""
        object_id = activation.object_id
        self._alarms.set(str(object_id), None)
        if why is Leave.LOST:
            await self.off_loop(store.abandon)
            return
        gateways = {ws.gateway for ws in activation.sockets}
        had_file = store.has_file
        entry = self._entry(activation, store) if had_file else None
        await self.off_loop(store.close)
        if entry is not None and entry.alarm is not None:
            _ = self._alarm_index.put(object_id, entry.alarm)  # Redis may have lost it meanwhile
        if entry is not None:
            gone = not store.database.path.exists()
            self._catalog.note(entry._replace(gone=gone))
        try:
            if why is Leave.MOVE:
                await self._owners.release(object_id)
            else:
                await self._owners.rest(object_id)
        except (DurableError, OSError) as error:
            log.warning("%s: its ownership could not be given back: %s", activation, error)
        for gateway in gateways:
            self.emit(activation, [(gateway, ("asleep",))])

    def _entry(self, activation: Activation, store: Store) -> CatalogEntry:
        alarm = store.metadata.get_alarm()
        return CatalogEntry(
            activation.kind.key,
            str(activation.object_id),
            activation.object_id.name,
            store.created_at,
            self.now(),
            store.database.size,
            None if alarm is None else alarm.at,
            gone=False,
        )

    def failed(self, activation: Activation, error: BaseException) -> None:
        """An activation could not open, or broke: tell all who wait."""
        if isinstance(error, NotOwnerError):
            for event in activation.mailbox.drain():
                event.answer.not_owner(error.owner)
            return
        if not isinstance(error, DurableError):
            log.error("%s: cannot be activated", activation, exc_info=error)
            error = UnavailableError(f"{type(error).__name__}: {error}")
        else:
            log.warning("%s: cannot be activated: %s", activation, error)
        for event in activation.mailbox.drain():
            event.answer.fail(error)

    def left(self, activation: Activation, why: Leave, waiting: list[Event]) -> None:
        """An activation has ended; `waiting` are the events it did not get to."""
        object_id = str(activation.object_id)
        if self.activations.get(object_id) is activation:
            del self.activations[object_id]
        if waiting and why is Leave.IDLE:
            try:
                target = Target(activation.kind.key, object_id, activation.object_id.name)
                successor = self._activate(target)
                for event in waiting:
                    if event.moves:
                        successor.offer(event)
                    else:
                        event.answer.not_owner(None)
                return
            except (NotOwnerError, DurableError):
                pass
        for event in waiting:
            event.answer.not_owner(None)

    def wrote(self, activation: Activation) -> None:
        """An event of this object has written: the catalog should know it, once."""
        if not activation.catalogued:
            activation.catalogued = True
            self._catalog.note(self._entry(activation, activation.gate.store))

    # -- effects out

    def may_release(self) -> bool:
        """Whether the lease lets outputs leave now."""
        return self._lease.open_at(self.clock())

    def emit(self, activation: Activation, effects: list[tuple[str, Operation]]) -> None:
        """Send operations to the gateways that hold the sockets, in order; one message each, unless they are large."""
        by_gateway: dict[str, list[Operation]] = {}
        for gateway, operation in effects:
            by_gateway.setdefault(gateway, []).append(operation)
        object_id = activation.object_id
        target = Target(object_id.class_key, str(object_id), object_id.name)
        for gateway, operations in by_gateway.items():
            for part in _parts(operations):
                self._outlets.send(gateway, Effects(target, activation.epoch, part))

    # -- alarms

    def alarm_changed(self, activation: Activation, at: int | None) -> asyncio.Future[None]:
        """A commit has set or cleared an alarm; what comes back is done when the index knows."""
        self._alarms.set(str(activation.object_id), at)
        return self._alarm_index.put(activation.object_id, at)

    def set_alarm(self, activation: Activation, at: int) -> None:
        """Look at this object's alarm again at `at`; the file stays as it is."""
        self._alarms.set(str(activation.object_id), at)

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
            except UnknownClassError:
                if not object_path(self._root, object_id).exists():  # its class was deleted
                    _ = self._alarm_index.put(object_id, None)
            except (NotOwnerError, DurableError) as error:
                log.info("an alarm of %r has to wait: %s", object_id, error)
        return True

    def _correct_index(self, activation: Activation) -> None:
        """The index names an active object: if its alarm is set for later, say so."""
        at = self._alarms.get(str(activation.object_id))
        if at is not None and at > self.now():
            _ = self._alarm_index.put(activation.object_id, at)

    def fresh_id(self) -> str:
        """A caller's id that nobody has had."""
        return DERIVED + os.urandom(16).hex()

    # -- time

    def tick(self) -> None:
        """Look at the clock: what has timed out, is idle, or is due. Happens by itself every quarter of a second."""
        self._alarms.check()  # first, so that nothing falls asleep whose alarm is due
        now = self.clock()
        for activation in list(self.activations.values()):
            activation.tick(now)

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
        if activation is not None and activation.epoch:
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
        dropped = list(self.activations.values())
        for activation in dropped:
            activation.leave(Leave.LOST)
        if dropped:
            await asyncio.wait([activation.gone for activation in dropped])

    async def close_all(self) -> None:
        """End the host itself. What is still active is dropped."""
        await self.drop_all()
        self._ticker.cancel()
        self._alarms.close()
        await self.loop.run_in_executor(None, self._pool.close)
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


def _parts(operations: list[Operation]) -> Iterator[list[Operation]]:
    """The operations in order, in lists that a message on the link can carry."""
    if len(operations) == 1:
        yield operations
        return
    part: list[Operation] = []
    size = 0
    for operation in operations:
        if size > LARGE_EFFECTS_BYTES:
            yield part
            part, size = [], 0
        part.append(operation)
        if operation[0] == "send":
            size += len(operation[2])
    yield part


def _event(kind: Any, request: ObjectRequest, peer: str, answer: Answer) -> Event:
    match request:
        case Call():
            _refuse_cycle(request, kind)
            return call_event(kind, request, answer)
        case SocketFrame():
            return socket_frame_event(request, peer, answer)
        case SocketOpen():
            return socket_open_event(request, peer, answer)
        case SocketClose():
            return socket_close_event(request, answer)
        case Attach():
            return attach_event(request, peer, answer)
        case Vanished():
            return gateway_vanished_event(request, answer)


def _refuse_cycle(request: Call, kind: Any) -> None:
    me = label(request.target)
    if me in request.chain:
        method = kind.durable_methods().get(request.method)
        if method is None or not method.concurrent:
            raise ReentrantCallError(
                f"a call came back to an object that waits for it: {' -> '.join([*request.chain, me])}"
            )
