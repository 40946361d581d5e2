"""The object's own SQL: results, errors, what is refused, and time limits."""

from typing import Any

import pytest

from durable.errors import SqlError, StatementTimeoutError, StorageError
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, get, lab, put

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


async def sql(statement: str, *bindings: Any) -> Any:
    """All rows of a statement, run as an event of its own."""
    return await do(lab(), lambda obj: obj.ctx.storage.sql.exec(statement, *bindings).to_list())


@pytest.fixture
async def table(local: LocalObjects) -> None:
    """A table with rows 1 to 5."""
    await sql("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)")
    await sql("INSERT INTO t SELECT value, 'y' || value FROM json_each('[1, 2, 3, 4, 5]')")


@pytest.mark.usefixtures("table")
class TestResults:
    async def test_S5_rows_columns_and_counts(self) -> None:
        def look(obj: Lab) -> Any:
            cursor = obj.ctx.storage.sql.exec("SELECT x, y AS why FROM t WHERE x > ? ORDER BY x", 3)
            rows = cursor.to_list()
            written = obj.ctx.storage.sql.exec("UPDATE t SET y = 'z' WHERE x < 3").rows_written
            return [rows, cursor.column_names, cursor.rows_read, written]

        assert await do(lab(), look) == [[(4, "y4"), (5, "y5")], ["x", "why"], 2, 2]

    async def test_S5_a_statement_that_has_run_before_gives_the_same_again(self) -> None:
        def look(obj: Lab) -> Any:
            run = obj.ctx.storage.sql.exec
            read = run("SELECT x, y AS why FROM t WHERE x > ? ORDER BY x", 3)
            names = list(read.column_names)
            read.column_names.append("the caller's own")
            return [
                (read.to_list(), names, read.rows_written),
                (run("UPDATE t SET y = ? WHERE x < ?", "z", 3).rows_written),
                (run("INSERT INTO t (x, y) VALUES (?, ?) RETURNING x AS made", 9, "n").one()),
                (run("DELETE FROM t WHERE x = ?", 9).rows_written),
            ]

        first = await do(lab(), look)
        assert first == [([(4, "y4"), (5, "y5")], ["x", "why"], 0), 2, (9,), 1]
        assert [await do(lab(), look) for _ in range(3)] == [first] * 3

    async def test_S5_what_a_change_returns_is_whole_and_counted_however_much_of_it_is_read(self) -> None:
        def look(obj: Lab) -> Any:
            run = obj.ctx.storage.sql.exec
            change = "UPDATE t SET y = y || '!' WHERE x < ? RETURNING x, length(y) AS size"
            cursor = run(change, 4)
            first = next(cursor)
            with pytest.raises(SqlError, match="more than one"):
                run(change, 4).one()
            run("CREATE TABLE u (z)")
            run("DROP TABLE u")  # SQLite refuses that while a change is in the middle of its rows
            return [cursor.column_names, cursor.rows_written, first, cursor.to_list(), cursor.rows_read]

        for size in (3, 5, 7):  # the first time, and when the statement is known
            seen = await do(lab(), look)
            assert seen == [["x", "size"], 3, (1, size), [(2, size), (3, size)], 3]

    async def test_S5_one_raises_distinct_errors_for_none_and_several(self) -> None:
        def look(obj: Lab) -> Any:
            run = obj.ctx.storage.sql.exec
            with pytest.raises(SqlError, match="no row"):
                run("SELECT 1 FROM t WHERE x = 99").one()
            with pytest.raises(SqlError, match="more than one"):
                run("SELECT x FROM t").one()
            return run("SELECT x FROM t WHERE x = 2").one()

        assert await do(lab(), look) == (2,)

    async def test_S5_cursors_are_lazy(self) -> None:
        def look(obj: Lab) -> Any:
            cursor = obj.ctx.storage.sql.exec(ENDLESS.replace("max(i)", "i"))
            return [next(cursor), next(cursor), next(cursor)]

        assert await do(lab(), look) == [(1,), (2,), (3,)]

    async def test_S5_two_overlapping_cursors_are_independent(self) -> None:
        def look(obj: Lab) -> Any:
            run = obj.ctx.storage.sql.exec
            one, other = run("SELECT x FROM t ORDER BY x"), run("SELECT x FROM t ORDER BY x DESC")
            same = run("SELECT x FROM t ORDER BY x")
            return [next(one), next(other), next(same), next(one), next(other), next(same)]

        assert await do(lab(), look) == [(1,), (5,), (1,), (2,), (4,), (2,)]

    async def test_S5_a_cursor_left_open_does_not_hinder_the_commit(self) -> None:
        def look(obj: Lab) -> None:
            next(obj.ctx.storage.sql.exec("SELECT x FROM t"))
            put(obj, "key", 1)

        await do(lab(), look)
        assert await do(lab(), get, "key") == 1

    async def test_S5_a_cursor_does_not_outlive_its_event(self) -> None:
        kept = []

        def keep(obj: Lab) -> None:
            kept.append(obj.ctx.storage.sql.exec("SELECT x FROM t"))

        await do(lab(), keep)
        with pytest.raises(SqlError, match="closed"):
            await do(lab(), lambda obj: list(kept[0]))

    async def test_S5_errors_carry_SQLites_text_and_code_and_leave_the_event_healthy(self) -> None:
        def look(obj: Lab) -> Any:
            run = obj.ctx.storage.sql.exec
            with pytest.raises(SqlError, match="no such table: nowhere") as caught:
                run("SELECT * FROM nowhere")
            with pytest.raises(SqlError, match="UNIQUE") as unique:
                run("INSERT INTO t VALUES (1, '')")
            run("INSERT INTO t VALUES (6, 'six')")
            return [caught.value.sqlite_code, unique.value.sqlite_code]

        assert await do(lab(), look) == [1, 1555]
        assert await sql("SELECT y FROM t WHERE x = 6") == [("six",)]

    async def test_S5_an_error_crosses_to_the_caller_as_itself(self) -> None:
        with pytest.raises(SqlError, match="no such column") as caught:
            await sql("SELECT nowhat FROM t")
        assert caught.value.sqlite_code == 1

    @pytest.mark.parametrize("binding", [object(), [1], 2**63], ids=["object", "list", "too large"])
    async def test_S5_what_cannot_be_bound_is_refused(self, binding: Any) -> None:
        with pytest.raises(SqlError):
            await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT ?", binding))

    @pytest.mark.parametrize("bindings", [(), (1, 2)])
    async def test_S5_bindings_that_do_not_match_are_refused(self, bindings: tuple[Any, ...]) -> None:
        with pytest.raises(SqlError):
            await sql("SELECT ?", *bindings)


