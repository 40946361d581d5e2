"""Objects begin in databases in memory, one after another: nothing of one is left to the next."""

from pathlib import Path

import apsw
import pytest

from durable.errors import SqlError, StorageError
from durable.storage import blanks
from durable.storage.durability import SyncPool
from durable.storage.store import Claim, Store
from durable.testing import LocalObjects
from tests.durable.conftest import open_store
from tests.durable.lab import Lab, do, lab

SECRET = "what nobody else may see"


@pytest.fixture(autouse=True)
def spare(monkeypatch: pytest.MonkeyPatch) -> list[blanks.Blank]:
    """The blanks that wait for an object; none at first."""
    kept: list[blanks.Blank] = []
    monkeypatch.setattr(blanks, "_spare", kept)
    return kept


def leave(store: Store, how: str) -> None:
    """Write to all that there is, and let go of the database in one way or another."""
    store.kv.put_many({SECRET: SECRET, "long": SECRET * 500})
    store.sql.exec("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
    store.sql.exec("INSERT INTO note (id, text) VALUES (77, ?)", SECRET)
    store.metadata.set_alarm(5)
    if how == "committed":
        store.commit()
    elif how == "undone":
        store.transactions.rollback()
    elif how == "held":
        store.transactions.hold()
    store.abandon()


@pytest.mark.parametrize("how", ["committed", "undone", "held", "given up"])
def test_S6_nothing_of_one_object_is_left_to_the_next(
    tmp_path: Path, pool: SyncPool, spare: list[blanks.Blank], how: str
) -> None:
    plain = open_store(tmp_path / "plain", pool, name="second")  # never met anybody
    plain.kv.put_many({"key": 1})
    plain.commit()
    spare.clear()

    leave(open_store(tmp_path, pool, name=SECRET), how)
    (blank,) = spare
    store = open_store(tmp_path, pool, name="second")
    assert store.database._blank is blank
    assert store.kv.list() == {}
    assert store.metadata.get_alarm() is None
    assert store.sql.exec("SELECT last_insert_rowid()").one() == (1,)  # of its own identity
    with pytest.raises(SqlError, match="no such table"):
        store.sql.exec("SELECT * FROM note")
    store.kv.put_many({"key": 1})
    store.commit()
    assert store.database.path.read_bytes() == plain.database.path.read_bytes()
    assert SECRET.encode() not in store.database.path.read_bytes()
    store.abandon()
    plain.abandon()


def test_S6_a_blank_refuses_the_next_object_what_it_refused_the_first(tmp_path: Path, pool: SyncPool) -> None:
    for name in ("first", "second"):
        store = open_store(tmp_path, pool, name=name)
        store.kv.put_many({"key": 1})
        with pytest.raises(SqlError, match="not allowed|prohibited"):
            store.sql.exec("SELECT value FROM _do_kv WHERE key = ?1", "key")
        with pytest.raises(SqlError, match="not allowed|prohibited"):
            store.sql.exec("ROLLBACK")
        store.abandon()


def test_S6_two_objects_at_once_have_a_blank_each(tmp_path: Path, pool: SyncPool) -> None:
    one, other = (open_store(tmp_path, pool, name=name) for name in ("one", "other"))
    one.kv.put_many({"key": 1})
    assert other.kv.list() == {}
    other.kv.put_many({"key": 2})
    one.commit()
    other.commit()
    assert (one.kv.get("key"), other.kv.get("key")) == (1, 2)
    one.abandon()
    other.abandon()


def test_blanks_that_nobody_needs_are_bounded_in_number_and_have_no_file(
    tmp_path: Path, pool: SyncPool, spare: list[blanks.Blank]
) -> None:
    stores = [open_store(tmp_path, pool, name=f"{number}") for number in range(blanks.MOST_SPARE + 2)]
    for store in stores:
        store.close()
    assert len(spare) == blanks.MOST_SPARE
    spare.clear()
    store = open_store(tmp_path, pool)
    for number in range(12):
        store.kv.put_many({f"key{number}": bytes(1_000_000)})
    store.commit()
    assert spare == []
    store.abandon()


def test_S9_what_sqlite_ends_by_itself_fails_the_event_and_not_the_object(
    tmp_path: Path, pool: SyncPool
) -> None:
    store = open_store(tmp_path, pool)
    store.database.run("ROLLBACK")  # an event that only reads, and has no memory or disk left
    with pytest.raises(StorageError, match="in the middle"):
        store.kv.put_many({"key": 1})
    assert not store.transactions.rollback()
    store.kv.put_many({"key": 2})
    store.database.run("ROLLBACK")  # one that writes
    assert store.transactions.lost()
    assert not store.transactions.rollback()
    store.kv.put_many({"key": 3})
    store.commit()
    store.close()
    store = open_store(tmp_path, pool, Claim(2, "next"))
    assert store.kv.get("key") == 3
    store.abandon()


def test_S4_a_first_commit_that_fails_leaves_the_object_usable(
    tmp_path: Path, pool: SyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = open_store(tmp_path, pool)
    store.kv.put_many({"lost": 1})
    store.transactions.hold()
    with monkeypatch.context() as patched:
        patched.setattr("durable.storage.database.NewFile", fail)
        with pytest.raises(StorageError, match="full"):
            store.commit()
    assert store.transactions.rollback()
    assert not store.has_file
    store.kv.put_many({"key": 1})
    store.commit()
    assert store.kv.list() == {"key": 1}
    store.abandon()


@pytest.mark.parametrize("module", ["fts5", "fts4"])
def test_S6_a_full_text_index_of_the_first_event_is_in_the_file(
    tmp_path: Path, pool: SyncPool, module: str
) -> None:
    store = open_store(tmp_path, pool)
    store.sql.exec(f"CREATE VIRTUAL TABLE note USING {module}(text)")
    store.sql.exec("INSERT INTO note VALUES ('hello world')")
    store.commit()
    store.abandon()
    store = open_store(tmp_path, pool, Claim(2, "next"))
    found = store.sql.exec("SELECT text FROM note WHERE note MATCH 'hello'").to_list()
    assert found == [("hello world",)]
    assert store.sql.exec("PRAGMA integrity_check").one() == ("ok",)
    store.abandon()


@pytest.mark.parametrize("is_first", [True, False])
async def test_S10_a_deferred_foreign_key_holds_at_the_commit(local: LocalObjects, is_first: bool) -> None:
    def tables(obj: Lab) -> None:
        sql = obj.ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY)")
        sql.exec(
            "CREATE TABLE IF NOT EXISTS child "
            "(parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        )

    def orphan(obj: Lab) -> None:
        tables(obj)
        obj.ctx.storage.sql.exec("INSERT INTO child VALUES (1)")

    def adopted(obj: Lab) -> int:
        tables(obj)
        obj.ctx.storage.sql.exec("INSERT INTO child VALUES (1)")
        obj.ctx.storage.sql.exec("INSERT INTO parent VALUES (1)")
        return int(obj.ctx.storage.sql.exec("SELECT count(*) FROM child").one()[0])

    if not is_first:
        await do(lab(), tables)
    with pytest.raises(StorageError, match="FOREIGN KEY"):
        await do(lab(), orphan)
    assert await do(lab(), adopted) == 1


def test_a_blank_that_cannot_be_undone_is_not_lent_again(
    tmp_path: Path, pool: SyncPool, spare: list[blanks.Blank]
) -> None:
    store = open_store(tmp_path, pool)
    store.kv.put_many({"key": 1})
    blank = store.database._blank
    assert blank is not None
    blank.connection.close(True)
    store.abandon()
    assert spare == []
    with pytest.raises(apsw.ConnectionClosedError):
        blank.connection.total_changes()
