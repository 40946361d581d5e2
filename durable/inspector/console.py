"""One SQL statement of an operator, on a copy: it can read the object's tables and nothing else, for a bounded time.

What may be done is listed; all else is refused by SQLite's authorizer, whichever way a statement is phrased.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw
import apsw.ext

from durable.errors import SqlError
from durable.runtime.commands import cell

from .copies import Copy

MAX_VALUE_BYTES = 4 * 1024 * 1024
_ALLOWED = frozenset((apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE))
_PRAGMAS = frozenset(
    (
        "data_version",
        "table_list",
        "table_info",
        "table_xinfo",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
    )
)
_REFUSED_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "sqlite_log", "randomblob", "zeroblob"))


class Result(NamedTuple):
    """Rows of a statement, values shortened; `more` when there are others behind."""

    columns: list[str]
    rows: list[list[str | int | float | None]]
    more: bool


def select(copy: Copy, statement: str, limit: int) -> Result:
    """Run one statement that only reads. Raises SqlError with SQLite's text."""
    connection = copy.connection
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.limit(
        apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200
    )  # a match is one step, which nothing interrupts
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA query_only=ON; PRAGMA temp_store=MEMORY").fetchall()
    connection.authorizer = _authorize
    try:
        columns = _columns(connection, statement)
        rows: list[list[str | int | float | None]] = []
        for row in connection.cursor().execute(statement):
            if len(rows) == limit:
                return Result(columns, rows, more=True)
            rows.append([_shown(value) for value in row])
        return Result(columns, rows, more=False)
    except apsw.InterruptError:
        raise
    except UnicodeEncodeError:
        raise SqlError("this is not text: it contains bytes that are no UTF-8") from None
    except apsw.AuthError:
        raise SqlError("only statements that read this object's tables are allowed here") from None
    except apsw.Error as error:
        raise SqlError(str(error), getattr(error, "extendedresult", 0)) from None


def _columns(connection: apsw.Connection, statement: str) -> list[str]:
    """The columns of the one statement that this text is to be."""
    found = apsw.ext.query_info(connection, statement)
    if not found.description:
        raise SqlError("there is no statement that gives rows")
    if found.query_remaining and apsw.ext.query_info(connection, found.query_remaining).description:
        raise SqlError("several statements in one text: run them one by one")
    return [name for name, _ in found.description]


def _shown(value: Any) -> str | int | float | None:
    return cell(value, len(value) if isinstance(value, bytes | str) else None, kv=True)


def _authorize(action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
    if action in _ALLOWED:
        return apsw.SQLITE_OK
    if action == apsw.SQLITE_FUNCTION and second not in _REFUSED_FUNCTIONS:
        return apsw.SQLITE_OK
    if action == apsw.SQLITE_PRAGMA and first in _PRAGMAS:
        return apsw.SQLITE_OK
    return apsw.SQLITE_DENY
