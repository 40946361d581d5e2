"""SQLite's settings for a whole process."""

from __future__ import annotations

import os
from pathlib import Path

import apsw


def prepare(temporary: Path) -> None:
    """Before the process's first connection; raises apsw.MisuseError later.

    SQLite allocates what it needs only ("lookaside" takes 48 KiB a connection, and is no faster here). What is too large to be
    kept in memory goes to `temporary`, without a name: a new object's first event, before its commit makes the file.
    """
    os.environ["SQLITE_TMPDIR"] = str(temporary)
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, 0, 0)
    apsw.initialize()
