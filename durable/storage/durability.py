"""When a commit is durable: syncs of an object's log, grouped and off the loop.

The commit log is the seam between an event's commit and its outputs: `appended(seq)` after a commit, `durable` says up to
which commit the disk has everything. While one sync runs in a thread, the events behind it commit, and the next sync
covers them all. This first form syncs the object's own write-ahead log.

A sync that fails makes everything since the last good one unknown: it is reported once and never tried again.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Done = Callable[[BaseException | None], None]
Job = Callable[[], None]


class SyncPool:
    """Threads that wait for the disk, shared by all objects of a worker.

    Args:
        threads: how many syncs may wait for the disk at once.
        call_soon: runs a function on the loop, from any thread (`loop.call_soon_threadsafe`).
    """

    def __init__(self, threads: int, call_soon: Callable[..., object]) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._named: set[Path] = (
            set()
        )  # directories whose own names are known to be durable; 256 a class at most
        self._call_soon = call_soon
        self._threads = [
            threading.Thread(target=self._work, name=f"durable-sync-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, done: Done) -> None:
        """Run `job` in a thread, then `done(error or None)` on the loop."""
        self._jobs.put((job, done))

    def sync_names(self, folder: Path) -> None:
        """Make the name of an objects' folder durable, with those of its class's and the volume's; once a process."""
        for directory in (folder, folder.parent, folder.parent.parent):
            if directory not in self._named:
                sync_directory(directory.parent)
                self._named.add(directory)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            failure: BaseException | None = None
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - the loop decides what a failed sync means
                failure = error
            try:
                self._call_soon(done, failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            job = done = None  # type: ignore[assignment]

    def close(self) -> None:
        """Finish what was submitted, then end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


def sync_file(path: Path) -> None:
    """Make a file durable. Never an object's own main file: closing it would drop the lock of its owner."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_empty(path: Path) -> None:
    """Remove what a power cut has left of a file that was never synced: nothing in it was ever acknowledged.

    It is moved first and looked at again, since another owner may just have put its new file there.
    """
    moved = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    with suppress(FileNotFoundError):
        path.rename(moved)
        if moved.stat().st_size > 0:
            os.link(moved, path)
        moved.unlink()


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class WalSync:
    """The commit log of one open file: which commits are durable.

    Args:
        path: of the database; its log is beside it.
        pool: where syncs run.
        durable: the last commit known to be on disk when the file was opened.
        changed: called on the loop whenever `durable` has grown, or with the error that ended it.

    Attributes:
        failed: the disk has refused a sync, so that nobody knows what of the file is on it.
    """

    def __init__(self, path: Path, pool: SyncPool, durable: int, changed: Done) -> None:
        self.durable = durable
        self.appended_to = durable
        self._path = path
        self._pool = pool
        self._changed = changed
        self._fd: int | None = None
        self._main_fd: int | None = None
        self._placed = False  # the log's entry in its directory is durable
        self._running = False
        self.failed = False

    def sync_main_by(self, fd: int) -> None:
        """The main file, which `fd` is open on, may never have been synced: the next sync makes it and its name durable."""
        self._main_fd = fd

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
        target = self.appended_to
        self._pool.submit(self._sync, lambda error: self._finished(target, error))

    def _sync(self) -> None:
        if self._main_fd is not None:
            os.fsync(self._main_fd)
        if self._fd is None:
            self._fd = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        os.fdatasync(self._fd)
        if not self._placed:
            sync_directory(self._path.parent)
            if self._main_fd is not None:
                self._pool.sync_names(self._path.parent)
                self._main_fd = None
            self._placed = True

    def _finished(self, target: int, error: BaseException | None) -> None:
        self._running = False
        if error is not None:
            self.failed = True
            self._changed(error)
            return
        self.durable = target
        self._changed(None)
        if self.appended_to > self.durable and not self._running:
            self._start()

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
