"""Key-value storage and transactions, as an object sees them."""

import asyncio
import sqlite3
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable import DurableObject, ObjectError, RemoteError, WebSocket
from durable.core.envelope import DERIVED_CALL_MS
from durable.errors import DurableError, StorageError, StorageLimitError, ValueRefusedError
from durable.testing import LocalObjects
from tests.durable.lab import Lab, RelaxedLab, do, get, lab, put


async def test_S1_a_missing_key_gives_the_default_and_None_is_a_value(local: LocalObjects) -> None:
    def look(obj: Lab) -> list[Any]:
        storage = obj.ctx.storage
        storage.put("none", None)
        return [
            storage.get("missing"),
            storage.get("missing", 7),
            storage.get("none", 7),
            storage.get_many(["none", "x"]),
        ]

    assert await do(lab(), look) == [None, 7, None, {"none": None}]


@pytest.mark.parametrize("name", ["get_many", "delete_many"])
async def test_a_text_is_not_taken_for_the_keys_that_are_its_letters(local: LocalObjects, name: str) -> None:
    await do(lab(), put, "a", 1)

    def misuse(obj: Lab) -> str:
        with pytest.raises(TypeError) as raised:
            getattr(obj.ctx.storage, name)("ab")
        return str(raised.value)

    assert "write ['ab']" in await do(lab(), misuse)
    assert await do(lab(), get, "a") == 1


async def test_S1_what_is_stored_is_a_copy(local: LocalObjects) -> None:
    def mutate(obj: Lab) -> Any:
        value = [1]
        put(obj, "key", value)
        value.append(2)
        get(obj, "key").append(3)
        return get(obj, "key")

    assert await do(lab(), mutate) == [1]


async def test_S1_delete_tells_what_existed(local: LocalObjects) -> None:
    def delete(obj: Lab) -> list[Any]:
        storage = obj.ctx.storage
        storage.put_many({"a": 1, "b": 2, "c": 3})
        return [
            storage.delete("a"),
            storage.delete("a"),
            storage.delete_many(["b", "c", "d"]),
            storage.list(),
        ]

    assert await do(lab(), delete) == [True, False, 2, {}]


KEYS = st.text(min_size=1, max_size=6) | st.text("ab\x7f\U0010ffff\ud7ff", min_size=1, max_size=4)
BOUND = st.none() | KEYS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_S2_list_is_what_a_sorted_dict_would_give(storage: Any, data: st.DataObject) -> None:
    items = data.draw(st.dictionaries(KEYS, st.integers(), max_size=12))
    storage.delete(*storage.list())
    storage.put_many(items)
    beginnings = [key[:length] for key in items for length in range(1, len(key) + 1)]
    bound = BOUND | st.sampled_from(beginnings) if beginnings else BOUND
    for _ in range(6):
        prefix, start, after, end = (data.draw(bound) for _ in range(4))
        if data.draw(st.booleans()):
            start = None
        else:
            after = None
        reverse, limit = data.draw(st.booleans()), data.draw(st.none() | st.integers(1, 5))
        expected = [
            key
            for key in sorted(items, key=str.encode, reverse=reverse)
            if (prefix is None or key.startswith(prefix))
            and (start is None or key.encode() >= start.encode())
            and (after is None or key.encode() > after.encode())
            and (end is None or key.encode() < end.encode())
        ][:limit]
        found = storage.list(prefix, start, after, end, reverse=reverse, limit=limit)
        assert list(found.items()) == [(key, items[key]) for key in expected]


async def test_S2_contradictory_arguments_raise(local: LocalObjects) -> None:
    for arguments in ({"start": "a", "start_after": "b"}, {"limit": 0}, {"limit": -1}, {"limit": True}):
        with pytest.raises(RemoteError, match="ValueError"):
            await do(lab(), lambda obj, given: obj.ctx.storage.list(**given), arguments)


@pytest.mark.parametrize("key", ["k" * 2048, "é" * 1024])
async def test_S3_the_longest_key_works(local: LocalObjects, key: str) -> None:
    await do(lab(), put, key, 1)
    assert await do(lab(), get, key) == 1


@pytest.mark.parametrize("key", ["", "k" * 2049, "é" * 1025])
async def test_S3_a_key_beyond_is_refused(local: LocalObjects, key: str) -> None:
    with pytest.raises(StorageLimitError):
        await do(lab(), put, key, 1)
    with pytest.raises(StorageLimitError):
        await do(lab(), get, key)


