"""Until when a worker may act on its session: judged on its own clock, from the moment it sent the renewal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LeaseWindow:
    """The time in which outputs may be released.

    Redis starts the session's life when the renewal arrives, which is after it was sent: counting from the sending is
    therefore on the safe side, whatever the network does. Clocks of two machines are never compared.

    Args:
        ttl: life of the session, in seconds.
        margin: seconds before its end in which nothing is released any more.
    """

    ttl: float
    margin: float
    until: float = float("-inf")

    def renewed(self, sent_at: float) -> None:
        """A renewal that was sent at `sent_at` has succeeded."""
        self.until = max(self.until, sent_at + self.ttl - self.margin)

    def close(self) -> None:
        """The session is over."""
        self.until = float("-inf")

    def open_at(self, now: float) -> bool:
        """Whether an output may be released at `now`."""
        return now < self.until
