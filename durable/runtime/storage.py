"""`ctx.storage`: what an object's class sees of its file. Everything is synchronous: the database is in the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from durable.errors import StorageLimitError
from durable.storage.metadata import Alarm
from durable.storage.sql import SqlCursor
from durable.storage.store import Store

from .events import current_event

MAX_ALARM_MS = 8_640_000_000_000_000  # as in JavaScript's Date: far beyond any use, far below 64 bits


class SqlFacade:
    """`ctx.storage.sql`: the object's own tables."""

    __slots__ = ("_store",)

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store  # with the class's tables in it

    def exec(self, statement: str, *bindings: Any) -> SqlCursor:
        """Run a statement, with one value for each `?`; returns a cursor.

        Raises SqlError with SQLite's text and code (the object stays healthy), StatementTimeoutError.
        """
        return self._store().sql.exec(statement, *bindings)


class Storage:
    """An object's private storage: key-value, SQL and the alarm, all part of the running event's one commit."""

    __slots__ = ("_alarm_touched", "_migrate_wiped", "_store", "sql")

    def __init__(
        self,
        store: Callable[[], Store],
        alarm_touched: Callable[[], None],
        migrate_wiped: Callable[[Store], None],
    ) -> None:
        self._store = store
        self._alarm_touched = alarm_touched
        self._migrate_wiped = migrate_wiped
        self.sql = SqlFacade(self._whole_store)

    def _whole_store(self) -> Store:
        """The store, with what the class's migrations make, also after `delete_all`."""
        store = self._store()
        if store.metadata.wiped:
            self._migrate_wiped(store)
        return store

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, or `default` where there is none."""
        return self._store().kv.get(key, default)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Copies of the values of those of `keys` that exist."""
        return self._store().kv.get_many(_several(keys))

    def put(self, key: str, value: Any) -> None:
        """Store a copy of `value`. Raises ValueRefusedError, StorageLimitError."""
        self._whole_store().kv.put_many({key: value})

    def put_many(self, items: Mapping[str, Any]) -> None:
        """Store all of `items`, or none when one is refused."""
        self._whole_store().kv.put_many(items)

    def delete(self, key: str) -> bool:
        """Delete `key`; whether it existed."""
        return self._store().kv.delete(key) > 0

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete `keys`; how many existed."""
        return self._store().kv.delete(*_several(keys))

    def list(
        self,
        prefix: str | None = None,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Keys and values in the order of the keys' UTF-8 bytes: from `start`, or after `start_after`, to before `end`."""
        return self._store().kv.list(prefix, start, start_after, end, reverse=reverse, limit=limit)

    def delete_all(self) -> None:
        """Delete everything the object has stored, its alarm included.

        Its tables are dropped, and those of its migrations made again when it next stores something or uses SQL.
        """
        self._alarm_touched()
        self._store().metadata.wipe()

    def transaction(self) -> AbstractContextManager[None]:
        """A part of the event that is undone as one when an exception leaves the `with` block. Nests.

        It cannot be committed in parts: a flush, or a call to another object, raises RuntimeError inside it. What gateways are
        told is not undone with it: accepting a socket, or setting an auto-response, raises SocketError inside it.
        """
        return self._store().transactions.savepoint()

    def set_alarm(self, when: int | datetime) -> None:
        """Wake the object at `when` (ms since the epoch, or an aware datetime); replaces the alarm that was set."""
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise ValueError("an alarm's datetime needs a time zone")
            when = int(when.timestamp() * 1000)
        if type(when) is not int:
            raise TypeError(f"an alarm is ms since the epoch or a datetime, not {type(when).__name__}")
        if not 0 <= when <= MAX_ALARM_MS:
            raise StorageLimitError("this time is out of range for an alarm")
        self._alarm_touched()
        self._store().metadata.set_alarm(when)

    def get_alarm(self) -> int | None:
        """When the alarm is due (ms since the epoch), or None. The alarm whose hook runs is not set any more."""
        alarm = self._store().metadata.get_alarm()
        return None if alarm is None or _runs(alarm) else alarm.at

    def delete_alarm(self) -> None:
        """Clear the alarm."""
        if self.get_alarm() is not None:
            self._alarm_touched()
            self._store().metadata.set_alarm(None)

    @property
    def database_size(self) -> int:
        """Bytes of the object's database."""
        return self._store().database.size


def _several(keys: Iterable[str]) -> Iterable[str]:
    """`keys`, which are no text: its letters would be taken for keys."""
    if isinstance(keys, str):
        raise TypeError(f"several keys are a list of texts, not one text: write [{keys[:40]!r}]")
    return keys


def _runs(alarm: Alarm) -> bool:
    """Whether we are in the hook of this alarm."""
    event = current_event.get()
    return event is not None and event.alarm == alarm.number
