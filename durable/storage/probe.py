"""Proof that SQLite's locks exclude other processes on a data directory.

A second handle in the same process would prove nothing, so the question is asked from a child.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import apsw

from durable.errors import StorageError

_CHILD = """
import sys, apsw
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READWRITE)
try:
    connection.execute("BEGIN IMMEDIATE")
except apsw.BusyError:
    sys.exit(42)
sys.exit(0)
"""


def prove_locks_exclude(directory: Path) -> None:
    """Raise StorageError unless a file that is locked here cannot be written by another process."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f".lock-probe-{os.getpid()}.sqlite3"
    try:
        connection = apsw.Connection(str(path))
        try:
            connection.execute(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; CREATE TABLE probe (x); BEGIN IMMEDIATE"
            ).fetchall()
            answer = subprocess.run([sys.executable, "-c", _CHILD, str(path)], check=False, timeout=30)
        finally:
            connection.close(True)
    finally:
        for leftover in (path, Path(f"{path}-wal"), Path(f"{path}-journal"), Path(f"{path}-shm")):
            with suppress(FileNotFoundError):
                leftover.unlink()
    if answer.returncode != 42:
        raise StorageError(
            f"SQLite's locks do not exclude other processes in {directory}: objects there could have two owners. "
            "Put DATA_DIR on a local file system."
        )
