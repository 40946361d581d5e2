"""How long to wait before a process that ended is started again: at once the first time, longer in a crash loop."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.25
LONGEST_DELAY = 15.0
#: A process that lived this many seconds has proved itself: its next end is a first one.
PROVEN_AFTER = 5.0


@dataclass(slots=True)
class RestartBackoff:
    """The recent failures of one process, and the delay that follows from them."""

    failures: int = 0

    def after_exit(self, *, lived: float, failed: bool) -> float:
        """Seconds to wait, for a process that ended after ``lived`` seconds; one that ended well is not held back."""
        if lived >= PROVEN_AFTER:
            self.failures = 0
        if not failed:
            return 0.0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures - 2, 10))
