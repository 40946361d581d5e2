"""What a copy of an object holds, found out by opening it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from durable.errors import StorageError


class Contents(NamedTuple):
    """Whose a copy is, and the number of its last commit."""

    class_key: str
    id: str
    name: str | None
    seq: int


class BadCopyError(StorageError):
    """A file is no sound copy of an object."""

    code = "bad_copy"
    delivered = "no"


def examine(file: Path, *, thoroughly: bool) -> Contents:
    """Open a copy and check it, `thoroughly` its indexes too. Waits for the disk. Raises BadCopyError."""
    check = "integrity_check" if thoroughly else "quick_check"
    try:
        with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as copy:
            found: Any = copy.execute(f"PRAGMA {check}(1)").fetchall()
            if found != [("ok",)]:
                raise BadCopyError(f"the copy is damaged: {found[0][0] if found else 'no answer'}")
            rows: Any = copy.execute("SELECT class_key, id, name, seq FROM _do_meta").fetchall()
    except apsw.Error as error:
        raise BadCopyError(f"the copy is damaged: {error}") from error
    if len(rows) != 1:
        raise BadCopyError("the copy does not say whose it is")
    return Contents(*rows[0])
