"""Copies of objects: made, restored and checked, one object at a time, while all of them run on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from django.utils import timezone

from durable.conf import DurableSettings
from durable.errors import DurableError
from durable.identity import ObjectId
from durable.inspector import Inspector
from durable.inspector.audit import MAX_AUDITED, described, enter
from durable.inspector.records import in_database
from durable.inspector.wholes import AbsentObjectError, draft_in
from durable.models import AuditEntry, BackupState
from durable.storage.store import object_path

from .archive import Archive, ArchiveError, StoredCopy, digest_of
from .contents import BadCopyError, Contents, examine
from .retention import outdated

log = logging.getLogger(__name__)

AGAIN = timedelta(minutes=15)
"""How long a copy may take; and the time before another try of one that failed, or whose maker died."""


class Made(Enum):
    """What became of the wish for a copy."""

    COPIED = "copied"
    UNCHANGED = "unchanged"  # the newest copy has all of it
    ABSENT = "absent"  # the object stores nothing
    BUSY = "busy"  # somebody else copies it at this moment


class NoCopyError(DurableError):
    """There is no such copy, or none that is sound; the message lists what there is."""

    code = "no_copy"
    delivered = "no"


class Checked(NamedTuple):
    """A copy, and what is wrong with it, or None."""

    copy: StoredCopy
    problem: str | None


class Backups:
    """The copies of objects for one operator, or for the schedule.

    Args:
        inspector: reaches the objects; all methods must run on its loop.
        archive: where the copies are.
        conf: the settings.
        now: the time.
    """

    def __init__(
        self,
        inspector: Inspector,
        archive: Archive,
        conf: DurableSettings,
        now: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._inspector = inspector
        self._archive = archive
        self._conf = conf
        self._now = now
        self._drafts = conf.data_dir / "exports"

    # -- making

    async def make(self, object_id: ObjectId) -> Made:
        """Copy the object now, unless the newest copy has all of it.

        Raises ArchiveError, StorageError for an object that cannot be read, UnavailableError.
        """
        state = await in_database(BackupState.objects.of, object_id.class_key, str(object_id))
        if not await in_database(state.claim, self._now(), AGAIN):
            return Made.BUSY
        return await self.make_claimed(object_id, state)

    async def make_claimed(self, object_id: ObjectId, state: BackupState) -> Made:
        """`make` for who has claimed the object's state."""
        began = self._now()
        try:
            async with self._inspector.image(object_id, backup=True) as image:
                made = await asyncio.to_thread(self._keep, object_id, image, began)
        except AbsentObjectError:
            await in_database(_note_gone, state, self._now())
            return Made.ABSENT
        except (DurableError, OSError) as error:
            await in_database(state.failed, f"{type(error).__name__}: {error}")
            raise
        await in_database(state.copied, began, self._now())
        return made

    def _keep(self, object_id: ObjectId, image: Path, at: datetime) -> Made:
        contents = examine(image, thoroughly=False)
        present = self._archive.copies(object_id)
        copies = [copy for copy in present if copy.whole]
        digest = digest_of(image)
        if copies and copies[0].digest == digest:
            return Made.UNCHANGED
        copy = self._archive.save(object_id, image, at, contents.seq, digest)
        old = outdated(
            [copy, *copies],
            at,
            newest=self._conf.backup_keep,
            days=timedelta(days=self._conf.backup_keep_days),
        )
        self._archive.remove([*old, *(left for left in present if not left.whole)])
        return Made.COPIED

    async def expire(self, object_id: ObjectId, state: BackupState) -> bool:
        """Remove all copies of an object that was deleted long ago; False when it is there again."""
        path = object_path(self._conf.data_dir / "objects", object_id)
        if await asyncio.to_thread(path.exists):
            await in_database(
                BackupState.objects.note_changed, object_id.class_key, [str(object_id)], self._now()
            )
            return False
        await asyncio.to_thread(lambda: self._archive.remove(self._archive.copies(object_id)))
        await in_database(_forget, state)
        return True

    # -- using

    async def copies(self, object_id: ObjectId) -> list[StoredCopy]:
        """The object's whole copies, newest first. Raises ArchiveError."""
        found = await asyncio.to_thread(self._archive.copies, object_id)
        return [copy for copy in found if copy.whole]

    async def restore(self, object_id: ObjectId, label: str | None = None) -> StoredCopy:
        """Put a copy in the place of what the object stores; which one it was.

        It is the copy whose label begins with `label`, or else the newest sound one. What was there before is kept beside the
        object's file. Raises NoCopyError, ArchiveError, ImageError.
        """
        with draft_in(self._drafts) as draft:
            try:
                copy, contents = await self._fetch_wanted(object_id, label, draft)
            except DurableError as error:
                details = {"copy": (label or "")[:MAX_AUDITED], "error": described(error)}
                failed = AuditEntry.Result.FAILED
                await enter(self._inspector.who, "object.restore", object_id, result=failed, **details)
                raise
            # Who was meant by its id keeps its name.
            target = ObjectId(object_id.class_key, str(object_id), object_id.name or contents.name)
            await self._inspector.restore(target, draft, copy.path)
            return copy

    async def _fetch_wanted(
        self, object_id: ObjectId, label: str | None, draft: Path
    ) -> tuple[StoredCopy, Contents]:
        """Write the copy that is to be restored to `draft`; which one it is, and what it holds."""
        candidates = _choose(await self.copies(object_id), label)
        for copy in candidates:
            try:
                return copy, await asyncio.to_thread(self._fetch_sound, object_id, copy, draft)
            except (ArchiveError, BadCopyError) as error:
                if copy is candidates[-1]:
                    raise
                log.warning("an older copy of %r is looked for: %s", object_id, error)
        raise AssertionError("there is at least one candidate")

    async def verify(self, object_id: ObjectId) -> list[Checked]:
        """Read all copies of the object to the last byte, and check that they are sound, and its own. Raises ArchiveError."""
        return await asyncio.to_thread(self._verify, object_id)

    def _verify(self, object_id: ObjectId) -> list[Checked]:
        checked = []
        for copy in self._archive.copies(object_id):
            problem = None
            with draft_in(self._drafts) as draft:
                try:
                    self._fetch_sound(object_id, copy, draft)
                except (ArchiveError, BadCopyError) as error:
                    if copy not in self._archive.copies(object_id):
                        continue  # removed meanwhile, or not written to the end when we looked
                    problem = str(error)
            checked.append(Checked(copy, problem))
        return checked

    def _fetch_sound(self, object_id: ObjectId, copy: StoredCopy, draft: Path) -> Contents:
        """Write a copy to `draft`; what it holds. Raises ArchiveError, BadCopyError when it is not what it should be."""
        if not copy.whole:
            raise ArchiveError(f"the copy {copy.path} was not written to the end")
        self._archive.fetch(copy, draft)
        contents = examine(draft, thoroughly=True)
        if (contents.class_key, contents.id) != (object_id.class_key, str(object_id)):
            raise BadCopyError(f"the copy {copy.path} is of {contents.class_key} {contents.id}")
        return contents


def _choose(copies: list[StoredCopy], label: str | None) -> list[StoredCopy]:
    """The copies to try, first the one that is wanted most. Raises NoCopyError."""
    if not copies:
        raise NoCopyError("this object has no copy")
    if label is None:
        return copies
    found = [copy for copy in copies if copy.label.startswith(label)]
    if len(found) != 1:
        there = ", ".join(copy.label for copy in copies)
        raise NoCopyError(f"{len(found) or 'no'} copies match {label!r}; there are: {there}")
    return found


def _note_gone(state: BackupState, at: datetime) -> None:
    """The object stores nothing, unless it was made anew since `state` was read."""
    rows = BackupState.objects.filter(pk=state.pk)
    rows.update(tried_at=None)
    rows.filter(changes=state.changes).note_gone(state.class_key, [state.object_id], at)


def _forget(state: BackupState) -> None:
    """Nothing is left to do for the object, unless it was made anew since `state` was read."""
    rows = BackupState.objects.filter(pk=state.pk)
    if not rows.filter(changes=state.changes).delete()[0]:
        rows.update(tried_at=None, copied_at=None)
