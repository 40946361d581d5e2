"""A copy is read only when it is whole: what changed or broke meanwhile is noticed."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from durable.errors import StorageError, UnavailableError
from durable.inspector import copies
from durable.inspector.copies import Copy, read_copy

MAKER = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("CREATE TABLE _do_meta (epoch)")
db.execute("INSERT INTO _do_meta VALUES (1)")
db.execute("CREATE TABLE pair (a, b)")
db.execute("INSERT INTO pair VALUES (1, 1)")
os._exit(0)
"""
WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
print("writing", flush=True)
while True:
    db.execute("UPDATE pair SET a = a + 1, b = b + 1")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database in WAL mode with a log that is not yet in the main file, as a killed owner leaves it."""
    path = tmp_path / "object.sqlite3"
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            MAKER,
            path,
        ],
        check=True,
    )
    assert made.returncode == 0
    assert path.with_name("object.sqlite3-wal").stat().st_size > 0
    return path


def pair(query: Copy) -> tuple[int, int]:
    return tuple(query("SELECT a, b FROM pair")[0])  # type: ignore[return-value]


@pytest.mark.parametrize("apart", [False, True])
def test_the_log_is_part_of_the_copy_and_nothing_is_left_behind(path: Path, apart: bool) -> None:
    before = sorted(path.parent.iterdir())
    assert read_copy(path, pair, apart=apart) == (1, 1)
    assert sorted(path.parent.iterdir()) == before


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert read_copy(tmp_path / "nothing.sqlite3", pair) is None
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_written_all_the_time_is_never_shown_torn(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        try:
            for _ in range(5):
                try:
                    found = read_copy(path, pair)
                except (UnavailableError, StorageError):
                    continue
                assert found is not None
                assert found[0] == found[1]
        finally:
            writer.kill()


def test_a_copy_taken_apart_leaves_the_owners_lock_in_place(path: Path) -> None:
    owner = apsw.Connection(str(path))
    owner.execute("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").fetchall()
    assert read_copy(path, pair, apart=True) == (1, 1)
    probe = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM pair').fetchall()"
    tried = subprocess.run([sys.executable, "-c", probe, path], capture_output=True, text=True, check=False)
    assert "locked" in tried.stderr
    owner.close()


def test_a_query_that_takes_too_long_is_interrupted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "READ_SECONDS", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StorageError, match="longer than"):
        read_copy(path, lambda query: query(endless))


def test_a_large_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_BYTES", 100)
    with pytest.raises(StorageError, match="more than 100 bytes"):
        read_copy(path, pair)


def test_a_damaged_file_is_named(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM pair").fetchall()  # closing brings the log into the main file
    content = bytearray(path.read_bytes())
    content[100:] = b"\x5a" * (len(content) - 100)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        read_copy(path, pair)