REFUSED = [
    "BEGIN", "COMMIT", "ROLLBACK", "END", "SAVEPOINT s", "RELEASE s", "ATTACH ':memory:' AS a", "DETACH main", "VACUUM",
    "VACUUM INTO '/tmp/never.db'", "SELECT load_extension('x')", "CREATE TEMP TABLE a (x)", "CREATE TEMP VIEW v AS SELECT 1",
    "PRAGMA journal_mode=DELETE", "PRAGMA synchronous=OFF", "PRAGMA locking_mode=NORMAL", "PRAGMA writable_schema=ON",
    "PRAGMA foreign_keys=OFF", "PRAGMA user_version=5", "PRAGMA wal_checkpoint", "PRAGMA temp_store_directory='/tmp'",
    "PRAGMA table_info(_do_meta)", "PRAGMA page_size=512", "PRAGMA mmap_size=1",
    "SELECT * FROM _do_meta", "SELECT * FROM _DO_META", 'SELECT * FROM "_do_kv"', "SELECT * FROM main._do_kv",
    "UPDATE _do_meta SET epoch = 99", "DELETE FROM _do_calls", "DROP TABLE _do_sockets", "INSERT INTO _do_kv VALUES ('a', x'')",
    "CREATE TABLE _do_mine (x)", "CREATE TABLE _DO_mine (x)", "CREATE INDEX i ON _do_kv (value)",
    "CREATE TABLE copy AS SELECT * FROM _do_meta", "SELECT (SELECT epoch FROM _do_meta)",
    "WITH w AS (SELECT * FROM _do_kv) SELECT * FROM w", "ALTER TABLE t RENAME TO _do_t", "ALTER TABLE _do_kv RENAME TO kv",
    "ALTER TABLE t RENAME COLUMN y TO _do_y", "DELETE FROM sqlite_schema", "UPDATE sqlite_master SET sql = ''",
    "ANALYZE _do_kv", "REINDEX _do_kv", "CREATE VIRTUAL TABLE _do_f USING fts5(x)", "EXPLAIN SELECT * FROM _do_meta",
]  # fmt: skip


