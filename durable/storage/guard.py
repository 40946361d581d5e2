"""Who is asking: the runtime, whose statements pass, or the object's class, whose are checked and bounded in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import apsw

from .authorizer import authorize, restrict

PROGRESS_STEPS = 20_000  # virtual machine steps between two looks at the clock: well under a millisecond
MAX_VALUE_BYTES = 4 * 1024 * 1024


class Watcher(Protocol):
    """Is asked about a connection's statements."""

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None, /
    ) -> int:
        """SQLite's question about one step of a statement: SQLITE_OK or SQLITE_DENY."""

    def is_overdue(self) -> bool:
        """Whether the statement that runs has to end now."""


def set_up(connection: apsw.Connection, watcher: Watcher) -> None:
    """Make a connection one for an object's own SQL."""
    restrict(connection)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.authorizer = watcher.authorize
    connection.set_progress_handler(watcher.is_overdue, PROGRESS_STEPS)


class Guard:
    """Watches over the statements of one object's database.

    Args:
        clock: seconds, growing; bounds how long a statement may run.
        statement_timeout: seconds.

    Attributes:
        trusts: the runtime is asking; outside `trusted` set by `Database` alone, for one statement.
    """

    def __init__(self, clock: Callable[[], float], statement_timeout: float) -> None:
        self._clock = clock
        self._statement_timeout = statement_timeout
        self._deadline = float("inf")
        self.trusts = False

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Within this block everything passes and no deadline runs."""
        before, deadline = self.trusts, self._deadline
        self.trusts, self._deadline = True, float("inf")
        try:
            yield
        finally:
            self.trusts, self._deadline = before, deadline

    def start_deadline(self) -> None:
        """From now on a statement of the class may run for `statement_timeout` seconds."""
        self._deadline = self._clock() + self._statement_timeout

    def authorize(
        self, action: int, first: str | None, second: str | None, _database: str | None, inner: str | None, /
    ) -> int:
        """See `Watcher`."""
        return apsw.SQLITE_OK if self.trusts else authorize(action, first, second, inner)

    def is_overdue(self) -> bool:
        """See `Watcher`."""
        return not self.trusts and self._clock() > self._deadline