async def test_S3_a_key_that_is_no_text_is_refused(local: LocalObjects) -> None:
    with pytest.raises(RemoteError, match="TypeError"):
        await do(lab(), put, 5, 1)
    with pytest.raises(DurableError):
        await do(lab(), lambda obj: put(obj, "\ud800", 1))
    assert await lab().increment() == 1


async def test_S3_a_value_up_to_2_MiB_is_kept_and_beyond_is_refused(local: LocalObjects) -> None:
    most = 2 * 1024 * 1024 - 6  # the encoding of bytes takes six more
    await do(lab(), lambda obj: put(obj, "key", b"x" * most))
    assert await do(lab(), lambda obj: len(get(obj, "key"))) == most
    with pytest.raises(StorageLimitError):
        await do(lab(), lambda obj: put(obj, "key", b"x" * (most + 1)))


async def test_S3_a_multi_put_stores_all_or_nothing(local: LocalObjects) -> None:
    def put_some(obj: Lab) -> Any:
        for bad in (
            {"good": 1, "k" * 3000: 1},
            {"good": 1, "bad": object()},
            {"good": 1, "big": b"x" * 2**21},
        ):
            with pytest.raises((StorageLimitError, ValueRefusedError)):
                obj.ctx.storage.put_many(bad)
        return obj.ctx.storage.list()

    assert await do(lab(), put_some) == {}


async def refused(step: Any) -> RemoteError:
    """Run a step that must fail; nothing of it is left."""
    with pytest.raises(RemoteError) as caught:
        await do(lab(), step)
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {}
    return caught.value


@pytest.mark.parametrize("what", ["flush", "call"])
async def test_S7_nothing_leaves_an_open_transaction(local: LocalObjects, what: str) -> None:
    async def pay(obj: Lab) -> None:
        with obj.ctx.storage.transaction():
            put(obj, "paid", True)
            await (obj.ctx.flush() if what == "flush" else lab("bank").increment())
            raise ObjectError("card refused")

    error = await refused(pay)
    assert error.error_type == "RuntimeError"
    assert "inside transaction()" in error.message
    assert await lab("bank").value() == 0


async def test_S7_who_catches_that_goes_on_with_a_whole_transaction(local: LocalObjects) -> None:
    async def pay(obj: Lab) -> None:
        with obj.ctx.storage.transaction():
            put(obj, "paid", True)
            with pytest.raises(RuntimeError):
                await obj.ctx.flush()
            put(obj, "noted", True)
        await obj.ctx.flush()

    await do(lab(), pay)
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {"noted": True, "paid": True}


@pytest.mark.parametrize("raises", [False, True])
async def test_S7_transactions_of_tasks_side_by_side_must_not_overlap(
    local: LocalObjects, raises: bool
) -> None:
    async def overlap(obj: Lab) -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def outer() -> None:
            with obj.ctx.storage.transaction():
                put(obj, "outer", 1)
                await entered.wait()
                asyncio.get_running_loop().call_soon(left.set)
                if raises:
                    raise ValueError

        async def inner() -> None:
            with obj.ctx.storage.transaction():
                put(obj, "inner", 1)
                entered.set()
                await left.wait()

        await asyncio.gather(outer(), inner(), return_exceptions=True)

    error = await refused(overlap)
    assert error.error_type == "RuntimeError"
    assert "overlap" in error.message


async def test_S7_an_event_does_not_end_inside_its_transaction(local: LocalObjects) -> None:
    go_on = asyncio.Event()
    tasks = []

    async def leave_behind(obj: Lab) -> None:
        entered = asyncio.Event()

        async def behind() -> None:
            with obj.ctx.storage.transaction():
                put(obj, "behind", 1)
                entered.set()
                await go_on.wait()
                raise ValueError

        tasks.append(asyncio.create_task(behind()))
        await entered.wait()

    async def another(obj: Lab) -> None:
        with obj.ctx.storage.transaction():
            put(obj, "another", 1)
            go_on.set()
            await asyncio.wait(tasks)

    error = await refused(leave_behind)
    assert "the end of the event inside transaction()" in error.message
    await do(lab(), another)
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {"another": 1}


