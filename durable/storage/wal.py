"""One open file's commit log: which of its commits are durable."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .durability import Done, SyncPool, sync_directory
from .journal import Journal
from .pages import FRAME_BYTES, frames_at, pages_of
from .records import Part

MOST_FRAMES = 64  # that go into the journal at once; more is cheaper to sync where it is


class Member(NamedTuple):
    """An object as its worker's journal knows it.

    Args:
        journal: the worker's.
        path: of the object's file, below the objects' directory.
        created_at: of the object.
        first: the last commit in the object's file, where that is durable and the log empty; None where nobody knows.
    """

    journal: Journal
    path: str
    created_at: int
    first: int | None


class WalSync:
    """The commit log of one open file: which commits are durable.

    Args:
        path: of the database; its log is beside it.
        pool: where syncs run.
        durable: the last commit known to be on disk when the file was opened.
        changed: called on the loop whenever `durable` has grown, or with the error that ended it.
        member: where the worker keeps a journal.

    Attributes:
        failed: the disk has refused a sync, so that nobody knows what of the file is on it.
        frames: how many the log has after the last commit.
        exists: whether there is a log beside the file.
    """

    def __init__(
        self, path: Path, pool: SyncPool, durable: int, changed: Done, member: Member | None = None
    ) -> None:
        self.path = path
        self.durable = durable
        self.appended_to = durable
        self.failed = False
        self.frames = 0
        self.exists = True
        self._pool = pool
        self._changed = changed
        self._fd: int | None = None
        self._main_fd: int | None = None
        self._main_inode = 0  # a descriptor may be another file's by the time its sync has ended
        self._placed = False  # the log's entry in its directory is durable
        self._running = False
        self._member = member
        self._journal = None if member is None else member.journal
        # (frames, commit): what the log had when all of it was durable; None: that was never so since it was opened.
        self._covered = None if member is None or member.first is None else (0, member.first)
        self._in_part = 0  # frames that the part under way ends with
        self._is_journaled = False  # the journal has something that is not known to be durable here
        self._settle_due = False

    def sync_main_by(self, fd: int) -> None:
        """The main file, which `fd` is open on, may never have been synced: the next sync makes it and its name durable."""
        self._main_fd = fd
        self._covered = None
        self._main_inode = os.fstat(fd).st_ino
        self._pool.forget_synced(self._main_inode)

    def appended(self, seq: int) -> None:
        """Commit `seq` is in the log; make it durable soon."""
        self.appended_to = seq
        if not self._running:
            self._start()

    def note(self, seq: int) -> None:
        """Commit `seq` is in the log; it may wait for the next sync."""
        self.appended_to = seq

    def sync_soon(self) -> None:
        """Make everything appended so far durable."""
        if not self._running and self.durable < self.appended_to:
            self._start()

    @property
    def idle(self) -> bool:
        """Whether no sync runs."""
        return not self._running

    def _start(self) -> None:
        if self.failed:
            return
        self._running = True
        journal = self._journal
        if journal is not None and self._covered is not None and journal.is_worth_it:
            journal.add(self)
        else:
            self.sync_itself()

    # -- by its own sync

    def sync_itself(self) -> None:
        """Make everything appended so far durable by a sync of this log."""
        target, frames = self.appended_to, self.frames
        if self._journal is not None:
            self._journal.begins()
        finished = partial(self._finished, target, frames)
        if self._fd is not None and self._placed and self._main_fd is None:
            self._pool.fdatasync(self._fd, finished)
            return
        try:
            files = self._files()
        except OSError as error:
            self._pool.tell(finished, error)
        else:
            self._pool.fsync_named(files, self.path.parent, partial(self._named, self.exists, finished))

    def _files(self) -> list[int]:
        main = [] if self._main_fd is None else [self._main_fd]
        return [*main, self._descriptor()] if self.exists else main

    def _named(self, has_log: bool, finished: Done, error: BaseException | None) -> None:
        if error is None:
            self._main_is_synced()
            self._placed = has_log
        finished(error)

    def _main_is_synced(self) -> None:
        if self._main_fd is not None:
            self._pool.note_synced(self._main_inode)
            self._main_fd = None

    def _descriptor(self) -> int:
        if self._fd is None:
            self._fd = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CLOEXEC)
        return self._fd

    def _finished(self, target: int, frames: int, error: BaseException | None) -> None:
        if self._journal is not None:
            self._journal.ended()
        self._running = False
        if error is not None:
            self.failed = True
            self._changed(error)
            return
        self._cover(frames, target)
        self._settle_due = False
        if self._is_journaled and self._journal is not None:
            self._is_journaled = False
            self._journal.settled(self.path)
        self._grown(target)

    def _grown(self, target: int) -> None:
        self.durable = target
        self._changed(None)
        if self._running:
            return
        if self._settle_due:
            self._running = True
            self.sync_itself()
        elif self.appended_to > self.durable:
            self._start()

    # -- by the journal

    def part(self) -> Part | None:
        """What has been appended since everything was durable; None where that is better synced here."""
        if self._covered is None or self._member is None:
            return None
        begin, first = self._covered
        count = self.frames - begin
        if not 0 < count <= MOST_FRAMES:
            return None
        frames = b""
        with suppress(OSError):
            frames = os.pread(self._descriptor(), count * FRAME_BYTES, frames_at(begin))
        if len(frames) != count * FRAME_BYTES:
            return None
        pages, size = pages_of(frames)
        self._in_part = self.frames
        self._is_journaled = True
        return Part(self._member.path, self._member.created_at, first, self.appended_to, size, pages)

    def journaled(self, last: int) -> None:
        """The journal has made everything up to commit `last` durable."""
        self._running = False
        self._cover(self._in_part, last)
        self._grown(last)

    def _cover(self, frames: int, seq: int) -> None:
        if self._covered is None or self._covered[1] < seq:
            self._covered = (frames, seq)

    def restarted(self, seq: int) -> None:
        """The log has been copied into the main file, up to commit `seq`, and begins anew."""
        if self._covered is not None:
            self._covered, self.frames = (0, seq), 0

    def settle(self) -> None:
        """Sync this log as soon as nothing else is under way, so that the journal need not keep what it has of it."""
        if self._running:
            self._settle_due = True
        elif not self.failed:
            self._running = True
            self.sync_itself()

    # -- the end

    def finish(self) -> None:
        """Make a new file and its name durable, if no sync has come to that: closing it would not. Waits for the disk.

        Raises OSError; then nobody knows what of it is on disk.
        """
        if self._main_fd is None or self.durable >= self.appended_to:
            return
        try:
            for file in self._files():
                os.fsync(file)
            sync_directory(self.path.parent)
            self._pool.sync_names(self.path.parent)
            self._main_is_synced()
        except OSError:
            self.failed = True
            raise

    def rest(self) -> None:
        """Let go of the log's descriptor until the next sync, unless one is running.

        No failure is lost: the kernel tells of an error that nobody has seen also through a descriptor opened later.
        """
        if self.idle:
            self.close()

    def close(self) -> None:
        """Let go of the log. No sync may be running."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def left(self, *, durable: bool) -> None:
        """The file has been closed, with all that was committed `durable` in it or not."""
        if self._is_journaled and self._journal is not None:
            if durable:
                self._journal.settled(self.path)
            else:
                self._journal.abandoned(self.path)
