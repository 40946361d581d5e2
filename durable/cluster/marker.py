"""What a worker runs at this moment, in a small shared file that survives it: so the next owner knows what it died of.

The file is mapped into memory, so marking costs no system call. Its lock tells whether the process lives. A worker that
ends well removes it; of one that died it says in the middle of which event that was, or nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress
from pathlib import Path

SIZE = 4096
KEPT = 64  # files of dead workers
_LENGTH = 2


class RunningMarker:
    """This process's file among those of others.

    Args:
        directory: private, on this machine, shared by all workers.
        name: of this process's file; nobody else's.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._path = directory / f"{name}.running"
        draft = directory / f"{name}.starting"  # unlocked, it would look like a dead worker's
        self._fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.ftruncate(self._fd, SIZE)
        draft.rename(self._path)
        self._shared = mmap.mmap(self._fd, SIZE)
        self._forget_old()

    def set(self, what: bytes) -> None:
        """This runs now."""
        what = what[: SIZE - _LENGTH]
        self._shared[_LENGTH : _LENGTH + len(what)] = what
        self._shared[:_LENGTH] = len(what).to_bytes(_LENGTH, "big")

    def clear(self) -> None:
        """Nothing runs now."""
        self._shared[:_LENGTH] = b"\0\0"

    def deaths(self, what: bytes) -> int:
        """How many workers have died in the middle of `what`."""
        return sum(found == what[: SIZE - _LENGTH] for _, found in self._dead())

    def close(self) -> None:
        """This process ends well. The mapping stays: what is cancelled at the very end may still mark its last step."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _dead(self) -> list[tuple[Path, bytes]]:
        others = (path for path in self._directory.glob("*.running") if path != self._path)
        return [(path, content) for path in others if (content := _of_dead(path)) is not None]

    def _forget_old(self) -> None:
        dead = self._dead()
        telling = []
        for path, content in dead:
            if content:
                telling.append(path)
            else:
                path.unlink(missing_ok=True)
        telling.sort(key=_age, reverse=True)
        for path in telling[KEPT:]:
            path.unlink(missing_ok=True)


def _of_dead(path: Path) -> bytes | None:
    """What a worker's file says, when that worker is dead."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            data = os.read(fd, SIZE)
            size = int.from_bytes(data[:_LENGTH], "big")
            return data[_LENGTH : _LENGTH + size]
        return None
    finally:
        os.close(fd)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
