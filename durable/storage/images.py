"""A whole object as one plain SQLite file: written from an open database, and made the file of an object again.

An image has everything that an object stores, its alarm included, and nothing of who is connected to it or has called it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from durable.errors import DamagedFileError, StorageError
from durable.identity import ObjectId

from .database import POISONED
from .rewrite import forget_mark
from .schema import WAL_MODE, upgrade_from
from .store import object_path
from .template import fill

STEP_PAGES = 64  # of 4 KiB: less than half a millisecond
PAGE_BYTES = 4096
_CHANGE_COUNTERS = (24, 92)  # "file change counter" and "version-valid-for number" of SQLite's file format
_RUNTIME_TABLES = (
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name LIKE '\\_do\\_%' ESCAPE '\\' "
    "OR tbl_name LIKE '\\_do\\_%' ESCAPE '\\' ORDER BY type, name"
)


class ImageError(StorageError):
    """A file that cannot become this object's storage; nothing was changed."""

    code = "bad_image"


class ImageFacts(NamedTuple):
    """What the catalog and the alarm index should know of an image."""

    name: str | None
    created_at: int
    alarm: int | None
    size: int


def write_image(source: apsw.Connection, target: Path) -> Iterator[bool]:
    """Copy a database to a new file, in steps; each yields whether the source is needed no more.

    Between steps the source may be written to by this same connection: SQLite writes what changes to the copy as well, so
    that the copy is the database as it was at the last step. No transaction may be open at a step.
    """
    target.unlink(missing_ok=True)
    with closing(apsw.Connection(str(target))) as image:
        target.chmod(0o600)
        image.execute("PRAGMA synchronous=OFF").fetchall()
        with image.backup("main", source, "main") as backup:
            while not backup.step(STEP_PAGES):
                yield False
        yield True
        _forget_company(image)
    _forget_changes(target)


def _forget_company(image: apsw.Connection) -> None:
    """Leave nothing of sockets and answered calls, and no log beside the file."""
    image.execute(
        "PRAGMA journal_mode=DELETE; PRAGMA secure_delete=ON; DELETE FROM _do_sockets; DELETE FROM _do_calls"
    ).fetchall()


def _forget_changes(image: Path) -> None:
    """Have all images of one commit the same bytes: how often SQLite has changed a file depends on how the copy was made."""
    with image.open("r+b") as file:
        for at in _CHANGE_COUNTERS:
            file.seek(at)
            file.write(bytes(4))


NEW_LIFE = 2**32
"""Added to the number of an image's last commit, so that none of the commits after it has the number of one that the object
had before: what a journal has of those is not for this file."""


def prepare_image(
    source: Path, draft: Path, object_id: ObjectId, *, epoch: int, migrations: int
) -> ImageFacts:
    """Make `draft` a file that can become the storage of `object_id`, with the content of the image `source`.

    Args:
        source: an image; it is only read.
        epoch: the last one the object is known to have had.
        migrations: how many the class has.

    Raises:
        ImageError: it is no image, or one of another class or of newer code.
    """
    draft.unlink(missing_ok=True)
    try:
        with closing(apsw.Connection(str(draft))) as image:
            draft.chmod(0o600)
            with (
                closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as original,
                image.backup("main", original, "main") as backup,
            ):
                backup.step(-1)
            image.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            image.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            _check(image, object_id, migrations)
            _forget_company(image)
            facts = _identify(image, object_id, epoch)
    except apsw.Error as error:
        raise ImageError(f"{source} is no export of an object: {error}", delivered="no") from error
    with draft.open("r+b") as file:
        file.seek(18)
        file.write(WAL_MODE)
        file.flush()
        os.fsync(file.fileno())
    return facts


def _check(image: apsw.Connection, object_id: ObjectId, migrations: int) -> None:
    def value(sql: str) -> Any:
        return image.execute(sql).fetchall()[0][0]

    meta: Any = image.execute("SELECT format, class_key, class_version FROM _do_meta").fetchall()
    if len(meta) != 1:
        raise ImageError("this file does not say whose it is", delivered="no")
    form, key, version = meta[0]
    try:
        image.execute(upgrade_from(form)).fetchall()
    except ValueError as error:
        raise ImageError(f"this file cannot be read: {error}", delivered="no") from None
    with closing(apsw.Connection(":memory:")) as ours:
        fill(ours)
        expected = ours.execute(_RUNTIME_TABLES).fetchall()
    if image.execute(_RUNTIME_TABLES).fetchall() != expected:
        raise ImageError("this file is no export of an object: it lacks the runtime's tables", delivered="no")
    if value("PRAGMA quick_check(1)") != "ok":
        raise ImageError("this file is damaged", delivered="no")
    if value("PRAGMA page_size") != PAGE_BYTES or value("PRAGMA encoding") != "UTF-8":
        raise ImageError(f"an object's file has pages of {PAGE_BYTES} bytes and UTF-8 text", delivered="no")
    if key != object_id.class_key:
        raise ImageError(f"this file is of class {key!r}, not {object_id.class_key!r}", delivered="no")
    if version > migrations:
        raise ImageError(
            f"this file has seen {version} migrations of its class, but there are {migrations}",
            delivered="no",
        )


def _identify(image: apsw.Connection, object_id: ObjectId, epoch: int) -> ImageFacts:
    """Give the image its new identity. Whoever opens it needs an epoch above all that were before."""
    found: Any = image.execute("SELECT epoch, created_at, alarm FROM _do_meta").fetchall()[0]
    stored, created_at, alarm = found
    seen = 0 if stored == POISONED else stored
    image.execute(
        "UPDATE _do_meta SET id = ?1, name = ?2, epoch = ?3, incarnation = 'import', seq = seq + ?4",
        (str(object_id), object_id.name, max(epoch, seen), NEW_LIFE),
    ).fetchall()
    pages: Any = image.execute("PRAGMA page_count").fetchall()[0][0]
    return ImageFacts(object_id.name, created_at, alarm, pages * PAGE_BYTES)


def raise_epoch(draft: Path, epoch: int) -> None:
    """Make `draft` a file that only an owner with an epoch above `epoch` can open. Raises apsw.Error."""
    with closing(apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)) as image:
        image.execute("UPDATE _do_meta SET epoch = max(epoch, ?1)", (epoch,)).fetchall()


def place_image(root: Path, object_id: ObjectId, draft: Path) -> None:
    """Make `draft` the object's file in one step. Raises FileExistsError when it has one."""
    path = object_path(root, object_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = Path(f"{path}-wal")
    if log.exists() and not path.exists():
        raise DamagedFileError(f"{log} is left of a file that is gone; move it away first", delivered="no")
    forget_mark(path)
    os.link(draft, path)  # unlike rename, it never replaces a file that an owner has made meanwhile
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
