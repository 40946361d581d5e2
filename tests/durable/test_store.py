"""One object's file: how it comes to be, is closed, and goes; and when its commits are durable."""

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from durable.errors import DamagedFileError, StorageError
from durable.identity import id_from_name
from durable.storage.database import SMALL_CACHE_BYTES
from durable.storage.durability import SyncPool
from durable.storage.failures import BusyFileError
from durable.storage.probe import prove_locks_exclude
from durable.storage.store import Claim, Store, object_path
from durable.storage.template import fill
from durable.storage.wal import WalSync
from tests.durable.conftest import open_store

PATH = Path("Lab")


def file_of(root: Path) -> Path:
    return object_path(root, id_from_name("Lab", "x"))


def test_I6_reading_makes_no_file_and_writing_does(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    assert store.kv.get("key") is None
    assert not store.has_file
    assert not (tmp_path / PATH).exists()
    store.kv.put_many({"key": 1})
    store.commit()
    assert store.has_file
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert file_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert not list(file_of(tmp_path).parent.glob("*-shm"))
    store.abandon()


def test_I6_a_first_write_that_is_rolled_back_stores_nothing(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.transactions.rollback()
    assert store.kv.get("key") is None
    store.close()
    assert not file_of(tmp_path).exists()


def test_G7_commits_are_numbered_without_gaps(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    for number in range(1, 4):
        store.kv.put_many({"key": number})
        assert store.commit() == number
    store.kv.put_many({"key": 9})
    store.transactions.rollback()
    store.kv.put_many({"key": 4})
    assert store.commit() == 4
    assert store.metadata.identity()["seq"] == 4
    store.abandon()


def test_G7_a_file_keeps_who_it_is(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool, Claim(3, "w"))
    store.kv.put_many({"key": 1})
    store.commit()
    known = store.metadata.identity()
    assert (known["class_key"], known["name"], known["epoch"], known["incarnation"]) == ("Lab", "x", 3, "w")
    store.kv.put_many({"key": 2})
    store.commit()
    store.close()
    assert Path(f"{file_of(tmp_path)}-wal").stat().st_size == 0  # closing leaves everything in one file


def synchronous(store: Store) -> str:
    return ("OFF", "NORMAL", "FULL")[store.database.row("PRAGMA synchronous")[0]]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_only_the_first_transaction_in_an_empty_log_leaves_the_header_to_our_own_sync(
    tmp_path: Path, pool: SyncPool, end: str
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 0})
    store.commit()  # makes the file; there is no log
    for expected in ("OFF", "NORMAL"):
        store.kv.put_many({"key": 1})
        assert synchronous(store) == expected
        store.commit() if end == "commit" else store.transactions.rollback()
        assert synchronous(store) == "NORMAL"
    store.kv.put_many({"key": 2})
    store.commit()
    store.close()
    again = open_store(tmp_path, pool)
    assert synchronous(again) == "NORMAL"
    again.kv.put_many({"key": 3})
    assert synchronous(again) == "OFF"  # the log was emptied
    again.transactions.rollback()
    again.abandon()


def test_G7_a_log_that_a_dead_owner_left_gets_its_header_synced_by_SQLite(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = open_store(tmp_path, pool)
    for _ in range(2):
        store.kv.put_many({"key": 1})
        store.commit()
    store.database.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    store.abandon()
    again = open_store(tmp_path, pool)
    assert again.kv.get("key") == 1
    again.kv.put_many({"key": 2})
    assert synchronous(again) == "NORMAL"
    again.commit()
    again.close()


def test_memory_that_a_burst_has_left_is_given_back_and_nothing_else(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    values = {f"key{number}": bytes(16_384) for number in range(20)}
    for _ in range(2):
        store.kv.put_many(values)
        store.commit()

    def cached() -> int:
        return store.database.connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]

    before = cached()
    store.shrink()
    assert cached() < SMALL_CACHE_BYTES < before
    assert store.kv.get_many(values) == values
    store.close()


def test_S9_after_SQLite_gave_the_transaction_up_the_event_can_only_fail(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"kept": 1})
    store.commit()
    store.database.go_on_in_file()
    store.database.row("PRAGMA max_page_count=40")
    with pytest.raises(StorageError, match="full"):
        store.kv.put_many({f"k{n}": b"x" * 100_000 for n in range(10)})
    if store.transactions.lost():
        with pytest.raises(StorageError):
            store.kv.put_many({"small": 1})
        with pytest.raises(StorageError):
            store.commit()
    store.transactions.rollback()
    assert store.kv.list() == {"kept": 1}
    store.abandon()


def test_S9_a_damaged_file_is_told_as_such(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.commit()
    store.close()
    content = file_of(tmp_path).read_bytes()
    file_of(tmp_path).write_bytes(b"garbage!" * 100 + content[800:])
    with pytest.raises(DamagedFileError):
        open_store(tmp_path, pool)


def test_S9_an_empty_file_that_a_power_cut_has_left_is_no_file(tmp_path: Path, pool: SyncPool) -> None:
    file_of(tmp_path).parent.mkdir(parents=True)
    file_of(tmp_path).touch()
    store = open_store(tmp_path, pool)
    assert not store.has_file
    store.kv.put_many({"key": 1})
    store.commit()
    store.close()
    left = {path.name: path.stat().st_size for path in file_of(tmp_path).parent.iterdir()}
    assert list(left) == [file_of(tmp_path).name]
    store = open_store(tmp_path, pool)
    assert store.kv.get("key") == 1
    store.abandon()


def test_S9_another_objects_file_is_not_taken_for_ones_own(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool, name="other")
    store.kv.put_many({"key": 1})
    store.commit()
    store.close()
    file_of(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    object_path(tmp_path, id_from_name("Lab", "other")).rename(file_of(tmp_path))
    with pytest.raises(DamagedFileError, match="does not name it"):
        open_store(tmp_path, pool)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process may open so many files more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + count + 2, limits[1]))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors by /proc")
def test_S9_a_file_that_cannot_be_made_fails_the_event_and_not_the_next(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    with descriptors_left(0), pytest.raises(StorageError, match="Too many open files"):
        store.commit()
    store.transactions.rollback()
    assert store.kv.get("key") is None
    assert not store.has_file
    store.kv.put_many({"key": 2})
    assert store.commit() == 1
    assert store.kv.get("key") == 2
    store.abandon()


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors by /proc")
@pytest.mark.parametrize("left", [0, 1])
def test_S9_a_file_that_was_made_and_cannot_be_opened_fails_the_event_and_not_the_next(
    tmp_path: Path, pool: SyncPool, left: int
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.commit()
    with descriptors_left(left), pytest.raises(StorageError, match="could not be opened"):
        store.kv.put_many({"key": 2})
    store.transactions.rollback()
    assert store.kv.get("key") == 1
    with pytest.raises(BusyFileError):
        open_store(tmp_path, pool, Claim(2, "another"))
    store.kv.put_many({"key": 3})
    assert store.commit() == 2
    assert store.kv.get("key") == 3
    store.close()


def test_S9_a_file_of_another_format_is_refused(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.commit()
    store.database.go_on_in_file()
    store.database.run("UPDATE _do_meta SET format = 99")
    store.close()
    with pytest.raises(StorageError, match="format 99"):
        open_store(tmp_path, pool)


OLD_FORMAT = """
ALTER TABLE _do_meta DROP COLUMN alarm_number;
ALTER TABLE _do_sockets RENAME COLUMN accepted TO accepted_at;
UPDATE _do_meta SET format = 1;
"""
TABLES = "SELECT sql FROM sqlite_schema WHERE name LIKE '\\_do\\_%' ESCAPE '\\' ORDER BY name"


def tables_of_a_new_file() -> list[Any]:
    with closing(apsw.Connection(":memory:")) as connection:
        fill(connection)
        return connection.execute(TABLES).fetchall()


def test_S9_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.metadata.set_alarm(5)
    store.commit()
    store.database.go_on_in_file()
    store.database.run(OLD_FORMAT)
    store.close()
    store = open_store(tmp_path, pool, Claim(2, "w"))
    assert store.kv.get("key") == 1
    assert store.metadata.get_alarm() == (5, 0, None, 0)
    assert store.database.row("SELECT format FROM _do_meta")[0] == 2
    assert store.database.rows(TABLES) == tables_of_a_new_file()
    store.abandon()


def test_S4_a_file_that_was_being_removed_is_removed_and_made_anew(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.commit()
    store.database.go_on_in_file()
    store.database.run("UPDATE _do_meta SET epoch = 4611686018427387904")  # its owner died while removing it
    store.abandon()
    with pytest.raises(BusyFileError):
        open_store(tmp_path, pool)
    again = open_store(tmp_path, pool)
    assert again.kv.get("key") is None
    again.abandon()


def test_S6_the_runtimes_own_connection_is_the_only_one(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.commit()
    with pytest.raises(apsw.BusyError), apsw.Connection(str(file_of(tmp_path))) as second:
        second.execute("SELECT * FROM _do_meta").fetchall()
    store.abandon()


def test_O8_locks_exclude_here(tmp_path: Path) -> None:
    prove_locks_exclude(tmp_path)
    assert list(tmp_path.iterdir()) == []


class ManualPool(SyncPool):
    """Runs syncs when the test says so."""

    def __init__(self) -> None:
        super().__init__(0, lambda *_: None)
        self.jobs: list[tuple[Callable[[], None], Callable[[Any], None]]] = []
        self.named: list[Path] = []  # folders of which the names were synced

    def submit(self, job: Callable[[], None], done: Callable[[Any], None]) -> None:
        self.jobs.append((job, done))

    def fdatasync(self, descriptor: int, done: Callable[[Any], None]) -> None:
        self.submit(partial(os.fdatasync, descriptor), done)

    def fsync_named(self, files: list[int], folder: Path, done: Callable[[Any], None]) -> None:
        self.named.append(folder)

        def sync() -> None:
            for one in files:
                os.fsync(one)

        self.submit(sync, done)

    def finish(self, error: BaseException | None = None) -> None:
        """Let the oldest sync end."""
        job, done = self.jobs.pop(0)
        if error is None:
            job()
        done(error)


class Synced:
    """A log of an open file, and what it has told."""

    def __init__(self, path: Path) -> None:
        self.pool, self.told = ManualPool(), []  # type: ignore[var-annotated]
        self.log = self.another(path)

    def another(self, path: Path) -> WalSync:
        Path(f"{path}-wal").touch()
        return WalSync(path, self.pool, 0, self.told.append)


@pytest.fixture
def synced(tmp_path: Path) -> Synced:
    return Synced(tmp_path / "file")


def test_G4_one_sync_covers_every_commit_before_it(synced: Synced) -> None:
    log = synced.log
    for seq in (1, 2, 3):
        log.appended(seq)
    assert len(synced.pool.jobs) == 1
    synced.pool.finish()
    assert log.durable == 1  # the others came while it ran
    synced.pool.finish()
    assert (log.durable, log.idle, synced.pool.jobs) == (3, True, [])
    assert synced.told == [None, None]
    log.close()


def test_G4_a_failed_sync_is_told_once_and_never_tried_again(synced: Synced) -> None:
    error = OSError("disk")
    synced.log.appended(1)
    synced.pool.finish(error)
    assert synced.told == [error]
    synced.log.appended(2)
    assert synced.pool.jobs == []
    assert synced.log.durable == 0


def test_S13_a_noted_commit_waits_for_the_next_sync(synced: Synced) -> None:
    synced.log.note(5)
    assert synced.pool.jobs == []
    synced.log.sync_soon()
    synced.pool.finish()
    assert synced.log.durable == 5
    synced.log.close()


def test_G4_the_first_sync_of_a_new_file_covers_the_file_too(synced: Synced, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    synced.log.sync_main_by(fd)
    synced.log.appended(1)
    synced.pool.finish()
    os.fstat(fd)  # still open: closing it would drop SQLite's lock
    os.close(fd)
    synced.log.close()


def test_G4_a_sync_that_ends_after_its_file_was_let_go_of_counts_for_that_file_only(
    synced: Synced, tmp_path: Path
) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    inode = os.fstat(fd).st_ino
    synced.log.sync_main_by(fd)
    synced.log.appended(1)
    (job, done) = synced.pool.jobs.pop()
    job()
    os.close(fd)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == fd
    done(None)
    assert synced.pool.has_synced(inode)
    assert not synced.pool.has_synced(os.fstat(other).st_ino)
    os.close(other)
    synced.log.close()


def test_G4_the_names_of_a_log_are_synced_with_its_first_sync_only(synced: Synced, tmp_path: Path) -> None:
    for seq in (1, 2):
        synced.log.appended(seq)
        synced.pool.finish()
    assert synced.pool.named == [tmp_path]
    synced.log.close()


def test_a_resting_log_holds_no_descriptor_and_syncs_again(synced: Synced) -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    before = descriptors()
    synced.log.appended(1)
    synced.log.rest()  # not while a sync is under way
    synced.pool.finish()
    assert descriptors() == before + 1
    synced.log.rest()
    assert descriptors() == before
    synced.log.appended(2)
    synced.pool.finish()
    assert synced.log.durable == 2
    synced.log.close()


def test_G4_syncs_run_in_threads_and_are_told_on_the_loop() -> None:
    told: list[Any] = []
    pool = SyncPool(2, lambda done, error: told.append((threading.current_thread().name, done, error)))
    pool.submit(lambda: None, print)
    failing = OSError("disk")

    def fail() -> None:
        raise failing

    pool.submit(fail, repr)
    pool.close()
    assert {(done, error) for _, done, error in told} == {(print, None), (repr, failing)}
    assert all(name.startswith("durable-sync-") for name, *_ in told)
