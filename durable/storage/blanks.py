"""Databases in memory in which objects begin, lent to one after another.

To make one, with its tables and its prepared statements, takes fifteen times as long as what a first event does in it. So all that an object
does in one is a single transaction, which is never committed but taken back: its first commit copies what is there into a file.
"""

from __future__ import annotations

from typing import Any

import apsw

from .guard import Watcher, set_up
from .template import fill

MOST_SPARE = 8  # kept for the next objects, of some 100 KiB each


class Blank:
    """A database with the runtime's tables and nothing in them, and who has it.

    Attributes:
        guard: whose statements run in it.
        max_pages: the bound that it has, where one was set.
    """

    def __init__(self, guard: Watcher) -> None:
        self.guard = guard
        self.max_pages: int | None = None
        self.connection = apsw.Connection("")  # what is too large for memory goes to a temporary file
        fill(self.connection)
        set_up(self.connection, self)
        self.cursor = self.connection.cursor()

    def authorize(self, *question: Any) -> int:
        """See `Watcher`. SQLite would prepare every statement anew if it were told of another guard."""
        return self.guard.authorize(*question)

    def is_overdue(self) -> bool:
        """See `Watcher`."""
        return self.guard.is_overdue()


_spare: list[Blank] = []


def borrow(guard: Watcher) -> Blank:
    """One for an object, from any thread."""
    try:
        blank = _spare.pop()
    except IndexError:
        return Blank(guard)
    blank.guard = guard
    return blank


def give_back(blank: Blank) -> None:
    """Undo all that was done in it. No statement may be under way, and the guard lets this one pass."""
    connection = blank.connection
    try:
        if connection.in_transaction:
            blank.cursor.execute("ROLLBACK")
        spilled, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_SPILL)  # it has a temporary file since
        is_good = not spilled
    except apsw.Error:  # nobody will miss it
        is_good = False
    if is_good and len(_spare) < MOST_SPARE:
        _spare.append(blank)
    else:
        connection.close(True)