@pytest.mark.usefixtures("table")
class TestRefusals:
    @pytest.mark.parametrize("statement", REFUSED)
    async def test_S6_is_refused(self, statement: str) -> None:
        with pytest.raises(SqlError):
            await sql(statement)
        assert await sql("SELECT count(*) FROM t") == [(5,)]

    @pytest.mark.parametrize(
        "makes",
        [
            "CREATE VIEW v AS SELECT * FROM _do_meta",
            "CREATE TRIGGER v AFTER INSERT ON t BEGIN UPDATE _do_meta SET epoch = 99; END",
            "CREATE TRIGGER v AFTER INSERT ON t BEGIN INSERT INTO _do_kv VALUES (new.y, x''); END",
        ],
    )
    async def test_S6_views_and_triggers_do_not_reach_the_runtimes_tables(self, makes: str) -> None:
        with pytest.raises(SqlError):
            await sql(makes)
            await sql("INSERT INTO t VALUES (77, 'x')")
            await sql("SELECT * FROM v")
        assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {}
        assert await lab().increment() == 1

    async def test_S6_the_statement_cache_does_not_hand_out_the_runtimes_statements(self) -> None:
        def attempt(obj: Lab) -> None:
            put(obj, "key", 1)
            for _ in range(3):
                obj.ctx.storage.get("key")
                with pytest.raises(SqlError):
                    obj.ctx.storage.sql.exec("SELECT value FROM _do_kv WHERE key = ?1", "key")

        await do(lab(), attempt)

    async def test_S6_fts_shadow_tables_are_protected(self) -> None:
        await sql("CREATE VIRTUAL TABLE words USING fts5(text)")
        for statement in ("INSERT INTO words_data VALUES (1, x'')", "DROP TABLE words_config"):
            with pytest.raises(SqlError):
                await sql(statement)
        with pytest.raises(SqlError):
            await sql("CREATE VIRTUAL TABLE stolen USING fts5(key, value, content='_do_kv')")
            await sql("SELECT * FROM stolen")

    async def test_S6_several_statements_in_one_are_judged_each(self) -> None:
        with pytest.raises(SqlError):
            await sql("SELECT 1; COMMIT; SELECT 2")
        assert await lab().increment() == 1


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT json_extract('{\"a\": 5}', '$.a')", [(5,)]),
        ("SELECT sum(x) OVER (ORDER BY x) FROM (SELECT 1 AS x UNION SELECT 2)", [(1,), (3,)]),
        ("CREATE TABLE r (x); INSERT INTO r VALUES (1) RETURNING x + 1", [(2,)]),
        (
            (
                "CREATE VIRTUAL TABLE f USING fts5(text); INSERT INTO f VALUES ('hello world');"
                "SELECT text FROM f WHERE f MATCH 'world'"
            ),
            [("hello world",)],
        ),
        (
            "CREATE VIRTUAL TABLE g USING rtree(id, a, b); INSERT INTO g VALUES (1, 0, 5); SELECT id FROM g WHERE a < 1",
            [(1,)],
        ),
        ("PRAGMA foreign_key_check", []),
    ],
    ids=["json", "window", "returning", "fts5", "rtree", "reading pragma"],
)
async def test_S6_the_rest_of_SQLite_works(local: LocalObjects, statement: str, rows: list[Any]) -> None:
    assert await sql(statement) == rows


