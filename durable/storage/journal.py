"""One file in which a worker makes the commits of many objects durable with one sync.

Each object's commits are in its own write-ahead log already; what costs is to sync each of them. Where several wait for the
disk at once, the pages that they have written are appended to the worker's journal, which is synced for all of them. The
objects' own logs are synced later, in the background, and then the journal's file is no longer needed. An object that
waits alone is synced by its own log, which costs the same and less to prepare.

While the machine runs, nobody reads a journal: what a dead worker has committed is in the objects' logs, in the system's
memory. After a power cut it is replayed before any object is opened (see `durable.storage.replay`).

Invariants:
- A journal's file is deleted only when everything in it is durable in the objects' own files.
- A record holds all pages that an object's commits `first + 1` to `last` have written, as they are after `last`, where
  `first` is durable: in the object's files, or by the record before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path

from .durability import SyncPool, sync_log
from .records import framed
from .rewrite import is_marked
from .segment import Log, Segment

logger = logging.getLogger(__name__)

FOLDER = ".journal"
SUFFIX = ".journal"
MOST_BYTES = 64 * 1024 * 1024  # of one file; then another one is begun
PAUSE_SECONDS = 60.0  # after the disk has refused a record
AT_ONCE = 2  # objects' logs that are synced in the background, so that others need not wait behind them


class Journal:
    """The journal of one worker.

    Args:
        root: directory of the objects' files.
        owner: the worker's id.
        pool: where syncs run.
    """

    def __init__(self, root: Path, owner: str, pool: SyncPool) -> None:
        self.root = root
        self._folder = root / FOLDER
        self._owner = owner
        self._pool = pool
        self._waiting: dict[Log, None] = {}
        self._running = False
        self._alone = 0  # logs that sync by themselves at this moment
        self._number = 0
        self._segment: Segment | None = None
        self._retired: list[Segment] = []
        self._to_settle: deque[Path] = deque()
        self._settling: set[Path] = set()
        self._paused_until = 0.0
        self._is_over = False
        self._lock = threading.Lock()  # objects are closed in threads

    # -- from the objects' logs

    @property
    def is_worth_it(self) -> bool:
        """Whether others wait for the disk, so that a sync can be shared."""
        return (self._running or self._alone > 0) and time.monotonic() >= self._paused_until

    def add(self, log: Log) -> None:
        """Make what a log has written durable, together with what others have; it is told by `journaled`."""
        self._waiting[log] = None
        if not self._running:
            self._start()

    def begins(self) -> None:
        """A log begins a sync of its own."""
        self._alone += 1

    def ended(self) -> None:
        """A log's own sync has ended."""
        self._alone -= 1

    def settled(self, path: Path) -> None:
        """Everything of an object is durable in its own files. From any thread."""
        with self._lock:
            for segment in self._segments():
                segment.logs.pop(path, None)
            self._settling.discard(path)
        self._soon_settle_more()

    def abandoned(self, path: Path) -> None:
        """An object has been let go without its file being synced. From any thread."""
        with self._lock:
            for segment in self._segments():
                if path in segment.logs:
                    segment.logs[path] = None
            self._settling.discard(path)
        self._soon_settle_more()

    # -- one sync for all

    def _start(self) -> None:
        logs, self._waiting = list(self._waiting), {}
        parts: list[tuple[Log, int]] = []
        blob = bytearray()
        self._running = True
        for log in logs:
            part = log.part()
            if part is None:
                log.sync_itself()
            else:
                parts.append((log, part.last))
                blob += framed(part)
        if not parts:
            self._running = False
            return
        segment = self._segment
        if segment is None:
            self._number += 1
            name = f"{self._owner}.{self._number}{SUFFIX}"
            segment = self._segment = Segment(self._folder / name)
        with self._lock:
            for log, _ in parts:
                segment.logs[log.path] = log
        finished = partial(self._finished, segment, parts)
        descriptor = segment.write(blob)
        if descriptor is not None:
            self._pool.fdatasync(descriptor, finished)
        else:
            self._pool.submit(lambda: segment.append(blob), finished)

    def _finished(self, segment: Segment, parts: list[tuple[Log, int]], error: BaseException | None) -> None:
        if self._is_over:
            return  # so have the objects that would have to be told
        if error is not None:
            logger.warning("%s could not be written, each object syncs its own log: %s", segment.path, error)
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._retire()
            for log, _ in parts:
                log.sync_itself()
        else:
            for log, last in parts:
                log.journaled(last)
            if segment.size > MOST_BYTES:
                self._retire()
        self._running = False
        if self._waiting:
            self._start()

    # -- files that are full

    def _segments(self) -> list[Segment]:
        return self._retired if self._segment is None else [*self._retired, self._segment]

    def _retire(self) -> None:
        """Begin another file with the next record, and have the objects in this one synced."""
        with self._lock:
            if self._segment is None:
                return
            self._retired.append(self._segment)
            self._to_settle += self._segment.logs
            self._segment = None
        self._settle_more()

    def _soon_settle_more(self) -> None:
        if self._retired:
            self._pool.submit(_nothing, lambda _: self._settle_more())

    def _settle_more(self) -> None:
        """Sync the next objects of retired files, and delete the files of which everything is durable elsewhere."""
        due: list[tuple[Path, Log | None]] = []
        with self._lock:
            for segment in [one for one in self._retired if not one.logs]:
                self._retired.remove(segment)
                segment.delete()
            while self._to_settle and len(self._settling) < AT_ONCE:
                path = self._to_settle.popleft()
                holding = [one for one in self._retired if path in one.logs]
                if holding:
                    self._settling.add(path)
                    due.append((path, holding[-1].logs[path]))
        for path, log in due:
            if log is not None:
                log.settle()
            else:
                self._pool.submit(partial(settle_left, path), partial(self._left_settled, path))

    def _left_settled(self, path: Path, error: BaseException | None) -> None:
        if error is None:
            self.settled(path)
        else:  # what is here of it stays, until another worker starts
            self.abandoned(path)

    def close(self) -> None:
        """End; the objects have been closed. What is not settled stays on disk, for whoever starts next."""
        self._is_over = True
        with self._lock:
            for segment in self._segments():
                if segment.logs:
                    segment.close()
                else:
                    segment.delete()
            self._retired, self._segment = [], None

    def drop(self) -> None:
        """Let go of the files as a killed process would."""
        self._is_over = True
        with self._lock:
            for segment in self._segments():
                segment.close()
            self._retired, self._segment = [], None


def settle_left(path: Path) -> None:
    """Make durable what somebody who is gone has left in an object's log. Raises OSError where the disk has refused it before."""
    if is_marked(path):
        raise OSError(f"{path} waits to be rewritten")
    sync_log(path)


def _nothing() -> None:
    """Work for a thread that has only to call back."""
