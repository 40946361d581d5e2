"""The catalog, to search: pages by key set, in the order of class, name and id, so that none of them counts or skips."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import msgspec
from django.db import close_old_connections

from durable.models import ObjectRecord, moment

P = ParamSpec("P")
T = TypeVar("T")

_CURSOR_VERSION = 1

Position = tuple[str, str, str]
"""(class, name, id) of the last row of a page."""


class Record(NamedTuple):
    """One row of the catalog; `name` is None for an object that has only an id, `alarm` in ms since the epoch."""

    class_key: str
    name: str | None
    id: str
    created_at: datetime
    last_active_at: datetime
    storage_bytes: int
    alarm: int | None

    def document(self) -> dict[str, Any]:
        """The row as JSON is made of it."""
        return {
            "class": self.class_key,
            "name": self.name,
            "id": self.id,
            "created_at": self.created_at.isoformat(),
            "last_active_at": self.last_active_at.isoformat(),
            "storage_bytes": self.storage_bytes,
            "alarm": self.alarm,
        }

    @property
    def alarm_at(self) -> datetime | None:
        """When the alarm is due."""
        return None if self.alarm is None else moment(self.alarm)


class Page(NamedTuple):
    """Some rows in order, and where the next page begins: behind `next`, if there is one."""

    records: list[Record]
    next: Position | None


def encode_position(position: Position) -> str:
    """A position as a cursor in an address."""
    return (
        base64.urlsafe_b64encode(msgspec.json.encode([_CURSOR_VERSION, *position]))
        .decode("ascii")
        .rstrip("=")
    )


def decode_position(cursor: str) -> Position:
    """The position in a cursor; raises ValueError for what is none of ours."""
    raw = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    version, class_key, name, object_id = msgspec.json.decode(raw, type=tuple[int, str, str, str])
    if version != _CURSOR_VERSION:
        raise ValueError(f"a cursor of version {version}")
    return class_key, name, object_id


async def in_database(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something that uses the database in a thread.

    Not in Django's one thread for synchronous code: an admin page may be waiting in it for what we do.
    """

    @wraps(work)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return work(*args, **kwargs)
        finally:
            close_old_connections()

    return await asyncio.to_thread(within, *args, **kwargs)


def stored_classes() -> list[str]:
    """The keys of all classes that the catalog has rows of, with one look at the index for each."""
    return list(_classes_from(""))


def list_records(
    class_key: str | None = None, *, prefix: str = "", after: Position | None = None, limit: int
) -> Page:
    """Up to `limit` rows of one class or all, whose names begin with `prefix`.

    The catalog is written behind: an object made in the last moments may be missing, one just deleted may be there.
    """
    wanted: list[Record] = []
    first = after[0] if after is not None else ""
    for key in [class_key] if class_key is not None else _classes_from(first):
        found = ObjectRecord.objects.of_class(key).named(prefix)
        if after is not None and key == first:
            found = found.after(after[1], after[2])
        wanted += map(_record, found[: limit + 1 - len(wanted)])
        if len(wanted) > limit:
            last = wanted[limit - 1]
            return Page(wanted[:limit], (last.class_key, last.name or "", last.id))
    return Page(wanted, None)


def records_of_id(object_id: str) -> list[Record]:
    """The rows of an id, whichever class it is of: one at most, but for a forged one."""
    found = [find_record(key, object_id) for key in _classes_from("")]
    return [record for record in found if record is not None]


def find_record(class_key: str, object_id: str) -> Record | None:
    """The row of one object."""
    found = ObjectRecord.objects.filter(class_key=class_key, object_id=object_id).first()
    return None if found is None else _record(found)


def _classes_from(first: str) -> Iterator[str]:
    keys = ObjectRecord.objects.order_by("class_key").values_list("class_key", flat=True)
    key = keys.filter(class_key__gte=first).first()
    while key is not None:
        yield key
        key = keys.filter(class_key__gt=key).first()


def _record(row: ObjectRecord) -> Record:
    return Record(
        row.class_key,
        row.name or None,
        row.object_id,
        row.created_at,
        row.last_active_at,
        row.storage_bytes,
        None if row.alarm_at is None else round(row.alarm_at.timestamp() * 1000),
    )
