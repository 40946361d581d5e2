"""The database that every object begins with: the runtime's tables, and nothing in them."""

from __future__ import annotations

import threading

import apsw

from .schema import SCHEMA

_lock = threading.Lock()  # a large object is opened in a thread
_made: list[apsw.Connection] = []


def fill(connection: apsw.Connection) -> None:
    """Give a new database the runtime's tables. Copying them takes a thirtieth of what the statements would."""
    with _lock:
        if not _made:
            source = apsw.Connection(":memory:")
            source.execute(SCHEMA)
            _made.append(source)
        with connection.backup("main", _made[0], "main") as copy:
            copy.step(-1)
