"""A file that the disk has refused to sync is replaced by a whole new one before anybody uses it again.

After a failed sync nobody knows what of the file is on disk: the system may have dropped what it could not write, and
syncing the same file again would succeed without meaning anything. So the file is marked, and whoever opens it next reads
all that it holds into a new one, syncs that, and puts it in the old one's place.

Steps, each of which may be the last before a power cut:
1. the mark `-unsynced`, beside the file;
2. the new content under the name `-whole`, complete and on disk;
3. the old log is removed, `-whole` takes the file's name, the mark goes. All with the old file's lock held.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from .durability import size_of, sync_directory, sync_file
from .schema import WAL_MODE


def mark_unsynced(path: Path) -> None:
    """Have the file at `path` rewritten by whoever opens it next. Raises OSError where the disk does not take the mark."""
    os.close(os.open(_mark(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sync_directory(path.parent)


def is_marked(path: Path | str) -> bool:
    """Whether the file has to be rewritten before it is used."""
    return size_of(f"{path}-unsynced") is not None


def forget_mark(path: Path) -> None:
    """If the file is gone for good, what was to be done about it must not be done to another of its name."""
    if not is_marked(path) or path.exists():
        return
    for suffix in ("-draft", "-whole", "-unsynced"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def replace_marked(path: Path, write: Callable[[Path], None]) -> None:
    """Put a new file in the place of the one at `path`, whose lock the caller holds. Raises OSError; call it again then.

    Args:
        write: writes the whole content of the file and its log to a new file at the path it is given.
    """
    draft, whole = Path(f"{path}-draft"), Path(f"{path}-whole")
    if not whole.exists():
        try:
            draft.unlink(missing_ok=True)
            write(draft)
            sync_file(draft)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        draft.rename(whole)
        sync_directory(path.parent)
    Path(f"{path}-wal").unlink(missing_ok=True)
    whole.rename(path)
    sync_directory(path.parent)
    _mark(path).unlink(missing_ok=True)


def copy_whole(source: apsw.Connection, path: Path) -> None:
    """Write a database, its log included, to a new file without a log."""
    with closing(apsw.Connection(str(path))) as copy:
        path.chmod(0o600)
        copy.execute("PRAGMA synchronous=OFF").fetchall()
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
    with path.open("r+b") as file:
        file.seek(18)
        file.write(WAL_MODE)


def _mark(path: Path) -> Path:
    return Path(f"{path}-unsynced")
