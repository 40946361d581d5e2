"""Commits that a test can hold back or let fail: the syncs that make them durable go through here."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from durable.storage.durability import Done, Job, SyncPool
from durable.storage.kernel_sync import KernelSyncs


class Commits:
    """When commits become durable.

    What an event wants done leaves when its commit is durable. Between `hold` and `release` nothing becomes durable, so
    nothing leaves.

    Attributes:
        syncs: how often the disk has been asked to make something durable.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self._holding = False
        self._failure: OSError | None = None
        self._held: list[tuple[SyncPool, Callable[[], None]]] = []
        self._arrived = asyncio.Event()

    def hold(self) -> None:
        """From now on nothing becomes durable."""
        self._holding = True

    def release(self) -> None:
        """Let everything that was held become durable, and what comes later at once."""
        self._holding = False
        self._arrived.clear()
        held, self._held = self._held, []
        for _, go in held:
            go()

    @property
    def holding(self) -> bool:
        """Whether commits are being held back."""
        return self._holding

    def pass_through(self) -> None:
        """Keep what is held, but hold nothing more."""
        self._holding = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this block nothing becomes durable."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def fail(self, error: OSError | None = None) -> None:
        """Let the next sync fail, by default with an input/output error; if one is held, that one when it is released."""
        self._failure = error or OSError(errno.EIO, "the test lets this sync fail")

    @contextmanager
    def failing(self, error: OSError | None = None) -> Iterator[None]:
        """Within this block the next sync fails, if there is one."""
        self.fail(error)
        try:
            yield
        finally:
            self._failure = None

    async def waiting(self, seconds: float = 5.0) -> None:
        """Return when a held commit waits for the disk. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._arrived.wait()

    def admit(self, pool: SyncPool, run: Callable[[], None], fail: Callable[[OSError], None]) -> None:
        """A sync is asked for: run it now or later, or let it fail."""
        self.syncs += 1

        def go() -> None:
            failure, self._failure = self._failure, None
            if failure is None:
                run()
            else:
                fail(failure)

        if self._holding:
            self._held.append((pool, go))
            self._arrived.set()
        else:
            go()

    def drop(self, pool: SyncPool) -> None:
        """A worker has ended: what it asked for does not happen any more."""
        self._held = [held for held in self._held if held[0] is not pool]
        if not self._held:
            self._arrived.clear()


class GatedPool(SyncPool):
    """Syncs behind a test's `Commits`."""

    def __init__(
        self,
        commits: Commits,
        threads: int,
        call_soon: Callable[..., object],
        kernel: KernelSyncs | None = None,
    ) -> None:
        super().__init__(threads, call_soon, kernel)
        self._commits = commits

    def submit(self, job: Job, done: Done) -> None:
        """Run the sync when the test allows it."""
        self._commits.admit(
            self, lambda: super(GatedPool, self).submit(job, done), lambda error: self.tell(done, error)
        )

    def fdatasync(self, descriptor: int, done: Done) -> None:
        """Sync when the test allows it."""
        self._commits.admit(
            self,
            lambda: super(GatedPool, self).fdatasync(descriptor, done),
            lambda error: self.tell(done, error),
        )

    def fsync_named(self, files: list[int], folder: Path, done: Done) -> None:
        """Sync when the test allows it."""
        self._commits.admit(
            self,
            lambda: super(GatedPool, self).fsync_named(files, folder, done),
            lambda error: self.tell(done, error),
        )

    def close(self) -> None:
        """End the threads; what is still held never happens."""
        self._commits.drop(self)
        super().close()
