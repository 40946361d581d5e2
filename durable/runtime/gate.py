"""The output gate: what an event wrote and wants done is committed as one and let out when durable, or undone as one.

Invariants:
- Nothing of an event is let out before everything it could have seen is durable.
- The record that a call has run is part of the call's own commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from durable.errors import LostWriteError, ObjectResetError
from durable.storage.store import Store

from .events import DERIVED, Event, Operation
from .outbox import Outbox

UNSYNCED_SECONDS = 1.0  # how long a relaxed commit may wait for its sync
DERIVED_CALLS_KEPT = 256  # between two looks for old ones
DERIVED_CALL_MS = 10 * 60 * 1000  # how long a call by another object's event may be repeated
SLOTS_KNOWN = 1000  # callers' slots of which the last call is known without asking the file

Effects = list[tuple[str, Operation]]


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
        self._derived_calls = 0
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
        """Commit what the event wrote, and let out its effects and its reply when that is durable."""
        store = self.store
        store.sql.close_cursors()
        if event.flushed and event.call_id is not None:
            store.transactions.begin_write()  # its outcome takes the place of "a part of it was committed"
        barrier = self._commit(event, value) if store.transactions.writing else None
        self.release(event, event.answer.reply, value, barrier)

    async def flush(self, event: Event) -> None:
        """Commit what the event has written so far, let it out, and wait until that is durable."""
        store = self.store
        done: asyncio.Future[None] = self._loop.create_future()
        barrier = None
        if store.transactions.writing:
            store.sql.close_cursors()
            barrier = self._commit(event, None)
            event.flushed = True
        effects, event.effects = event.effects, []

        def emit(error: BaseException | None) -> None:
            if error is None and effects:
                self._emit(effects)
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        self.outbox.put(store.transactions.seq, emit, barrier)
        await done

    def _commit(self, event: Event, outcome: bytes | None) -> asyncio.Future[Any] | None:
        """Commit the event's writes with the record that it has run; returns what else its outputs must wait for."""
        store = self.store
        metadata = store.metadata
        call = event.call_id
        if call is not None:
            if call.caller.startswith(DERIVED):
                self._forget_old_calls()
            metadata.put_call(call.caller, call.slot, call.number, outcome, self._now())
        if event.socket is not None:
            metadata.set_received(*event.socket)
        seq = store.commit()
        if call is not None and (call.caller, call.slot) in self._last_calls:
            self._last_calls[call.caller, call.slot] = call.number
        if self._relaxed:
            store.log.note(seq)
            if self._sync_timer is None:
                self._sync_timer = self._loop.call_later(UNSYNCED_SECONDS, self._sync_now)
        else:
            store.log.appended(seq)
        self._wrote()
        if self.alarm_touched:
            alarm = metadata.get_alarm()
            if alarm is None or alarm.number != event.alarm:  # else its hook goes on after a flush
                self.alarm_touched = False
                return self._alarm_changed(None if alarm is None else alarm.at)
        return None

    def _forget_old_calls(self) -> None:
        """Calls by other objects use a slot each: forget those whose event must be over."""
        self._derived_calls += 1
        if self._derived_calls % DERIVED_CALLS_KEPT == 0:
            self.store.metadata.forget_calls(DERIVED, self._now() - DERIVED_CALL_MS)

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

        def emit(error: BaseException | None) -> None:
            if error is not None:
                event.answer.fail(error)
                return
            if effects:
                self._emit(effects)
            reply(value)

        self.outbox.put(self.store.transactions.seq, emit, barrier)

    def fail(self, event: Event, error: BaseException) -> None:
        """Tell who waits for the event that it failed, in its turn."""
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

    def undo(self, event: Event) -> bool:
        """Forget what the event wrote and wanted done; whether it had written. Raises apsw.Error."""
        event.effects.clear()
        self.alarm_touched = False
        if self._store is None:
            return False
        self._store.sql.close_cursors()
        wrote = self._store.transactions.writing
        self._store.transactions.rollback()
        return wrote

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