async def test_S4_delete_all_removes_everything_and_the_object_is_usable(local: LocalObjects) -> None:
    def fill(obj: Lab) -> None:
        put(obj, "key", 1)
        sql = obj.ctx.storage.sql
        sql.exec("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        sql.exec("CREATE TABLE child (parent INTEGER REFERENCES parent)")
        sql.exec("CREATE VIEW seen AS SELECT * FROM child")
        sql.exec("CREATE VIRTUAL TABLE words USING fts5(text)")
        sql.exec("INSERT INTO parent VALUES (1)")
        sql.exec("INSERT INTO child VALUES (1)")
        obj.ctx.storage.set_alarm(obj.ctx.now() + 1000)

    def wipe(obj: Lab) -> list[Any]:
        obj.ctx.storage.delete_all()
        put(obj, "new", 2)
        tables = obj.ctx.storage.sql.exec(
            "SELECT name FROM sqlite_schema WHERE name NOT LIKE '%_do%'"
        ).to_list()
        return [obj.ctx.storage.list(), tables, obj.ctx.storage.get_alarm()]

    await do(lab(), fill)
    assert await do(lab(), wipe) == [{"new": 2}, [], None]
    assert local.alarm(lab()) is None
    await local.crash()
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {"new": 2}


async def test_S4_delete_all_is_undone_with_its_event(local: LocalObjects) -> None:
    def wipe_then_fail(obj: Lab) -> None:
        obj.ctx.storage.delete_all()
        raise ValueError("no")

    await lab().increment()
    with pytest.raises(RemoteError):
        await do(lab(), wipe_then_fail)
    assert await lab().value() == 1


async def test_S4_an_object_left_empty_loses_file_and_catalog_row_once_idle(local: LocalObjects) -> None:
    await lab().increment()
    assert len(local.catalog.entries) == 1
    await do(lab(), lambda obj: obj.ctx.storage.delete_all())
    assert local.has_file(lab())
    await local.advance(11)
    assert not local.is_active(lab())
    assert not local.has_file(lab())
    assert local.catalog.entries == {}
    assert await lab().increment() == 1


async def test_S7_transaction_rolls_back_on_an_exception_and_rethrows(local: LocalObjects) -> None:
    def attempt(obj: Lab) -> list[Any]:
        put(obj, "before", 1)
        with pytest.raises(KeyError), obj.ctx.storage.transaction():
            put(obj, "inside", 1)
            raise KeyError
        return list(obj.ctx.storage.list())

    assert await do(lab(), attempt) == ["before"]


async def test_S7_nested_only_the_inner_part_is_undone(local: LocalObjects) -> None:
    def attempt(obj: Lab) -> list[Any]:
        with obj.ctx.storage.transaction():
            put(obj, "outer", 1)
            with pytest.raises(KeyError), obj.ctx.storage.transaction():
                put(obj, "inner", 1)
                raise KeyError
            put(obj, "after", 1)
        return list(obj.ctx.storage.list())

    assert await do(lab(), attempt) == ["after", "outer"]


async def test_S7_an_alarm_set_inside_follows_the_transaction(local: LocalObjects) -> None:
    def attempt(obj: Lab) -> int | None:
        obj.ctx.storage.set_alarm(1_900_000_000_000)
        with pytest.raises(KeyError), obj.ctx.storage.transaction():
            obj.ctx.storage.set_alarm(1_950_000_000_000)
            raise KeyError
        return obj.ctx.storage.get_alarm()

    assert await do(lab(), attempt) == 1_900_000_000_000
    await local.settle()
    assert local.alarm(lab()) == 1_900_000_000_000


async def test_S7_a_transaction_that_only_reads_is_harmless(local: LocalObjects) -> None:
    def attempt(obj: Lab) -> int:
        with obj.ctx.storage.transaction():
            return obj.ctx.storage.get("value", 0)  # type: ignore[no-any-return]

    assert await do(lab(), attempt) == 0
    assert await lab().increment() == 1


async def test_S10_foreign_keys_are_on_and_integers_exact(local: LocalObjects) -> None:
    def attempt(obj: Lab) -> Any:
        sql = obj.ctx.storage.sql
        sql.exec("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        sql.exec("CREATE TABLE child (parent INTEGER REFERENCES parent)")
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            sql.exec("INSERT INTO child VALUES (9)")
        return sql.exec("SELECT ?, ?", 2**63 - 1, -(2**63)).one()

    assert await do(lab(), attempt) == (2**63 - 1, -(2**63))


async def test_S11_migrations_run_once_in_order_with_their_version(local: LocalObjects) -> None:
    ran = []
    one = [lambda ctx: (ran.append(1), ctx.storage.sql.exec("CREATE TABLE t (x)"))]
    two = [*one, lambda ctx: (ran.append(2), ctx.storage.sql.exec("ALTER TABLE t ADD COLUMN y"))]
    try:
        Lab.migrations = one
        await do(lab(), lambda obj: obj.ctx.storage.sql.exec("INSERT INTO t VALUES (1)").rows_written)
        await local.crash()
        Lab.migrations = two
        columns = "SELECT x, y FROM t"
        assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec(columns).one()) == (1, None)
        await local.crash()
        await lab().value()
        assert ran == [1, 2]
        Lab.migrations = one
        await local.crash()
        with pytest.raises(StorageError, match="newer code"):
            await lab().value()
    finally:
        Lab.migrations = ()


async def test_S11_migrations_of_plain_sql_make_no_file_by_themselves(local: LocalObjects) -> None:
    try:
        Lab.migrations = ["CREATE TABLE t (x)", "CREATE INDEX i ON t (x)"]
        assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT count(*) FROM t").one()) == (0,)
        await local.evict(lab())
        assert not local.has_file(lab())
        await do(lab(), lambda obj: obj.ctx.storage.sql.exec("INSERT INTO t VALUES (1)").rows_written)
        await local.crash()
        assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT count(*) FROM t").one()) == (1,)
    finally:
        Lab.migrations = ()


async def test_S11_migrations_of_plain_sql_that_fail_leave_nothing_of_themselves(local: LocalObjects) -> None:
    try:
        Lab.migrations = ["CREATE TABLE t (x)", "CREATE INDEX i ON missing (x)"]
        for _ in range(2):
            with pytest.raises(StorageError, match="no such table: main.missing"):
                await lab().value()
    finally:
        Lab.migrations = ()


async def test_S13_a_relaxed_reply_leaves_before_the_sync(local: LocalObjects) -> None:
    stub = lab(kind=RelaxedLab)
    with local.commits.held():
        assert await stub.increment() == 1
        assert await stub.value() == 1


async def test_S13_a_relaxed_write_survives_the_death_of_its_worker(local: LocalObjects) -> None:
    stub = lab(kind=RelaxedLab)
    with local.commits.held():
        await stub.increment()
        await local.crash()
    assert await stub.value() == 1


async def test_S13_a_relaxed_write_is_synced_within_a_second(local: LocalObjects) -> None:
    local.commits.hold()
    await lab(kind=RelaxedLab).increment()
    await local.commits.waiting()
    local.commits.release()
    assert local.commits.syncs == 1


async def test_S12_the_file_is_a_plain_SQLite_file(local: LocalObjects) -> None:
    await do(lab(), lambda obj: obj.ctx.storage.sql.exec("CREATE TABLE t AS SELECT 5 AS x").rows_written)
    await local.evict(lab())
    (path,) = local.conf.data_dir.rglob("*.sqlite3")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(5,)]
    connection.close()


