"""An object's first commit makes its file, and its second write opens it."""

import asyncio
import errno
import itertools
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from durable.errors import FencedError, LostWriteError, StorageError
from durable.identity import id_from_name
from durable.storage import images, new_file
from durable.storage.database import Database
from durable.storage.durability import SyncPool
from durable.storage.failures import BusyFileError
from durable.storage.kernel_sync import KernelSyncs
from durable.storage.new_file import NewFile
from durable.storage.rewrite import is_marked
from durable.storage.store import Claim, Store, object_path
from durable.testing import LocalObjects
from tests.durable.conftest import open_store
from tests.durable.lab import Lab, do, lab, put


def file_of(root: Path) -> Path:
    return object_path(root, id_from_name("Lab", "x"))


def log_of(root: Path) -> Path:
    return Path(f"{file_of(root)}-wal")


def written(root: Path, pool: SyncPool, value: object = 1) -> Store:
    """An object that has written once."""
    store = open_store(root, pool)
    store.kv.put_many({"key": value})
    store.commit()
    return store


def test_I6_the_first_commit_makes_the_file_and_the_next_write_its_log(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = written(tmp_path, pool)
    assert file_of(tmp_path).stat().st_size > 0
    assert not log_of(tmp_path).exists()
    assert store.kv.get("key") == 1
    store.kv.put_many({"key": 2})
    store.commit()
    assert log_of(tmp_path).stat().st_size > 0
    store.close()
    store = open_store(tmp_path, pool)
    assert store.kv.get("key") == 2
    assert store.transactions.seq == 2
    store.abandon()


def test_a_new_file_is_not_opened_for_what_is_asked_of_every_object(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    store.metadata.set_alarm(5)
    store.commit()
    alarm = store.metadata.get_alarm()
    assert alarm is not None
    assert alarm.at == 5
    assert store.metadata.needed_until() is None
    assert store.database.size == file_of(tmp_path).stat().st_size
    assert store.database.most_bytes == 1024**3
    store.shrink()
    assert store.database.new_file is not None
    store.close()
    assert not log_of(tmp_path).exists()


def test_I6_what_was_written_once_is_there_when_its_owner_has_died(tmp_path: Path, pool: SyncPool) -> None:
    written(tmp_path, pool).abandon()
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == 1
    store.abandon()


def test_I6_a_first_event_that_leaves_nothing_leaves_no_file_when_it_sleeps(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.kv.delete("key")
    store.commit()
    store.close()
    assert not file_of(tmp_path).exists()


OPENS = """
import sys, apsw
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READWRITE)
try:
    connection.execute("SELECT * FROM _do_meta").fetchall()
except apsw.BusyError:
    sys.exit(42)
"""


def opens_elsewhere(path: Path) -> bool:
    return subprocess.run([sys.executable, "-c", OPENS, str(path)], check=False).returncode == 0


def test_O4_a_file_that_was_written_once_is_locked_as_any_other(tmp_path: Path, pool: SyncPool) -> None:
    store = written(tmp_path, pool)
    assert not opens_elsewhere(file_of(tmp_path))
    with pytest.raises(BusyFileError):
        open_store(tmp_path, pool, Claim(2, "next"))
    os.close(os.open(file_of(tmp_path), os.O_RDONLY))  # would drop a lock of SQLite's
    assert not opens_elsewhere(file_of(tmp_path))
    store.kv.put_many({"key": 2})  # from here on SQLite's lock
    store.commit()
    assert not opens_elsewhere(file_of(tmp_path))
    store.close()
    assert opens_elsewhere(file_of(tmp_path))


def test_O4_who_has_lost_the_file_before_opening_it_is_fenced(tmp_path: Path, pool: SyncPool) -> None:
    store = written(tmp_path, pool)
    assert store.database.new_file is not None
    store.database.new_file.unlock()
    other = open_store(tmp_path, pool, Claim(2, "other"))
    with pytest.raises(FencedError):  # while it is held
        store.kv.put_many({"key": "late"})
    other.kv.put_many({"key": "other"})
    other.commit()
    other.close()
    store.kv.put_many({"key": "late"})
    with pytest.raises(FencedError):  # and afterwards
        store.commit()
    store.abandon()
    other = open_store(tmp_path, pool, Claim(3, "third"))
    assert other.kv.get("key") == "other"
    other.abandon()


def test_O4_a_lost_lock_is_noticed_when_the_file_cannot_be_opened(
    tmp_path: Path, pool: SyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = written(tmp_path, pool)
    unlock = NewFile.unlock

    def lose(file: NewFile) -> None:
        unlock(file)
        other = open_store(tmp_path, pool, Claim(2, "other"))
        other.close()
        file_of(tmp_path).rename(tmp_path / "gone")

    monkeypatch.setattr(NewFile, "unlock", lose)
    with pytest.raises(FencedError):
        store.kv.put_many({"key": 2})
    store.abandon()


async def test_S5_a_cursor_goes_on_beside_the_first_write_to_a_file(local: LocalObjects) -> None:
    def begin(obj: Lab) -> None:
        obj.ctx.storage.sql.exec("CREATE TABLE item (number INTEGER)")
        for number in range(5):
            obj.ctx.storage.sql.exec("INSERT INTO item VALUES (?)", number)

    def double(obj: Lab) -> list[int]:
        sql, seen = obj.ctx.storage.sql, []
        for (number,) in sql.exec("SELECT number FROM item ORDER BY number"):
            sql.exec("UPDATE item SET number = ? WHERE number = ?", number + 10, number)
            seen.append(number)
        return seen

    def items(obj: Lab) -> list[int]:
        return [row[0] for row in obj.ctx.storage.sql.exec("SELECT number FROM item ORDER BY number")]

    await do(lab(), begin)
    assert await do(lab(), double) == [0, 1, 2, 3, 4]
    assert await do(lab(), items) == [10, 11, 12, 13, 14]


async def test_S9_a_large_first_event_is_stored_whole_and_not_kept_in_memory(local: LocalObjects) -> None:
    values = {f"key{number}": bytes([number]) * 1_000_000 for number in range(12)}

    def fill(obj: Lab) -> None:
        for key, value in values.items():
            put(obj, key, value)

    await do(lab(), fill)
    database = local.host.activations[str(lab().id)].gate.store.database  # type: ignore[attr-defined]
    assert database.new_file is not None
    assert database._blank is None
    assert database._connection is None
    await local.crash()
    assert await do(lab(), lambda obj: dict(obj.ctx.storage.list())) == values


SPILLS = """
import os, sys
from pathlib import Path
from durable.storage import process
process.prepare(Path(sys.argv[1]))
from durable.storage.durability import SyncPool
from tests.durable.conftest import open_store
store = open_store(Path(sys.argv[1]) / "objects", SyncPool(1, lambda *_: None))
for number in range(12):
    store.kv.put_many({f"key{number}": bytes(1_000_000)})
for entry in os.listdir("/proc/self/fd"):
    path = os.path.realpath(f"/proc/self/fd/{entry}")
    if path.startswith(sys.argv[1]):
        print(path)
store.commit()
store.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_S9_what_a_large_first_event_cannot_keep_in_memory_lies_with_the_data(
    tmp_path: Path, pool: SyncPool
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SPILLS, tmp_path], check=True, capture_output=True, text=True
    )
    (spilled,) = said.stdout.splitlines()
    assert Path(spilled).parent == tmp_path
    assert [entry.name for entry in tmp_path.iterdir()] == ["objects"]
    store = open_store(tmp_path / "objects", pool)
    assert len(store.kv.list()) == 12
    store.abandon()


@pytest.mark.parametrize("failing", ["unlock", "open"])
def test_S4_an_empty_file_that_cannot_be_removed_is_let_go_of(
    tmp_path: Path, pool: SyncPool, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk failed")

    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.kv.delete("key")
    store.commit()
    with monkeypatch.context() as patched:
        patched.setattr(*((NewFile, "unlock") if failing == "unlock" else (Database, "_open_file")), fail)
        with pytest.raises(StorageError):
            store.close()
    store = open_store(tmp_path, pool, Claim(2, "next"))
    store.close()
    assert not file_of(tmp_path).exists()


async def test_S9_the_bound_of_a_database_holds_in_its_first_event(tmp_path: Path, pool: SyncPool) -> None:
    store = open_store(tmp_path, pool)
    assert store.database.most_bytes == 1024**3
    before = store.database.row("PRAGMA max_page_count")
    store.kv.put_many({"key": 1})
    store.commit()
    store.kv.put_many({"key": 2})
    assert store.database.row("PRAGMA max_page_count") == before
    store.abandon()


@pytest.mark.parametrize("left_by_a_predecessor", [False, True])
def test_G7_where_a_file_needs_a_name_from_the_beginning_none_is_left(
    tmp_path: Path, pool: SyncPool, monkeypatch: pytest.MonkeyPatch, left_by_a_predecessor: bool
) -> None:
    monkeypatch.setattr(new_file, "_UNNAMED", os.O_RDWR | os.O_DIRECTORY)  # a system without O_TMPFILE
    file_of(tmp_path).parent.mkdir(parents=True)
    if left_by_a_predecessor:
        log_of(tmp_path).write_bytes(b"frames of a deleted object")
    store = written(tmp_path, pool)
    assert list(file_of(tmp_path).parent.iterdir()) == [file_of(tmp_path)]
    assert not opens_elsewhere(file_of(tmp_path))
    store.abandon()


def test_O4_a_file_is_never_made_over_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        NewFile(path, bytes(100))
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of what is synced, in order."""
    inodes: list[int] = []
    by_thread, by_kernel = os.fsync, KernelSyncs.fsync

    def note(descriptor: int) -> None:
        inodes.append(os.fstat(descriptor).st_ino)
        by_thread(descriptor)

    def ask(self: KernelSyncs, descriptor: int, done: Any) -> bool:
        inodes.append(os.fstat(descriptor).st_ino)
        return by_kernel(self, descriptor, done)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(KernelSyncs, "fsync", ask)
    return inodes


async def test_G4_the_first_commit_is_durable_when_file_and_names_are(
    local: LocalObjects, synced: list[int]
) -> None:
    path = object_path(local.conf.data_dir, id_from_name("Lab", "x"))
    assert await lab("x").increment() == 1
    assert synced == [one.stat().st_ino for one in (path, path.parent, *list(path.parents)[1:4])]
    synced.clear()
    names = (f"y{number}" for number in itertools.count())
    other = next(name for name in names if str(id_from_name("Lab", name))[:2] == path.parent.name)
    await lab(other).increment()  # in the same folder
    assert len(synced) == 2


async def test_G4_objects_that_are_made_at_once_share_the_sync_of_their_names(
    local: LocalObjects, synced: list[int]
) -> None:
    names = [f"{number}" for number in range(20)]
    assert await asyncio.gather(*(lab(name).increment() for name in names)) == [1] * 20
    paths = [object_path(local.conf.data_dir, id_from_name("Lab", name)) for name in names]
    files, folders = ({one.stat().st_ino for one in those} for those in (paths, [p.parent for p in paths]))
    assert sorted(files | folders) == sorted(set(synced) & (files | folders))
    assert synced.count(paths[0].parent.parent.stat().st_ino) == 1  # holds the names of all folders


@pytest.mark.parametrize("refused", ["file", "name"])
async def test_G4_a_new_file_that_the_disk_refuses_is_not_told_as_stored(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(self: KernelSyncs, descriptor: int, done: Any) -> bool:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        error = OSError(errno.EIO, "the disk failed") if is_folder == (refused == "name") else None
        asyncio.get_running_loop().call_later(0.01 if error is None else 0.0, done, error)
        return True

    with monkeypatch.context() as patched:
        patched.setattr(KernelSyncs, "fsync", refuse)
        with pytest.raises(LostWriteError):
            await lab().increment()
    assert await lab().increment() == 2  # it had been committed, and the file was made anew


@pytest.mark.parametrize("claim", [Claim(1, "w"), Claim(2, "next")])
def test_G4_who_takes_over_a_new_file_syncs_it(tmp_path: Path, synced: list[int], claim: Claim) -> None:
    pool = SyncPool(1, lambda done, error: done(error))
    written(tmp_path, pool).abandon()  # its owner died before its first sync
    assert synced == []
    store = open_store(tmp_path, pool, claim)
    store.log.sync_soon()
    pool.close()
    assert {file_of(tmp_path).stat().st_ino, file_of(tmp_path).parent.stat().st_ino} <= set(synced)
    assert store.log.durable == store.transactions.seq
    store.abandon()


def test_G4_who_has_synced_a_new_file_itself_need_not_do_so_when_it_wakes(
    tmp_path: Path, pool: SyncPool, synced: list[int]
) -> None:
    for _ in range(2):  # the second file may get the inode of the first
        store = open_store(tmp_path, pool)
        store.kv.put_many({"key": 1})
        store.log.note(store.commit())
        store.close()
        inode = file_of(tmp_path).stat().st_ino
        assert inode in synced
        synced.clear()
        store = open_store(tmp_path, pool)
        assert store.log.durable == store.transactions.seq == 1
        store.log.sync_soon()
        store.close()
        assert synced == []
        store = open_store(tmp_path, pool, Claim(2, "next"))  # another cannot know
        assert store.log.durable == 0
        store.kv.delete("key")
        store.log.note(store.commit())
        store.close()
        assert not file_of(tmp_path).exists()
        synced.clear()


@pytest.mark.parametrize("commits", [1, 3])
def test_S13_a_new_file_that_no_sync_has_come_to_is_durable_when_it_is_closed(
    tmp_path: Path, pool: SyncPool, synced: list[int], commits: int
) -> None:
    store = open_store(tmp_path, pool)
    for number in range(commits):
        store.kv.put_many({"key": number})
        store.log.note(store.commit())
    store.close()
    assert {file_of(tmp_path).stat().st_ino, file_of(tmp_path).parent.stat().st_ino} <= set(synced)
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == commits - 1
    store.abandon()


def test_S13_a_new_file_that_cannot_be_synced_when_it_is_closed_is_rewritten_before_it_is_used(
    tmp_path: Path, pool: SyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk failed")

    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    store.log.note(store.commit())
    before = file_of(tmp_path).stat().st_ino
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        store.close()
    assert is_marked(file_of(tmp_path))
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == 1
    assert file_of(tmp_path).stat().st_ino != before
    store.abandon()


async def test_S9_an_event_that_cannot_open_the_new_file_fails_and_the_next_one_can(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await lab().increment() == 1

    def fail(_: Database) -> None:
        raise StorageError("no descriptor is left", delivered="no")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "_open_file", fail)
        with pytest.raises(StorageError, match="descriptor"):
            await lab().increment()
    assert await lab().increment() == 2


def test_S12_a_copy_that_began_with_a_new_file_has_one_commit(tmp_path: Path, pool: SyncPool) -> None:
    store = written(tmp_path, pool)
    steps = images.write_image(store.database.connection, tmp_path / "copy")
    assert next(steps)
    store.kv.put_many({"key": 2})
    store.commit()
    assert list(steps) == []
    with apsw.Connection(str(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT seq FROM _do_meta").fetchall() == [(1,)]
    store.abandon()
