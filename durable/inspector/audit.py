"""What operators do is entered in the audit log: before it is done, and afterwards with what it came to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from durable.errors import ArgumentError, NotCallableError
from durable.identity import ObjectId
from durable.models import AuditEntry
from durable.storage.images import ImageError

from .records import in_database
from .wholes import ObjectExistsError

MAX_AUDITED = 500  # characters of a call's arguments in the audit log


@asynccontextmanager
async def recorded(who: str, what: str, object_id: ObjectId | None, **details: Any) -> AsyncIterator[None]:
    """Enter it in the audit log before it is done, and there afterwards if it came to nothing."""
    entry = await enter(who, what, object_id, **details)
    try:
        yield
    except Exception as error:
        refused = isinstance(error, NotCallableError | ArgumentError | ObjectExistsError | ImageError)
        result = AuditEntry.Result.REFUSED if refused else AuditEntry.Result.FAILED
        await in_database(entry.came_to_nothing, described(error), result)
        raise


async def enter(who: str, what: str, object_id: ObjectId | None, **details: Any) -> AuditEntry:
    """Enter something that is about to be done, or that came to nothing already."""
    return await in_database(
        AuditEntry.record,
        who,
        what,
        class_key="" if object_id is None else object_id.class_key,
        object_id="" if object_id is None else str(object_id),
        name="" if object_id is None else object_id.name or "",
        **details,
    )


def described(error: BaseException) -> str:
    """An error as the audit log has it."""
    return f"{type(error).__name__}: {error}"[:MAX_AUDITED]
