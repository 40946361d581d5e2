"""Crashes at a chosen point between an event's last statement and its reply.

A plan names the point, and the object if it matters. When an object's storage comes to that point, its worker stops there
and then: nothing after that line happens any more, as if the process had been killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from durable.identity import ObjectId
from durable.storage.durability import Done
from durable.storage.store import Claim, Store


class CrashPoint(Enum):
    """Where a worker can die on behalf of an event that writes."""

    BEFORE_COMMIT = "before the commit"
    """The handler has done its work (or flushes); nothing of it is in the file."""

    BEFORE_SYNC = "before the sync"
    """It is committed, in the file's log; nobody outside this object's storage has heard of it."""

    BEFORE_RELEASE = "before the release"
    """It is on the disk; its reply, frames and calls have not left."""


class PlannedCrash:
    """One crash to come.

    Args:
        point: where.
        object_id: of which object (hex); None: of whichever comes there first.
        nth: the how-manieth time that it comes there.

    Attributes:
        reached: the worker has died there.
        takeover: brings in the next worker, once the crash has happened.
    """

    def __init__(self, point: CrashPoint, object_id: str | None, nth: int) -> None:
        self.point = point
        self.object_id = object_id
        self.reached = False
        self.takeover: asyncio.Task[None] | None = None
        self._still_to_pass = nth - 1

    def passes(self, point: CrashPoint, object_id: str) -> bool:
        """Some storage comes to a point: whether this crash happens now."""
        if self.reached or point is not self.point or self.object_id not in (None, object_id):
            return False
        if self._still_to_pass:
            self._still_to_pass -= 1
            return False
        self.reached = True
        return True


class CrashingStore(Store):
    """An object's storage that says where it has come to.

    Args:
        dies: told the point and the object's id; True when the worker has died there.
    """

    def __init__(
        self,
        root: Path,
        object_id: ObjectId,
        claim: Claim,
        *,
        dies: Callable[[CrashPoint, str], bool],
        changed: Done,
        **others: Any,
    ) -> None:
        self._dies = dies
        self._changed = changed
        self._whose = str(object_id)
        self._unsynced: int | None = None  # the first commit of an event that is not durable yet
        super().__init__(root, object_id, claim, changed=self._synced, **others)

    def commit(self) -> int:
        """Commit, unless the worker dies before or just after it."""
        self._pass(CrashPoint.BEFORE_COMMIT)
        seq = super().commit()
        if self._unsynced is None:
            self._unsynced = seq
        self._pass(CrashPoint.BEFORE_SYNC)
        return seq

    def _pass(self, point: CrashPoint) -> None:
        if self._dies(point, self._whose):
            raise asyncio.CancelledError  # what code in the middle of an event sees of its worker's death

    def _synced(self, error: BaseException | None) -> None:
        if error is None and self._unsynced is not None and self.log.durable >= self._unsynced:
            self._unsynced = None
            if self._dies(CrashPoint.BEFORE_RELEASE, self._whose):
                return
        self._changed(error)
