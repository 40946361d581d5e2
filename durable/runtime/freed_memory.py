"""Gives memory back to the system that evicted objects have left: C's allocator keeps it otherwise, for good."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

OBJECTS = 200  # that have been closed, some 20 MB: fewer are not worth looking through the whole heap
SECONDS = 5.0  # between two times; each takes some milliseconds, in a thread


def give_back() -> None:
    """Give free pages back, where C's library has a function for that (glibc's does)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class FreedMemory:
    """Counts closed objects, and has memory given back now and then.

    Args:
        in_thread: runs a function off the loop, soon.
    """

    def __init__(self, in_thread: Callable[[Callable[[], None]], object]) -> None:
        self._in_thread = in_thread
        self._closed = 0
        self._next = 0.0

    def closed(self) -> None:
        """An object has been closed."""
        self._closed += 1

    def look(self, now: float) -> None:
        """Give memory back if it is worth it, and time for it."""
        if self._closed >= OBJECTS and now >= self._next:
            self._closed, self._next = 0, now + SECONDS
            self._in_thread(give_back)
