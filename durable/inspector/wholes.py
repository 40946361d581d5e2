"""An object as a whole in a file: where exports are written, handed over, and made objects again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from durable.errors import DurableError
from durable.identity import ObjectId
from durable.models import BackupState, ObjectRecord, moment
from durable.storage.images import ImageFacts, write_image
from durable.storage.rewrite import forget_mark

from .copies import Copy

_LOCK_START, _LOCK_BYTES = (
    0x40000000,
    512,
)  # where SQLite locks a file: sqlite.org/fileformat2.html, "lock-byte page"


class ObjectExistsError(DurableError):
    """The object that an import should make has storage already."""

    code = "object_exists"
    delivered = "no"


class AbsentObjectError(DurableError):
    """There is nothing to export: the object stores nothing."""

    code = "object_absent"
    delivered = "no"


@contextmanager
def draft_in(folder: Path) -> Iterator[Path]:
    """A path for a file that is gone after the block."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.sqlite3"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def saving(draft: Path) -> Callable[[Copy], str]:
    """What to do with a copy of a sleeping object's file: write its image to `draft`, and give that one's name."""

    def save(copy: Copy) -> str:
        for _ in write_image(copy.connection, draft):
            pass
        return draft.name

    return save


def check_target(target: Path) -> None:
    """Raise OSError for a path that no file can be put at: a device, a pipe or a folder is not for us to replace."""
    if target.exists() and not target.is_file():
        raise OSError(f"{target} is not a plain file, and is left as it is")
    if not target.parent.is_dir():
        raise OSError(f"there is no folder {target.parent}")


def hand_over(draft: Path, target: Path) -> int:
    """Put a finished file where the operator wants it, in one step; its bytes. Raises OSError."""
    check_target(target)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.touch(0o600)  # before anything is in it that is not for everybody
        part.chmod(0o600)
        shutil.copyfile(draft, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def set_aside(path: Path) -> bool:
    """Rename a damaged file and its log, so that the object can be made anew; False while a process holds it.

    Not to be called in a process that owns objects: closing the file would drop its owner's lock.
    """
    mark = f".damaged-{time.time_ns() // 1_000_000}"
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_START)
        except BlockingIOError:
            return False
        for part in (path, Path(f"{path}-wal")):
            with contextlib.suppress(FileNotFoundError):
                part.rename(f"{part}{mark}")
        forget_mark(path)
    return True


def uncatalogue(object_id: ObjectId) -> None:
    """Strike an object from the catalog."""
    ObjectRecord.objects.filter(class_key=object_id.class_key, object_id=str(object_id)).delete()


def catalogue(object_id: ObjectId, facts: ImageFacts, now: int) -> None:
    """Enter an imported object into the catalog, and note that it has changed."""
    ObjectRecord.objects.update_or_create(
        class_key=object_id.class_key,
        object_id=str(object_id),
        defaults={
            "name": facts.name or "",
            "created_at": moment(facts.created_at),
            "last_active_at": moment(now),
            "storage_bytes": facts.size,
            "alarm_at": None if facts.alarm is None else moment(facts.alarm),
        },
    )
    BackupState.objects.note_changed(object_id.class_key, [str(object_id)], moment(now))
