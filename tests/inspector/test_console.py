"""The SQL console reads one object's tables: it cannot write, reach other files, or run past its limit."""

from pathlib import Path
from typing import Any

import pytest

from durable.errors import SqlError, StorageError
from durable.identity import id_from_name
from durable.inspector import Inspector, copies
from durable.models import AuditEntry
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, lab, put

pytestmark = pytest.mark.django_db(transaction=True)

ID = id_from_name("Lab", "lab")


async def fill(obj: Lab) -> None:
    put(obj, "colour", "blue")
    sql = obj.ctx.storage.sql
    sql.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
    sql.exec("CREATE VIRTUAL TABLE found USING fts5(text)")
    for number in range(5):
        sql.exec("INSERT INTO note VALUES (?, ?)", number, f"note {number}")
        sql.exec("INSERT INTO found VALUES (?)", f"note {number}")


@pytest.fixture
async def filled(local: LocalObjects) -> LocalObjects:
    await do(lab(), fill)
    return local


@pytest.mark.parametrize("asleep", [False, True])
async def test_statements_that_read(filled: LocalObjects, operator: Inspector, asleep: bool) -> None:
    async def rows(statement: str, limit: int = 100) -> list[Any]:
        found = await operator.sql(ID, statement, limit)
        assert found is not None
        return found.rows

    if asleep:
        await filled.evict(lab())
    assert await rows("SELECT count(*), max(text) FROM note") == [[5, "note 4"]]
    assert await rows("SELECT text FROM found WHERE found MATCH '3'") == [["note 3"]]
    assert await rows("SELECT * FROM _do_kv") == [["colour", "'blue'"]]
    assert await rows("WITH n AS (SELECT id FROM note) SELECT sum(id) FROM n") == [[10]]
    assert [row[1] for row in await rows("PRAGMA table_info(note)")] == ["id", "text"]
    assert await rows("SELECT 1; -- that is all") == [[1]]
    first = await operator.sql(ID, "SELECT id FROM note ORDER BY id", 2)
    assert first is not None
    assert (first.columns, first.rows, first.more) == (["id"], [[0], [1]], True)
    empty = await operator.sql(ID, "SELECT id AS a, text FROM note WHERE 0", 2)
    assert empty is not None
    assert (empty.columns, empty.rows, empty.more) == (["a", "text"], [], False)
    assert filled.is_active(lab()) is not asleep


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM note",
        "UPDATE note SET text = ''",
        "INSERT INTO note VALUES (9, '')",
        "DROP TABLE note",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x (y)",
        "WITH n AS (SELECT 1) DELETE FROM note",
        "SELECT 1; DELETE FROM note",
        "SELECT id FROM note; SELECT 1, 2",
        "SELECT 1; -- and\nSELECT 2",
        "",
        "-- nothing",
        "SELECT '\udcff'",
        "BEGIN",
        "VACUUM",
        "VACUUM INTO '{folder}/out'",
        "ATTACH '{folder}/out' AS other",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = OFF",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('{folder}/out', 'x')",
        "SELECT zeroblob(1000000000)",
        "INSERT INTO found(found) VALUES ('optimize')",
        "nonsense",
    ],
)
async def test_N4_all_else_is_refused(
    filled: LocalObjects, operator: Inspector, tmp_path: Path, statement: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(SqlError):
        await operator.sql(ID, statement.format(folder=tmp_path), 10)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT count(*) FROM note").one()) == (5,)


@pytest.mark.parametrize(
    "statement",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n ORDER BY i DESC",
    ],
)
async def test_N4_a_statement_is_interrupted_at_its_limit(
    filled: LocalObjects, operator: Inspector, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr(copies, "READ_SECONDS", 0.2)
    with pytest.raises(StorageError, match="longer than"):
        await operator.sql(ID, statement, 10)


async def test_N3_statements_are_recorded(filled: LocalObjects, operator: Inspector) -> None:
    await operator.sql(ID, "SELECT 1", 10)
    entry = await AuditEntry.objects.aget()
    assert (entry.what, entry.details, entry.result) == ("object.sql", {"statement": "SELECT 1"}, "ok")


async def test_an_object_without_storage_has_nothing_to_read(
    local: LocalObjects, operator: Inspector
) -> None:
    assert await operator.sql(ID, "SELECT 1", 10) is None
