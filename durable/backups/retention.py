"""Which copies of an object may go: the newest ones stay, and for a while the last one of each day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar


class Dated(Protocol):
    """A copy, as far as its age matters."""

    @property
    def at(self) -> datetime:
        """When it was made."""


C = TypeVar("C", bound=Dated)


def outdated(copies: Sequence[C], now: datetime, *, newest: int, days: timedelta) -> list[C]:
    """The copies that need not be kept.

    Args:
        copies: of one object, newest first.
        newest: how many of the newest stay, however old they are.
        days: how long the last copy of each day (UTC) stays.
    """
    seen = set()
    gone = []
    for index, copy in enumerate(copies):
        day = copy.at.astimezone(UTC).date()
        last_of_its_day = day not in seen
        seen.add(day)
        if index >= newest and not (last_of_its_day and copy.at >= now - days):
            gone.append(copy)
    return gone
