"""Gives memory back to the system that objects have left: C's allocator keeps it otherwise, for good."""

from __future__ import annotations

from collections.abc import Callable

from .memory import give_back

OBJECTS = 100  # that have left some, 5 to 10 MB: fewer are not worth looking through the whole heap
SECONDS = 5.0  # between two times; each takes some milliseconds, in a thread
URGENT_SECONDS = 0.5  # when memory is short


class FreedMemory:
    """Counts objects that have left memory, and has it given back now and then.

    Args:
        in_thread: runs a function off the loop, soon.
    """

    def __init__(self, in_thread: Callable[[Callable[[], None]], object]) -> None:
        self._in_thread = in_thread
        self._count = 0
        self._last = float("-inf")

    def noted(self) -> None:
        """An object has been closed."""
        self._count += 1

    def look(self, now: float, *, urgent: bool = False) -> None:
        """Give memory back if it is worth it, or short, and time for it."""
        since = now - self._last
        worth_it = self._count >= OBJECTS and since >= SECONDS
        if worth_it or (urgent and since >= URGENT_SECONDS):
            self._count, self._last = 0, now
            self._in_thread(give_back)
