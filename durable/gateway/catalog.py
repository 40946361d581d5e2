"""Pages of object names from the catalog, for endpoints that list what an app's class has."""

from __future__ import annotations

import base64
import binascii

from channels.db import database_sync_to_async

from durable.models import ObjectRecord

from .problems import Problem


async def page_of_names(
    class_key: str, *, prefix: str, cursor: str, limit: int
) -> tuple[list[str], str | None]:
    """Up to `limit` names of stored objects in order, and the cursor of the next page or None.

    The catalog is written behind: an object made in the last moments may be missing, one just deleted may be there.

    Raises:
        Problem: 400 for a cursor that is none of ours.
    """
    after = _decode(cursor) if cursor else None

    def load() -> list[tuple[str, str]]:
        found = ObjectRecord.objects.of_class(class_key).exclude(name="").named(prefix)
        if after is not None:
            found = found.after(*after)
        return list(found.values_list("name", "object_id")[: limit + 1])

    rows: list[tuple[str, str]] = await database_sync_to_async(load)()
    more = len(rows) > limit
    rows = rows[:limit]
    return [name for name, _ in rows], _encode(*rows[-1]) if more else None


def _encode(name: str, object_id: str) -> str:
    return base64.urlsafe_b64encode(f"1\0{name}\0{object_id}".encode()).decode("ascii").rstrip("=")


def _decode(cursor: str) -> tuple[str, str]:
    version = name = object_id = ""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, name, object_id = raw.decode("utf-8").split("\0")
    except (binascii.Error, ValueError):
        pass
    if version != "1":
        raise Problem(400, "bad_cursor", "This cursor is not valid; begin again without one.")
    return name, object_id
