"""A file takes the place of an object's own: in one step, and so that nobody touches what is not theirs."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable.errors import StorageError
from durable.identity import id_from_name
from durable.storage.database import Database
from durable.storage.durability import SyncPool
from durable.storage.failures import BusyFileError
from durable.storage.images import prepare_image, write_image
from durable.storage.store import Claim, Store, object_path
from tests.durable.conftest import open_store

ID = id_from_name("Lab", "x")


def write(store: Store, value: int) -> None:
    store.kv.put_many({"key": value})
    store.commit()


@pytest.fixture
def owner(tmp_path: Path, pool: SyncPool) -> Store:
    """An open object whose key is 2, and beside it `draft`, whose key is 1."""
    store = open_store(tmp_path, pool)
    write(store, 1)
    for _ in write_image(store.database.connection, tmp_path / "image"):
        pass
    prepare_image(tmp_path / "image", tmp_path / "draft", ID, epoch=1, migrations=0)
    write(store, 2)
    store.successor = tmp_path / "draft"
    return store


def value_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as plain:
        ((value,),) = plain.execute("SELECT value FROM _do_kv").fetchall()
    return int(value[-1])


def test_the_place_is_taken_when_the_owner_closes(tmp_path: Path, pool: SyncPool, owner: Store) -> None:
    path = object_path(tmp_path, ID)
    owner.close()
    (kept,) = path.parent.glob("*.replaced-*")
    assert value_in(kept) == 2
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == 1
    store.close()
    assert not (tmp_path / "draft").exists()


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], Any]) -> None:
    """Have something happen when the next file has been opened, but before its lock is taken."""
    keep_log = Database._keep_log

    def and_then(self: Database, keep: bool) -> None:
        keep_log(self, keep)
        monkeypatch.setattr(Database, "_keep_log", keep_log)
        what()

    monkeypatch.setattr(Database, "_keep_log", and_then)


def test_who_had_opened_the_old_file_writes_neither_to_it_nor_to_the_new_ones_log(
    tmp_path: Path, pool: SyncPool, owner: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = object_path(tmp_path, ID)
    found: list[Store] = []

    def replace_and_go_on() -> None:
        owner.close()
        found.append(open_store(tmp_path, pool, Claim(2, "next")))
        write(found[0], 7)

    meanwhile(monkeypatch, replace_and_go_on)
    log = Path(f"{path}-wal")
    late = Database(path, lambda: 0.0, 1)
    with pytest.raises(BusyFileError, match="replaced") as caught:
        late.open()
    assert caught.value.retryable
    assert log.stat().st_size > 0
    (successor,) = found
    successor.database.rows("PRAGMA wal_checkpoint(PASSIVE)")
    successor.abandon()
    assert value_in(path) == 7
    (kept,) = path.parent.glob("*.replaced-*")
    assert value_in(kept) == 2


def test_the_owner_who_gave_its_place_away_leaves_the_successors_log_alone(
    tmp_path: Path, pool: SyncPool, owner: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Database.close
    found: list[Store] = []

    def close_late(self: Database) -> None:
        monkeypatch.setattr(Database, "close", close)
        found.append(open_store(tmp_path, pool, Claim(2, "next")))
        write(found[0], 7)
        close(self)

    monkeypatch.setattr(Database, "close", close_late)
    owner.close()
    assert Path(f"{object_path(tmp_path, ID)}-wal").stat().st_size > 0
    found[0].close()
    assert value_in(object_path(tmp_path, ID)) == 7


def test_an_owner_that_cannot_give_its_place_away_keeps_all_it_has(
    tmp_path: Path, pool: SyncPool, owner: Store
) -> None:
    (tmp_path / "draft").unlink()
    with pytest.raises((OSError, StorageError)):
        owner.close()
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == 2
    store.close()
