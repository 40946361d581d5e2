"""A file that the disk has refused to sync: it is replaced by a new one before anybody uses it again."""

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from durable.errors import LostWriteError, StorageError
from durable.identity import id_from_name
from durable.storage.durability import SyncPool
from durable.storage.failures import BusyFileError
from durable.storage.rewrite import is_marked, mark_unsynced, replace_marked
from durable.storage.store import Claim, Store, object_path
from durable.testing import LocalObjects
from tests.durable.conftest import open_store
from tests.durable.lab import do, get, lab, put


def file_of(root: Path) -> Path:
    return object_path(root, id_from_name("Lab", "x"))


def write(store: Store, key: str) -> None:
    store.kv.put_many({key: 1})
    store.commit()


@pytest.fixture
def unsynced(tmp_path: Path, pool: SyncPool) -> Path:
    """A file whose last sync has failed: one key in the main file, one in the log."""
    store = open_store(tmp_path, pool)
    write(store, "old")
    store.close()
    store = open_store(tmp_path, pool)
    write(store, "new")
    store.log.failed = True
    store.abandon()
    assert is_marked(file_of(tmp_path))
    assert Path(f"{file_of(tmp_path)}-wal").stat().st_size > 0
    return file_of(tmp_path)


def keys_after_opening(root: Path, pool: SyncPool) -> list[str]:
    store = open_store(root, pool, Claim(2, "next"))
    try:
        write(store, "later")
        return list(store.kv.list())
    finally:
        store.close()


def rest_of(path: Path) -> list[str]:
    """What lies beside the file, but for an empty log."""
    beside = {one.name.removeprefix(path.name): one for one in path.parent.iterdir() if one != path}
    log = beside.get("-wal")
    return sorted(name for name, one in beside.items() if one != log or one.stat().st_size > 0)


def test_S9_the_next_owner_makes_a_new_file_with_all_that_was_committed(
    tmp_path: Path, pool: SyncPool, unsynced: Path
) -> None:
    before = unsynced.stat().st_ino
    assert keys_after_opening(tmp_path, pool) == ["later", "new", "old"]
    assert unsynced.stat().st_ino != before
    assert rest_of(unsynced) == []


@pytest.mark.parametrize("step", ["draft", "whole", "log removed", "in place"])
def test_S9_a_power_cut_at_any_step_loses_nothing(
    tmp_path: Path, pool: SyncPool, unsynced: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class PowerCutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    place = {
        "draft": ("durable.storage.rewrite.sync_file", cut),
        "whole": ("durable.storage.rewrite.sync_directory", cut),
        "log removed": ("pathlib.Path.rename", _cut_second_call(cut)),
        "in place": ("durable.storage.rewrite.sync_directory", _cut_second_call(cut)),
    }[step]
    with monkeypatch.context() as patched:
        patched.setattr(*place)
        with pytest.raises(PowerCutError):
            open_store(tmp_path, pool, Claim(2, "next"))
    assert keys_after_opening(tmp_path, pool) == ["later", "new", "old"]
    assert rest_of(unsynced) == []


def _cut_second_call(cut: object) -> object:
    """Let the first call of `rename` or `sync_directory` do its work, and cut the second."""
    calls: list[int] = []

    def call(path: Path, target: Path | None = None) -> Path | None:
        calls.append(1)
        if len(calls) == 2:
            cut()  # type: ignore[operator]
        if target is not None:
            os.rename(path, target)
        return target

    return call


def test_S9_who_opened_the_old_file_in_time_to_lock_it_late_is_told_to_come_again(
    tmp_path: Path, pool: SyncPool, unsynced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = apsw.Connection

    def open_late(path: str, **options: int) -> apsw.Connection:
        connection = real(path, **options)
        connection.execute("SELECT 1").fetchall()
        monkeypatch.setattr(apsw, "Connection", real)
        replace_marked(unsynced, lambda draft: draft.write_bytes(unsynced.read_bytes()) and None)
        return connection

    monkeypatch.setattr(apsw, "Connection", open_late)
    with pytest.raises(BusyFileError, match="replaced"):
        open_store(tmp_path, pool, Claim(2, "next"))


def test_S9_closing_the_old_file_does_not_remove_the_log_of_who_holds_the_new_one(
    tmp_path: Path, pool: SyncPool, unsynced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[apsw.Connection] = []

    def replace_and_be_overtaken(path: Path, write: Callable[[Path], None]) -> None:
        replace_marked(path, write)
        other = apsw.Connection(str(path))
        other.execute("PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE other (x)").fetchall()
        others.append(other)

    monkeypatch.setattr("durable.storage.database.replace_marked", replace_and_be_overtaken)
    with pytest.raises(BusyFileError):
        open_store(tmp_path, pool, Claim(2, "next"))
    assert Path(f"{unsynced}-wal").stat().st_size > 0
    others[0].close()
    assert keys_after_opening(tmp_path, pool) == ["later", "new", "old"]


def test_S9_a_mark_of_a_deleted_file_does_nothing_to_its_successor(tmp_path: Path, pool: SyncPool) -> None:
    path = file_of(tmp_path)
    path.parent.mkdir(parents=True)
    mark_unsynced(path)
    Path(f"{path}-whole").write_bytes(b"of the deleted one")
    store = open_store(tmp_path, pool)
    write(store, "mine")
    store.close()
    assert rest_of(path) == []
    assert keys_after_opening(tmp_path, pool) == ["later", "mine"]


def test_S9_while_the_disk_refuses_the_object_is_refused_and_kept(
    tmp_path: Path, pool: SyncPool, unsynced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("durable.storage.rewrite.sync_file", refuse)
        for _ in range(2):
            with pytest.raises(StorageError, match="refuses to keep this object") as caught:
                open_store(tmp_path, pool, Claim(2, "next"))
            assert caught.value.retryable
            assert caught.value.delivered == "no"
    assert keys_after_opening(tmp_path, pool) == ["later", "new", "old"]


async def test_S9_an_object_goes_on_in_a_new_file_after_a_failed_sync(local: LocalObjects) -> None:
    await do(lab(), put, "first", 1)
    path = object_path(local.conf.data_dir, lab().id)  # type: ignore[attr-defined]
    before = path.stat().st_ino
    local.commits.fail()
    with pytest.raises(LostWriteError):
        await do(lab(), put, "second", 2)
    assert await do(lab(), get, "first") == 1
    assert path.stat().st_ino != before
    await do(lab(), put, "third", 3)
    await local.evict(lab())
    assert rest_of(path) == []
    assert await do(lab(), get, "third") == 3