async def test_S5_what_is_known_of_a_statement_holds_for_every_object(local: LocalObjects) -> None:
    """That it writes, for one that has never written, and that it makes sense, for one that has no such table."""
    other = lab("other")
    insert = "INSERT INTO known (x) VALUES (?)"

    def make(obj: Lab) -> None:
        obj.ctx.storage.sql.exec("CREATE TABLE known (x INTEGER)")
        obj.ctx.storage.sql.exec(insert, 1)
        obj.ctx.storage.sql.exec(insert, 2)

    await do(lab(), make)
    assert await sql("SELECT x FROM known ORDER BY x") == [(1,), (2,)]
    for statement in (insert, "SELECT x FROM known WHERE x = ?"):
        with pytest.raises(SqlError, match="no such table"):
            await do(other, lambda obj, text=statement: obj.ctx.storage.sql.exec(text, 3))
    await do(other, make)
    assert await do(other, lambda obj: obj.ctx.storage.sql.exec("SELECT x FROM known").to_list()) == [
        (1,),
        (2,),
    ]


async def test_S8_a_reading_statement_over_its_time_is_interrupted_and_the_event_goes_on(
    local: LocalObjects,
) -> None:
    def attempt(obj: Lab) -> str:
        put(obj, "before", 1)
        return "committed first"

    def read(obj: Lab) -> int:
        with pytest.raises(StatementTimeoutError):
            obj.ctx.storage.sql.exec(ENDLESS)
        put(obj, "after", 1)
        return 5

    await do(lab(), attempt)
    local.clock.step = 0.01
    assert await do(lab(), read) == 5
    local.clock.step = 0.0
    assert await do(lab(), get, "after") == 1


async def test_S8_a_statement_interrupted_in_an_event_that_wrote_fails_the_event_as_a_whole(
    local: LocalObjects,
) -> None:
    def write_then_read(obj: Lab) -> None:
        put(obj, "before", 1)
        with pytest.raises(StatementTimeoutError):
            obj.ctx.storage.sql.exec(ENDLESS)
        with pytest.raises(StorageError):
            put(obj, "after", 1)

    local.clock.step = 0.01
    with pytest.raises(StatementTimeoutError):
        await do(lab(), write_then_read)
    local.clock.step = 0.0
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {}


async def test_S8_a_lazy_cursor_has_the_limit_for_each_row(local: LocalObjects) -> None:
    def read(obj: Lab) -> None:
        cursor = obj.ctx.storage.sql.exec(f"SELECT 1 UNION ALL SELECT * FROM ({ENDLESS})")
        with pytest.raises(StatementTimeoutError):
            list(cursor)

    local.clock.step = 0.01
    await do(lab(), read)


async def test_S9_a_full_database_fails_the_event_and_nothing_is_half_written(local: LocalObjects) -> None:
    await lab().increment()
    await lab().increment()  # the first one made the file, this one opens it
    local.host.activations[str(lab().id)].gate.store.database.row("PRAGMA max_page_count=40")  # type: ignore[attr-defined]

    def fill(obj: Lab) -> None:
        put(obj, "first", 1)
        for number in range(10):
            put(obj, f"k{number}", b"x" * 100_000)

    with pytest.raises(StorageError, match="full"):
        await do(lab(), fill)
    assert await lab("other").increment() == 1
    assert await do(lab(), lambda obj: obj.ctx.storage.list()) == {"value": 2}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    "text",
    [
        "SELECT x FROM t; UPDATE t SET y = 'z'",
        "SELECT x FROM t WHERE x > 9; UPDATE t SET y = 'z'",
        "DELETE FROM t WHERE x = 1 RETURNING x; UPDATE t SET y = 'z'",
        "SELECT x FROM t /* ; */; -- and\n ; UPDATE t SET y = 'z'",
    ],
)
async def test_S5_no_statement_waits_for_the_rows_of_one_before_it(text: str) -> None:
    with pytest.raises(SqlError, match="one by one"):
        await sql(text)
    assert await sql("SELECT count(*) FROM t WHERE y = 'z'") == [(0,)]
    assert await sql("SELECT count(*) FROM t") == [(5,)]


@pytest.mark.usefixtures("table")
async def test_S5_several_statements_of_which_the_last_gives_rows_are_run() -> None:
    text = "UPDATE t SET y = 'z'; DELETE FROM t WHERE x > 1; /* all */ SELECT * FROM t; -- no more\n;"
    assert await sql(text) == [(1, "z")]
    assert await sql("SELECT x FROM t -- é;") == [(1,)]


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("text", ["", " \n"])
async def test_S5_a_text_without_a_statement_is_refused(text: str) -> None:
    with pytest.raises(SqlError, match="no statement"):
        await sql(text)
