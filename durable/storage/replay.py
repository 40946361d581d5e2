"""What dead workers have left in their journals is brought into the objects' own files.

After a power cut an object's own log may lack commits that were acknowledged: the journal has them. They are put into the
object's file before anybody opens it. Where the machine has run on, nothing is lacking, and the logs are only synced.

Workers that start at the same time take turns, and none serves before all that was left by an earlier run of the machine
is replayed. Every step may be the last before another power cut: a file is replaced as a whole (see `rewrite`), what has been
replayed already is seen by the number of the file's last commit, and a journal is deleted when all of it is done.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from . import records
from .durability import sync_directory, sync_log
from .journal import FOLDER, SUFFIX, settle_left
from .pages import PAGE_BYTES, whole
from .records import HEAD_BYTES, Part, read_head, read_parts
from .rewrite import copy_whole, is_marked, mark_unsynced, replace_marked

log = logging.getLogger(__name__)

TELL_SECONDS = 5.0
_OPEN = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW


def replay(root: Path) -> None:
    """Replay what an earlier run of the machine has left. Waits for the disk, and for who is at it already. Raises OSError."""
    folder = root / FOLDER
    if not any(found.is_of_an_earlier_run for found in _left_by_the_dead(folder)):
        return
    with _turn(folder):
        left = [found for found in _left_by_the_dead(folder) if found.is_of_an_earlier_run]
        parts: dict[str, list[Part]] = {}
        for found in left:
            for part in found.parts():
                parts.setdefault(part.path, []).append(part)
        told = time.monotonic()
        for done, (path, some) in enumerate(parts.items()):
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                log.warning("replaying after a power cut: %d of %d objects", done, len(parts))
            _replay_object(root / path, some)
        if parts:
            log.warning("%d objects had writes in the journal of an earlier run of this machine", len(parts))
        for found in left:
            found.delete()
        sync_directory(folder)


def settle(root: Path) -> None:
    """Sync what dead workers have left in objects' logs in this run of the machine, as far as the disk lets us. Waits for it."""
    for found in _left_by_the_dead(root / FOLDER):
        if found.is_of_an_earlier_run:
            continue
        try:
            for path in {part.path for part in found.parts()}:
                settle_left(root / path)
            found.delete()
        except OSError as error:
            log.warning("a dead worker's journal stays where it is: %s", error)


class _Left:
    """A journal's file that nobody writes to any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._head = read_head(file.read(HEAD_BYTES))

    @property
    def is_of_an_earlier_run(self) -> bool:
        """Whether the machine may have lost its memory since."""
        here = records.boot_id()
        return self._head is not None and (not here or self._head[0] != here)

    def parts(self) -> Iterator[Part]:
        """What is in it, in the order in which it was written."""
        return iter(()) if self._head is None else read_parts(self._path.read_bytes(), self._head[1])

    def delete(self) -> None:
        """Everything in it is durable elsewhere."""
        self._path.unlink(missing_ok=True)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _left_by_the_dead(folder: Path) -> list[_Left]:
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Shared: of two who look at the same time, neither must take the other for its owner.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its worker lives
            finally:
                os.close(descriptor)
            found.append(_Left(path))
    return found


def _replay_object(path: Path, parts: list[Part]) -> None:
    """Bring an object's file to the last of its commits that are in `parts`."""
    try:
        if path.stat().st_size == 0:
            return  # never synced, so nothing was acknowledged
    except FileNotFoundError:
        return  # deleted since
    try:
        if is_marked(path):
            with _held(path) as connection:
                replace_marked(path, lambda draft: copy_whole(connection, draft))
        with _held(path) as connection:
            row: Any = connection.execute("SELECT created_at, seq FROM _do_meta").fetchall()[0]
            created_at, seq = row
            pages, size, last = _newer(path, parts, created_at, seq)
            if not pages:
                return

            def write(draft: Path) -> None:
                copy_whole(connection, draft)
                _patch(draft, pages, size)

            mark_unsynced(path)
            replace_marked(path, write)
            log.info("%s: replayed from commit %d to %d", path.name, seq, last)
    except apsw.BusyError as error:
        if records.boot_id():
            raise OSError(f"{path} cannot be replayed while another process holds it") from error
        sync_log(path)  # somebody lives with it, so this is the same run of the machine
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        log.error("%s could not be replayed, and is left as it is: %s", path, error)
    except apsw.Error as error:
        raise OSError(f"{path} could not be replayed: {error}") from error


def _newer(path: Path, parts: list[Part], created_at: int, seq: int) -> tuple[dict[int, bytes], int, int]:
    """The pages after commit `seq`, the size of the database in pages, and the commit that this leads to."""
    pages: dict[int, bytes] = {}
    size = 0
    for part in sorted(parts, key=lambda part: part.last):
        if part.created_at != created_at or part.last <= seq:
            continue
        if part.first > seq:
            log.error("%s: commits %d to %d are in no journal", path, seq + 1, part.first)
            break
        pages.update({page[0]: whole(page) for page in part.pages})
        seq, size = part.last, part.size
    return pages, size, seq


def _patch(path: Path, pages: dict[int, bytes], size: int) -> None:
    with path.open("r+b") as file:
        for number, content in pages.items():
            if number <= size:
                file.seek((number - 1) * PAGE_BYTES)
                file.write(content)
        file.truncate(size * PAGE_BYTES)


@contextmanager
def _held(path: Path) -> Iterator[apsw.Connection]:
    """A connection that nobody else can have beside it, and that leaves file and log as they are."""
    with closing(apsw.Connection(str(path), flags=_OPEN)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK").fetchall()
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        yield connection