class Notes(DurableObject):
    """It has tables of its own, made by its migrations."""

    migrations = ("CREATE TABLE note (text)", lambda ctx: ctx.storage.put("made", True))

    async def web_socket_connect(self, ws: WebSocket) -> None:
        self.ctx.accept_web_socket(ws)

    async def add(self, text: str) -> int:
        self.ctx.storage.sql.exec("INSERT INTO note VALUES (?)", text)
        return int(self.ctx.storage.sql.exec("SELECT count(*) FROM note").one()[0])

    async def clear(self) -> None:
        self.ctx.storage.delete_all()

    async def read(self) -> dict[str, Any]:
        return self.ctx.storage.list()

    async def clear_and_put(self) -> None:
        self.ctx.storage.delete_all()
        self.ctx.storage.put("cleared", 1)

    async def clear_and_add(self, text: str) -> int:
        self.ctx.storage.delete_all()
        return await self.add(text)

    async def clear_with_parts_undone(self, text: str) -> int:
        storage = self.ctx.storage
        with pytest.raises(ValueError), storage.transaction():
            storage.delete_all()
            raise ValueError
        before = await self.add("one more")
        storage.delete_all()
        with pytest.raises(ValueError), storage.transaction():
            await self.add("taken back")
            raise ValueError
        return before + await self.add(text)


NOTES = Notes.namespace.get_by_name("notes")


