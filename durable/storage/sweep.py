"""Finds alarms in the files of objects that sleep, when the index that should know them may not: `python -m durable.storage.sweep ROOT`.

It runs in a process of its own, since closing a file in the process of its owner would drop the owner's lock, and must
neither lock files nor make any beside them: SQLite reads them as "immutable". A file with a log beside it belongs to
an active object, or to a dead owner, and cannot be read so: such an object is reported as to be looked at.

Each line of its output is `CLASS:ID MS`: when the alarm is due, in milliseconds since the epoch, or 0: look at it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import apsw

LOOK = 0
AT_ONCE = 50  # files between two pauses
PAUSE = 0.002  # seconds; some 5,000 files a second remain possible, a million in well under five minutes
SUFFIX = ".sqlite3"

_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX


def find_alarms(root: Path) -> Iterator[tuple[str, int]]:
    """(class:id, when due or LOOK) of all objects below `root` that have an alarm, or may have one."""
    seen = 0
    for folder in sorted(root.glob("*/??")):
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
        for name in names:
            at = _alarm_in(folder / name)
            if at is not None:
                yield f"{folder.parent.name}:{name.removesuffix(SUFFIX)}", at
            seen += 1
            if seen % AT_ONCE == 0:
                time.sleep(PAUSE)


def _alarm_in(path: Path) -> int | None:
    """When the alarm in a file is due, LOOK if it cannot be told from here, None when there is none."""
    if _has_log(path):
        return LOOK
    at: int | None = None
    try:
        with apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=_FLAGS) as connection:
            row = connection.execute("SELECT alarm FROM _do_meta").fetchone()
            at = row[0] if row else None
        connection.close()
    except apsw.Error as error:
        if not _has_log(path) and path.exists():
            print(f"{path} cannot be read: {error}", file=sys.stderr)  # noqa: T201
    return LOOK if _has_log(path) else at  # somebody may have woken it meanwhile


def _has_log(path: Path) -> bool:
    try:
        return os.stat(f"{path}-wal").st_size > 0  # noqa: PTH116 - a path would be made a million times
    except FileNotFoundError:
        return False


def main(root: str) -> None:
    """Print what is found, giving way to everybody else."""
    os.nice(10)
    for reference, at in find_alarms(Path(root)):
        print(reference, at)  # noqa: T201
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
