"""The catalog's writer: what workers say of their objects reaches Django's database in batches, behind every request.

Invariants:
- An entry is marked in a file of this process before the commit it tells of is acknowledged, and the mark stays until
  the row is written: a killed worker leaves its marks to the next one that starts.
- At the moment of writing, the object's file decides whether there is a row: so entries may arrive late or in any order.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

import msgspec
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.utils import timezone

from durable.identity import ObjectId
from durable.models import BackupState, ObjectRecord, moment
from durable.runtime.surroundings import CatalogEntry
from durable.storage.store import object_path

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.3
BATCH_ROWS = 300
MOST_IN_MEMORY = 50_000
LONGEST_PAUSE = 10.0  # seconds between two tries while the database refuses
STOP_SECONDS = 4.0
FOLDER = "catalog"

_UPDATED = ["name", "created_at", "last_active_at", "storage_bytes", "alarm_at"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CatalogEntry).decode


class Marks:
    """A file of entries that are not yet written, locked by the process that it belongs to for as long as that lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def make(cls, folder: Path) -> Marks:
        """A new, empty file."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = folder / f"{uuid.uuid4().hex}.marks"
            marks = cls.take(path, os.O_CREAT | os.O_EXCL)
            if marks is not None:
                return marks

    @classmethod
    def take(cls, path: Path, flags: int = 0) -> Marks | None:
        """The file at `path`, unless the process it belongs to lives, or it has just been dealt with."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink == 0:  # somebody has removed it before we had the lock
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def add(self, entry: CatalogEntry) -> None:
        """Append one entry. It outlives this process, not a power cut. Raises OSError."""
        os.write(self._descriptor, _encode(entry) + b"\n")

    def entries(self) -> Iterator[CatalogEntry]:
        """All entries; the last line may be torn by the death of who wrote it, and is then skipped."""
        with self._path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError):
                    yield _decode(line)

    def clear(self) -> None:
        """Everything in it is written."""
        os.ftruncate(self._descriptor, 0)

    def close(self, *, remove: bool) -> None:
        """Let go of the file; `remove` it when nothing in it is left to do."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class DjangoCatalog:
    """Writes catalog entries to `ObjectRecord`, from a thread of its own. Use it as a context manager.

    Args:
        data_dir: the volume; the marks are kept in it, and the objects' files are looked for there.
    """

    def __init__(self, data_dir: Path) -> None:
        self._objects = data_dir / "objects"
        self._folder = data_dir / FOLDER
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._waiting: dict[str, CatalogEntry] = {}
        self._overflowed = False
        self._closed = False
        self._marks: Marks
        self._other: Marks
        self._thread = threading.Thread(target=self._work, name="durable-catalog", daemon=True)

    def __enter__(self) -> DjangoCatalog:
        self._marks, self._other = Marks.make(self._folder), Marks.make(self._folder)
        self._wanted.set()  # what dead workers have left is looked for at once
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Write what is left, within a few seconds; what could not be written stays marked."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(STOP_SECONDS)

    def note(self, entry: CatalogEntry) -> None:
        """Mark the entry, and have it written soon; returns at once. From any thread."""
        with self._lock:
            if self._closed:
                return  # the objects have ended before; their next owner notes them again
            entry = _after(self._waiting.get(entry.id), entry)
            try:
                self._marks.add(entry)
            except OSError as problem:
                log.warning("an entry of the catalog could not be marked: %s", problem)
                self._waiting[entry.id] = entry
            else:
                if len(self._waiting) < MOST_IN_MEMORY or entry.id in self._waiting:
                    self._waiting[entry.id] = entry
                else:
                    self._overflowed = True  # it is read from the marks when its turn comes
        self._wanted.set()

    # -- in the thread

    def _work(self) -> None:
        try:
            self._write_leftovers()
            while self._serve():
                pass
        finally:
            connections.close_all()

    def _serve(self) -> bool:
        """Wait for entries and write them; False when this process needs no more of it."""
        self._wanted.wait()
        self._stopping.wait(FLUSH_SECONDS)
        self._wanted.clear()
        written = self._flush()
        if not self._stopping.is_set():
            return True
        with self._lock:
            if written and self._waiting:
                return True
            self._closed = True
            for marks in (self._marks, self._other):
                marks.close(remove=written)
        return False

    def _flush(self) -> bool:
        """Write all that waits; False when it has to be left to another process."""
        with self._lock:
            entries, self._waiting = self._waiting, {}
            overflowed, self._overflowed = self._overflowed, False
            full, self._marks, self._other = self._marks, self._other, self._marks
        if not self._write_patiently(entries.values()):
            return False
        # Memory holds the newest of each object it knows; the marks have the others. Twice the same row does no harm.
        if overflowed and not self._write_patiently(e for e in full.entries() if e.id not in entries):
            return False
        full.clear()
        return True

    def _write_leftovers(self) -> None:
        """Write what dead workers have marked."""
        for path in sorted(self._folder.glob("*.marks")):
            marks = Marks.take(path)
            if marks is not None:
                done = self._write_patiently(marks.entries())
                marks.close(remove=done)

    def _write_patiently(self, entries: Iterable[CatalogEntry]) -> bool:
        """Write entries batch by batch, again and again while the database refuses; False when told to stop meanwhile."""
        rest = iter(entries)
        while batch := _newest(islice(rest, BATCH_ROWS)):
            pause = 0.1
            while True:
                try:
                    self._write(batch.values())
                    break
                except (DatabaseError, OSError) as problem:
                    log.warning("the catalog cannot be written, and is tried again: %s", problem)
                    connections.close_all()
                if self._stopping.wait(pause):
                    return False
                pause = min(LONGEST_PAUSE, pause * 2)
        return True

    def _write(self, entries: Iterable[CatalogEntry]) -> None:
        rows: list[ObjectRecord] = []
        gone: dict[str, list[str]] = {}
        changed: dict[str, list[str]] = {}
        for entry in entries:
            if object_path(self._objects, ObjectId(entry.key, entry.id)).exists():
                rows.append(_record(entry))
                if entry.changed:
                    changed.setdefault(entry.key, []).append(entry.id)
            else:
                gone.setdefault(entry.key, []).append(entry.id)
        now = timezone.now()
        with transaction.atomic():
            for key, ids in changed.items():
                BackupState.objects.note_changed(key, ids, now)
            for key, ids in gone.items():
                BackupState.objects.note_gone(key, ids, now)
            ObjectRecord.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["class_key", "object_id"],
                update_fields=_UPDATED,
            )
            for key, ids in gone.items():
                ObjectRecord.objects.filter(class_key=key, object_id__in=ids).delete()


def _after(before: CatalogEntry | None, entry: CatalogEntry) -> CatalogEntry:
    """What an entry says together with the one that it replaces."""
    return entry._replace(changed=True) if before is not None and before.changed else entry


def _newest(entries: Iterable[CatalogEntry]) -> dict[str, CatalogEntry]:
    """The last entry of each object, by id."""
    found: dict[str, CatalogEntry] = {}
    for entry in entries:
        found[entry.id] = _after(found.get(entry.id), entry)
    return found


def _record(entry: CatalogEntry) -> ObjectRecord:
    return ObjectRecord(
        class_key=entry.key,
        object_id=entry.id,
        name=entry.name or "",
        created_at=moment(entry.created_at),
        last_active_at=moment(entry.last_active),
        storage_bytes=entry.storage_bytes,
        alarm_at=None if entry.alarm is None else moment(entry.alarm),
    )
