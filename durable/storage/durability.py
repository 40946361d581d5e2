"""When a commit is durable: syncs of an object's log, grouped and off the loop.

The commit log is the seam between an event's commit and its outputs: `appended(seq)` after a commit, `durable` says up to
which commit the disk has everything. While one sync runs, by the kernel or in a thread, the events behind it commit, and the next
sync covers them all. It syncs the object's own write-ahead log, or leaves that to the worker's journal while others wait as well.

A sync that fails makes everything since the last good one unknown: it is reported once and never tried again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from .kernel_sync import KernelSyncs, kernel_syncs

Done = Callable[[BaseException | None], None]
Job = Callable[[], None]

MOST_SYNCED = 10_000


class SyncPool:
    """Who waits for the disk, for all objects of a worker: the kernel, or threads.

    Args:
        threads: how many of them.
        call_soon: runs a function on the loop, from any thread (`loop.call_soon_threadsafe`).
        kernel: syncs without a thread, where the system can; closed with the pool.
    """

    def __init__(
        self, threads: int, call_soon: Callable[..., object], kernel: KernelSyncs | None = None
    ) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._named: set[Path] = (
            set()
        )  # directories whose own names are known to be durable; 256 a class at most
        self._synced: dict[int, None] = {}  # inodes, oldest first
        self._directories: dict[Path, list[Done]] = {}  # to be synced at the end of this turn of the loop
        self._call_soon = call_soon
        self._kernel = kernel
        self._threads = [
            threading.Thread(target=self._work, name=f"durable-sync-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, threads: int) -> Self:
        """A pool that tells that loop, with the kernel's syncs where there are any."""
        return cls(threads, loop.call_soon_threadsafe, kernel_syncs(loop))

    def submit(self, job: Job, done: Done) -> None:
        """Run `job` in a thread, then `done(error or None)` on the loop."""
        self._jobs.put((job, done))

    def fdatasync(self, descriptor: int, done: Done) -> None:
        """Make a file's content durable, then `done(error or None)` on the loop. Until then the descriptor stays open."""
        if self._kernel is None or not self._kernel.fdatasync(descriptor, done):
            self._jobs.put((partial(os.fdatasync, descriptor), done))

    def fsync_named(self, files: list[int], folder: Path, done: Done) -> None:
        """Make files of `folder` durable, and the names that lead to them, then `done(error or None)` on the loop.

        Until then they stay open.
        """
        unnamed = self._unnamed(folder)
        directories = [folder, *(one.parent for one in unnamed)]

        def ended(error: BaseException | None) -> None:
            if error is None:
                self._named.update(unnamed)
            done(error)

        part = _Together(len(files) + len(directories), ended).ended
        for file in files:
            if self._kernel is None or not self._kernel.fsync(file, part):
                self._jobs.put((partial(os.fsync, file), part))
        for directory in directories:
            if self._kernel is None:
                self._jobs.put((partial(sync_directory, directory), part))
                continue
            if not self._directories:
                self._kernel.soon(self._sync_directories)
            self._directories.setdefault(directory, []).append(part)

    def _sync_directories(self) -> None:
        """Sync each directory once for all who have asked in this turn."""
        directories, self._directories = self._directories, {}
        for directory, asked in directories.items():
            done = asked[0] if len(asked) == 1 else partial(self._tell_all, asked)
            if self._kernel is None or not self._ask_for_names(self._kernel, directory, done):
                self._jobs.put((partial(sync_directory, directory), done))

    def _tell_all(self, asked: list[Done], error: BaseException | None) -> None:
        for done in asked:
            self._call_soon(done, error)

    def _ask_for_names(self, kernel: KernelSyncs, directory: Path, done: Done) -> bool:
        try:
            descriptor = _open_directory(directory)
        except OSError:
            return False  # a thread meets the same error, or not any more
        try:
            return kernel.fsync(descriptor, done)  # which holds the directory from then on
        finally:
            os.close(descriptor)

    def note_synced(self, inode: int) -> None:
        """A file that has one commit only was synced with its name; remembered for the last `MOST_SYNCED`."""
        while len(self._synced) >= MOST_SYNCED:
            del self._synced[next(iter(self._synced))]
        self._synced[inode] = None

    def has_synced(self, inode: int) -> bool:
        """Whether that is known of a file, by who has had it ever since."""
        return inode in self._synced

    def forget_synced(self, inode: int) -> None:
        """The file is another one now."""
        self._synced.pop(inode, None)

    def tell(self, done: Done, error: BaseException) -> None:
        """Say on the loop, soon, that nothing could be synced."""
        self._call_soon(done, error)

    def sync_names(self, folder: Path) -> None:
        """Make the name of an objects' folder durable, with those of its class's and the volume's; once a process. Waits."""
        for directory in self._unnamed(folder):
            sync_directory(directory.parent)
            self._named.add(directory)

    def _unnamed(self, folder: Path) -> list[Path]:
        if folder in self._named:  # and so are those above it
            return []
        return [one for one in (folder, folder.parent, folder.parent.parent) if one not in self._named]

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
        """Finish what was submitted, then end the threads. What the kernel still syncs is finished too, but nobody is told."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        if self._kernel is not None:
            self._call_soon(self._kernel.close)


class _Together:
    """Several syncs, of which only the whole is of interest.

    Args:
        count: how many.
        done: told once all have ended, with the first error.
    """

    def __init__(self, count: int, done: Done) -> None:
        self._left = count
        self._done = done
        self._error: BaseException | None = None

    def ended(self, error: BaseException | None) -> None:
        """One of them has ended."""
        self._left -= 1
        self._error = self._error or error
        if not self._left:
            self._done(self._error)


def size_of(path: str) -> int | None:
    """Bytes of a file, or None where there is none. Asked whenever an object is opened: a `Path` would cost more than the answer."""
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return None


def sync_file(path: Path) -> None:
    """Make a file durable. Never an object's own main file: closing it would drop the lock of its owner."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_log(path: Path) -> None:
    """Make durable what a dead owner may have left unsynced in the log of the file at `path`. Waits for the disk."""
    try:
        sync_file(Path(f"{path}-wal"))
    except FileNotFoundError:
        return  # who closed the file has synced all of it; or it has its first commit only, which nobody has been told of
    sync_directory(path.parent)


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
    fd = _open_directory(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
