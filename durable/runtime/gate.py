"""The output gate: what an event wrote and wants done is committed as one and let out when durable, or undone as one.

Invariants:
- Nothing of an event is let out before everything it could have seen is durable.
- The record that a call has run is part of the same commit as what the call wrote.
- What is held for a shared commit is committed, or has failed, before anything waits: nobody else ever sees it so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from durable.core.envelope import CALL_MS, DERIVED, DERIVED_CALL_MS
from durable.errors import DurableError, LostWriteError, ObjectResetError
from durable.storage.store import Store

from .events import Event, Operation
from .outbox import Emit, Outbox

UNSYNCED_SECONDS = 1.0  # how long a relaxed commit may wait for its sync
CALLS_KEPT = 256  # recorded between two looks for old ones
SLOTS_KNOWN = 1000  # callers' slots of which the last call is known without asking the file

Effects = list[tuple[str, Operation]]


class _Held(NamedTuple):
    """What an event's outcome is, until the commit that it shares."""

    event: Event
    effects: Effects
    reply: Callable[[Any], None]
    value: Any


class OutputGate:
    """Stands between one activation's events and the world.

    Args:
        loop: for timers and futures.
        now: ms since the epoch.
        may_release: whether the lease lets outputs leave now.
        relaxed: outputs leave after their commit, before its sync.
        emit: carries out effects.
        wrote: told after each commit.
        alarm_changed: told what the alarm is after a commit that touched it; gives what the outputs must also wait for.

    Attributes:
        outbox: what waits to be let out.
        alarm_touched: the running event may have changed the alarm.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], int],
        may_release: Callable[[], bool],
        relaxed: bool,
        emit: Callable[[Effects], None],
        wrote: Callable[[], None],
        alarm_changed: Callable[[int | None], asyncio.Future[None]],
    ) -> None:
        self.outbox = Outbox(may_release, relaxed=relaxed)
        self.alarm_touched = False
        self._loop = loop
        self._now = now
        self._relaxed = relaxed
        self._emit = emit
        self._wrote = wrote
        self._alarm_changed = alarm_changed
        self._store: Store | None = None
        self._calls_recorded = 0
        self._held: list[_Held] = []  # what leaves after the commit that events share
        self._may_share = True
        self._last_calls: dict[tuple[str, int], int] = {}  # the number of each slot's last writing call
        self._sync_timer: asyncio.TimerHandle | None = None

    def open(self, store: Store) -> None:
        """Begin with an opened store. Commits that a dead owner left unsynced hold back the first output."""
        self._store = store
        self.outbox.durable(store.log.durable)
        store.log.sync_soon()

    def wait_for(self, barrier: asyncio.Future[None]) -> None:
        """Let nothing out before `barrier` is done."""
        self.outbox.put(self.store.transactions.seq, lambda error: None, barrier)

    @property
    def store(self) -> Store:
        """The object's storage; raises ObjectResetError when it is closed."""
        if self._store is None:
            raise ObjectResetError("the object's storage is closed", delivered="no")
        return self._store

    @property
    def is_open(self) -> bool:
        """Whether there is storage to write to."""
        return self._store is not None

    # -- an event succeeds

    def succeed(self, event: Event, value: bytes | None) -> None:
        """Commit what the event wrote, and let out its effects and its reply when that is durable.

        An event that cannot wait leaves the commit to `commit_held`, which its caller sees to before anything else waits.
        """
        store = self.store
        transactions = store.transactions
        store.sql.close_cursors()
        if event.flushed and event.call_id is not None:
            transactions.begin_write()  # its outcome takes the place of "a part of it was committed"
        barrier = None
        if transactions.writing:
            self._record(store, event, value)
            if self._may_share and not event.waits and not self.alarm_touched:
                transactions.hold()
            else:
                barrier = self._commit(event)
        self.release(event, event.answer.reply, value, barrier)

    @property
    def holds(self) -> bool:
        """Whether something is held for a shared commit."""
        return self._store is not None and self._store.transactions.holding

    def commit_held(self) -> None:
        """Commit what is held, and let out what depends on it when that is durable. Raises what a commit raises."""
        store = self.store
        self._append(store, store.commit())
        self._let_go(store)

    def _let_go(self, store: Store) -> None:
        """What was held is committed: it leaves together."""
        held, self._held = self._held, []
        if not held:
            return

        def emit(error: BaseException | None) -> None:
            if error is not None:
                for one in held:
                    one.event.answer.fail(error)
                return
            effects = [effect for one in held for effect in one.effects]
            if effects:
                self._emit(effects)
            for one in held:
                one.reply(one.value)

        self.outbox.put(store.transactions.seq, emit)

    def give_up_held(self) -> list[Event]:
        """What was held is lost: the events that have to fail. From now on each event has a commit of its own."""
        held, self._held = self._held, []
        self._may_share = self._may_share and not held
        return [one.event for one in held]

    async def flush(self, event: Event) -> None:
        """Commit what the event has written so far, let it out, and wait until that is durable."""
        store = self.store
        done: asyncio.Future[None] = self._loop.create_future()
        barrier = None
        if store.transactions.writing:
            store.sql.close_cursors()
            self._record(store, event, None)
            barrier = self._commit(event)
            event.flushed = True
        effects, event.effects = event.effects, []
        event.seen += event.flushed or bool(effects)

        resolve = _resolver(done)

        def emit(error: BaseException | None) -> None:
            if error is None and effects:
                self._emit(effects)
            resolve(error)

        self.outbox.put(store.transactions.seq, emit, barrier)
        await done

    @property
    def is_clear(self) -> bool:
        """Whether all that an event can have seen of those before it is durable, and has been let out."""
        return self.outbox.lets_pass(self.store.transactions.seq)

    async def clear(self) -> None:
        """Wait until all is durable and let out that an event beside the serial ones can have seen by now."""
        done: asyncio.Future[None] = self._loop.create_future()
        self.outbox.put(self.store.transactions.seq, _resolver(done))
        await done

    def _record(self, store: Store, event: Event, outcome: bytes | None) -> None:
        """Write with what the event wrote that it has run, so that a repeat of it has no second effect."""
        metadata = store.metadata
        call = event.call_id
        if call is not None:
            slot = (call.caller, call.slot)
            self._forget_old_calls(store)
            metadata.put_call(*slot, call.number, outcome, self._now())
            if slot in self._last_calls:
                self._last_calls[slot] = call.number
        if event.socket is not None:
            metadata.set_received(*event.socket)

    def _commit(self, event: Event) -> asyncio.Future[Any] | None:
        """Commit the event's writes, and what was held; returns what else the event's outputs must wait for."""
        store = self.store
        self._append(store, store.commit())
        self._let_go(store)
        if self.alarm_touched:
            alarm = store.metadata.get_alarm()
            if alarm is None or alarm.number != event.alarm:  # else its hook goes on after a flush
                self.alarm_touched = False
                return self._alarm_changed(None if alarm is None else alarm.at)
        return None

    def _append(self, store: Store, seq: int) -> None:
        """Commit `seq` is to become durable, and the catalog to know of it."""
        log = store.log
        if not self._relaxed:
            log.appended(seq)
        else:
            log.note(seq)
            if self._sync_timer is None:
                self._sync_timer = self._loop.call_later(UNSYNCED_SECONDS, self._sync_now)
        self._wrote()

    def _forget_old_calls(self, store: Store) -> None:
        """Calls by other objects use a slot each, and other callers are gone one day: forget what nobody can repeat.

        An activation begins with that, since few live long enough to record many calls.
        """
        if self._calls_recorded % CALLS_KEPT == 0 and store.has_file:
            now = self._now()
            store.metadata.forget_calls(now - DERIVED_CALL_MS, now - CALL_MS)
        self._calls_recorded += 1

    def _sync_now(self) -> None:
        self._sync_timer = None
        if self._store is not None:
            self._store.log.sync_soon()

    # -- an event is answered

    def release(
        self,
        event: Event,
        reply: Callable[[Any], None],
        value: Any,
        barrier: asyncio.Future[Any] | None = None,
    ) -> None:
        """Let the event's effects and its reply go when all that they could have seen is durable."""
        effects, event.effects = event.effects, []
        if self.holds:
            self._held.append(_Held(event, effects, reply, value))
            return

        def emit(error: BaseException | None) -> None:
            if error is not None:
                if event.closes is None:
                    event.answer.fail(error)
                else:  # the next owner looks whether the socket is still listed
                    event.answer.not_owner(None)
                return
            if effects:
                self._emit(effects)
            reply(value)

        self.outbox.put(self.store.transactions.seq, emit, barrier)

    def fail(self, event: Event, error: BaseException) -> None:
        """Tell who waits for the event that it failed, in its turn. What has left stands, whatever the error says."""
        if event.seen and isinstance(error, DurableError) and error.delivered == "no":
            error.delivered = "unknown"
        self.release(event, event.answer.fail, error)

    def push(self, gateway: str, operation: Operation) -> None:
        """Let out one effect of an event beside the serial ones, when what it could have seen is durable."""
        self.outbox.put(
            self.store.transactions.seq,
            lambda error: None if error else self._emit([(gateway, operation)]),
        )

    def answer_again(self, event: Event) -> bool:
        """Whether a call has had its effect already; then it gets its first answer.

        Asked of every call. What another object's event calls looks like a first call though that event is repeated, and
        what was sent first can arrive last, on a link that stood still.
        """
        call = event.call_id
        if call is None or self._last_calls.get((call.caller, call.slot), call.number) < call.number:
            return False
        known = self.store.metadata.call_outcome(call.caller, call.slot)
        if not call.caller.startswith(DERIVED):  # those have a slot each
            if len(self._last_calls) >= SLOTS_KNOWN:
                self._last_calls.clear()
            self._last_calls[call.caller, call.slot] = 0 if known is None else known[0]
        if known is None or known[0] < call.number:
            return False
        number, outcome = known
        if number > call.number:
            self.fail(event, ObjectResetError("this call was given up by its caller", delivered="unknown"))
        elif outcome is None:
            lost = "the owner died after a part of this call was committed"
            self.fail(event, ObjectResetError(lost, delivered="unknown"))
        else:
            self.release(event, event.answer.reply, outcome)
        return True

    # -- an event is undone

    def undo(self, event: Event | None) -> tuple[bool, list[Event]]:
        """Forget what the event wrote and wanted done; None: what is held. Raises apsw.Error.

        Returns:
            whether anything that was written is forgotten, and the events before it that are lost with it.
        """
        if event is not None:
            event.effects.clear()
        self.alarm_touched = False
        if self._store is None:
            return False, []
        self._store.sql.close_cursors()
        wrote = self._store.transactions.writing
        if self._store.transactions.rollback():
            return True, self.give_up_held()
        return wrote, []

    def has_unflushed(self, event: Event | None) -> bool:
        """Whether the event has written, or wants something done, that has not been let out yet."""
        return self.store.transactions.writing or bool(event and event.effects)

    # -- the disk

    def synced(self, error: BaseException | None) -> bool:
        """More commits have become durable, or `error` has ended that: whether the object can go on."""
        if self._store is None:  # a sync that was under way when the file was let go
            return True
        if error is None:
            self.outbox.durable(self._store.log.durable)
            return True
        self.outbox.fail(LostWriteError(f"the disk refused to make a commit durable: {error}"))
        return False

    def close(self) -> None:
        """There is no storage any more."""
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        self._store = None


def _resolver(done: asyncio.Future[None]) -> Emit:
    def resolve(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    return resolve