async def test_S4_after_delete_all_the_tables_of_the_migrations_are_there_again(local: LocalObjects) -> None:
    assert await NOTES.add("first") == 1
    assert await NOTES.clear_and_add("in the same event") == 1
    await NOTES.clear_and_put()
    assert await NOTES.read() == {"made": True, "cleared": 1}
    assert await NOTES.add("in a later event") == 1
    await NOTES.clear()
    assert await NOTES.add("after nothing was stored") == 1
    await NOTES.clear_and_put()
    await local.evict(NOTES)
    assert await NOTES.add("after sleep") == 1
    await local.crash()
    assert await NOTES.add("after a crash") == 2


async def test_S4_delete_all_of_an_object_that_never_wrote_leaves_it_whole(local: LocalObjects) -> None:
    assert await NOTES.clear_and_add("first") == 1
    assert await NOTES.add("second") == 2


async def test_S4_delete_all_and_what_follows_may_be_undone_in_parts(local: LocalObjects) -> None:
    await NOTES.add("first")
    assert await NOTES.clear_with_parts_undone("after") == 2 + 1
    assert await NOTES.add("and") == 2


async def test_S4_an_object_of_a_class_with_tables_loses_its_file_once_it_is_empty(
    local: LocalObjects,
) -> None:
    await NOTES.add("first")
    await NOTES.clear()
    assert await NOTES.read() == {}
    await local.advance(11)
    assert not local.has_file(NOTES)
    assert local.catalog.entries == {}
    assert await NOTES.add("as new") == 1


async def test_S4_an_object_that_is_looked_at_while_its_answers_are_kept_loses_its_file_all_the_same(
    local: LocalObjects,
) -> None:
    async def clear_notes(_: Lab) -> None:
        await NOTES.clear()

    await NOTES.add("first")
    await do(lab("caller"), clear_notes)
    await local.evict(NOTES)
    assert local.has_file(NOTES)  # the caller's event may be repeated
    assert await NOTES.read() == {}
    await local.evict(NOTES)
    await local.advance(DERIVED_CALL_MS / 1000 + 1)
    await local.advance(11)
    assert not local.has_file(NOTES)
    assert await NOTES.add("as new") == 1


async def test_S4_the_tables_of_an_emptied_object_are_made_when_it_stores_something_after_its_sleep(
    local: LocalObjects,
) -> None:
    ws = await local.connect(NOTES)
    await NOTES.add("first")
    await NOTES.clear()
    await local.evict(NOTES)
    assert local.has_file(NOTES)  # it has a socket
    assert await NOTES.add("second") == 1
    await NOTES.clear()
    await local.evict(NOTES)
    await ws.close()
    await local.evict(NOTES)
    assert not local.has_file(NOTES)


def _renew(ctx: Any) -> None:
    ctx.storage.delete_all()
    ctx.storage.sql.exec("CREATE TABLE note (text, author)")


class Renewed(DurableObject):
    """One of its migrations begins anew."""

    migrations = ("CREATE TABLE note (text)", _renew)

    async def authors(self) -> int:
        return int(self.ctx.storage.sql.exec("SELECT count(author) FROM note").one()[0])


async def test_S4_delete_all_in_a_migration_does_not_run_it_again(local: LocalObjects) -> None:
    assert await Renewed.namespace.get_by_name("renewed").authors() == 0


class Waiting(DurableObject):
    """Its migration would have to wait."""

    async def _wait(ctx: Any) -> None:  # noqa: N805
        ctx.storage.put("never", 1)

    migrations = (_wait,)

    async def read(self) -> dict[str, Any]:
        return self.ctx.storage.list()


@pytest.mark.filterwarnings("ignore:coroutine 'Waiting._wait' was never awaited")
async def test_S11_a_migration_that_waits_is_refused(local: LocalObjects) -> None:
    with pytest.raises(RemoteError, match="not `async def`"):
        await Waiting.namespace.get_by_name("w").read()


class Scripted(DurableObject):
    """Its second migration has statements behind one that gives rows, and is run when it has a file."""

    migrations = (
        lambda ctx: ctx.storage.put("made", True),
        "CREATE TABLE t (x); SELECT 1 UNION SELECT 2; INSERT INTO t VALUES (1)",
    )

    async def count(self) -> int:
        return int(self.ctx.storage.sql.exec("SELECT count(*) FROM t").one()[0])


async def test_S11_all_statements_of_a_migration_run(local: LocalObjects) -> None:
    assert await Scripted.namespace.get_by_name("s").count() == 1
