"""A clock that stands still until the test moves it."""

from __future__ import annotations


class LocalClock:
    """Wall time and elapsed time of a test's objects; both move together.

    Args:
        start: first wall time, in ms since the epoch.

    Attributes:
        step: seconds that pass at every look at the elapsed time: lets a statement run past its time limit.
    """

    def __init__(self, start: int = 1_800_000_000_000) -> None:
        self._now = float(start)
        self._elapsed = 0.0
        self.step = 0.0

    def now(self) -> int:
        """Milliseconds since the epoch, as `ctx.now()` gives them."""
        return int(self._now)

    def elapsed(self) -> float:
        """Seconds since the test began; time limits are measured on it."""
        if self.step:
            self.advance(self.step)
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass unnoticed: what times out or falls due does so with the next `LocalObjects.advance`.

        A negative number sets the wall clock back, as an operator might; elapsed time never goes back.
        """
        self._now += seconds * 1000
        self._elapsed += max(0.0, seconds)

    def advance_ms(self, ms: int) -> None:
        """Let so many milliseconds pass."""
        self.advance(ms / 1000)
