"""The object's own SQL: checked bindings, lazy cursors, clear errors, bounded time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import apsw

from durable.errors import SqlError, StatementTimeoutError, StorageError

from .database import Database
from .failures import storage_failure
from .transactions import Transactions

_OWN = (
    apsw.SQLITE_PREPARE_PERSISTENT
)  # a cache entry of its own: a class's statement never meets one of the runtime's
_BINDABLE = (type(None), bool, int, float, str, bytes)
_EXACTLY_BINDABLE = frozenset(_BINDABLE)
_STATEMENTS_KNOWN, _KNOWN_CHARACTERS = 200, 2000  # of one class; of one statement
_NO_CODE = re.compile(
    r"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|$)", re.DOTALL
)  # texts, names, comments
_ROLLS_BACK = re.compile(r"\b(?:or|conflict)\s+rollback\b|\braise\s*\(\s*rollback\b")
_CHANGES = ("insert", "update", "delete", "replace")


class _Known(NamedTuple):
    """What need not be asked of a statement again: whether it writes, and its columns' names."""

    writes: bool
    columns: list[str]


_known_statements: dict[str, dict[str, _Known]] = {}  # by class and text


class SqlCursor:
    """The result of one `exec`: iterate it, or ask for all or one of its rows. Rows are tuples.

    Attributes:
        column_names: of the result.
        rows_read: rows handed out so far.
        rows_written: rows that the statement inserted, changed or deleted.
    """

    def __init__(
        self, sql: Sql, rows: Iterator[tuple[Any, ...]], column_names: list[str], rows_written: int
    ) -> None:
        self._sql = sql
        self._rows = rows
        self.column_names = column_names
        self.rows_read = 0
        self.rows_written = rows_written

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        row = self._sql.step(self._rows)
        self.rows_read += 1
        return row

    def to_list(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return list(self)

    def one(self) -> tuple[Any, ...]:
        """The only row; raises SqlError when there is none or more than one."""
        rows = []
        for row in self:
            rows.append(row)
            if len(rows) > 1:
                if isinstance(self._rows, apsw.Cursor):
                    self._rows.close(True)
                raise SqlError("one() was asked for, but there is more than one row")
        if not rows:
            raise SqlError("one() was asked for, but there is no row")
        return rows[0]


def check_text(lowered: str) -> None:
    """Raise SqlError for what the authorizer is not told of: names of the runtime's, and what ends the transaction."""
    if "_do_" in lowered and ("alter" in lowered or "reindex" in lowered):
        raise SqlError("names that begin with _do_ are the runtime's")
    if "rollback" in lowered and _ROLLS_BACK.search(_NO_CODE.sub(" ", lowered)):
        raise SqlError(
            "ROLLBACK would undo other events too: let it be OR ABORT, ON CONFLICT ABORT, RAISE(ABORT, ...)"
        )


def _check_bindable(bindings: tuple[Any, ...]) -> None:
    for binding in bindings:
        if not isinstance(binding, _BINDABLE):
            raise SqlError(f"a {type(binding).__name__} cannot be bound; bind None, int, float, str or bytes")


def _running(cursor: apsw.Cursor) -> bool:
    try:
        cursor.get_description()
    except (apsw.ExecutionCompleteError, apsw.CursorClosedError):
        return False
    return True


class Sql:
    """Runs the class's own statements inside the event's transaction."""

    def __init__(self, database: Database, transactions: Transactions, class_key: str) -> None:
        self._database = database
        self._transactions = transactions
        self._open: list[apsw.Cursor] = []
        self._takes_all = False  # all rows of the text are read at once
        self._left = ""  # of the text that runs, what has not begun
        self._columns: list[str] = []  # of the statement that runs
        self._traced: list[bool] = []  # of the statements of this text, which of them write
        self._known = _known_statements.setdefault(class_key, {})

    def exec(self, statement: str, *bindings: Any) -> SqlCursor:
        """Run `statement` with `bindings` for its `?` places.

        Several statements may stand in one text if only the last one gives rows: those after it would run when all rows
        have been read, or never. Raises SqlError with SQLite's text and code; the object stays healthy.
        StatementTimeoutError when it ran past its time limit; if it had been writing, the whole event then fails.
        """
        if not _EXACTLY_BINDABLE.issuperset(map(type, bindings)):  # as good as always it is one
            _check_bindable(bindings)
        known = self._known.get(statement)
        if known is not None:
            return self._exec_known(statement, bindings, known)
        lowered = statement.lower()
        check_text(lowered)
        if "defer_foreign_keys" in lowered:
            self._transactions.may_defer_foreign_keys()
        if not statement.strip():
            raise SqlError("there is no statement in this text")
        self._database.guard.start_deadline()
        cursor = self._exec(statement, bindings)
        self._learn(statement, lowered)
        return cursor

    def run_all(self, text: str) -> None:
        """Run all statements of a text to their ends, whatever rows they give: a migration."""
        self._takes_all = True
        try:
            self.exec(text).to_list()
        finally:
            self._takes_all = False

    def _learn(self, statement: str, lowered: str) -> None:
        """Remember a statement of which the text says all, whatever tables there are: no `*`, no change of the schema."""
        if len(self._known) >= _STATEMENTS_KNOWN or len(statement) > _KNOWN_CHARACTERS:
            return
        if len(self._traced) != 1 or "*" in statement:
            return
        first = lowered.split(None, 1)[0]
        writes = self._traced[0]
        if first in _CHANGES if writes else first == "select":
            self._known[statement] = _Known(writes, list(self._columns))

    def _exec_known(self, statement: str, bindings: tuple[Any, ...], known: _Known) -> SqlCursor:
        connection = self._database.connection
        before = 0
        if known.writes:
            self._transactions.begin_write()
            before = connection.total_changes()
        self._database.guard.start_deadline()
        cursor = connection.cursor()
        self._run(cursor, statement, bindings)
        if not known.writes:
            self._keep_open(cursor)
            return SqlCursor(self, cursor, list(known.columns), 0)
        rows = self._rest(cursor) if known.columns else iter(())
        return SqlCursor(self, rows, list(known.columns), connection.total_changes() - before)

    def _exec(self, statement: str, bindings: tuple[Any, ...]) -> SqlCursor:
        connection = self._database.connection
        before = connection.total_changes()
        cursor = connection.cursor()
        cursor.exec_trace = self._trace
        self._traced, self._left = [], statement
        self._run(cursor, statement, bindings)
        columns, rows = self._columns, cast(Iterator[tuple[Any, ...]], cursor)
        if self._traced and self._traced[-1]:
            rows = self._rest(cursor)
        else:
            self._keep_open(cursor)
        return SqlCursor(self, rows, columns, connection.total_changes() - before)

    def _run(self, cursor: apsw.Cursor, statement: str, bindings: tuple[Any, ...]) -> None:
        try:
            cursor.execute(statement, bindings, prepare_flags=_OWN)
        except apsw.Error as error:
            raise self._failure(error) from None
        except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as error:
            raise SqlError(str(error)) from None

    def _keep_open(self, cursor: apsw.Cursor) -> None:
        """The statement has rows that are read when they are asked for, if any."""
        if _running(cursor):
            self._open = [other for other in self._open if _running(other)]
            self._open.append(cursor)

    def _rest(self, cursor: apsw.Cursor) -> Iterator[tuple[Any, ...]]:
        """What a writing statement returns: SQLite has it all by now, and says only at its end how many rows were written."""
        try:
            return iter(cursor.fetchall())
        except apsw.Error as error:
            raise self._failure(error) from None

    def _trace(self, cursor: apsw.Cursor, sql: str, _bindings: Any) -> bool:
        self._left = self._left[len(sql) :]
        description = cursor.get_description()
        if (
            description
            and self._left
            and not self._takes_all
            and _NO_CODE.sub("", self._left).strip(" \t\r\n\f;")
        ):
            raise SqlError(
                "several statements in one text, of which one before the last gives rows: run them one by one"
            )
        writes = not cursor.is_readonly
        self._traced.append(writes)
        if writes:
            self._transactions.begin_write()
        self._columns = [column[0] for column in description]
        return True

    def step(self, rows: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
        """The next row."""
        self._database.guard.start_deadline()
        try:
            return next(rows)
        except apsw.Error as error:
            raise self._failure(error) from None

    def close_cursors(self) -> None:
        """End every statement that the event left unfinished: it would keep a transaction open."""
        for cursor in self._open:
            cursor.close(True)
        self._open.clear()

    def _failure(self, error: apsw.Error) -> StorageError:
        code = getattr(error, "extendedresult", 0)
        result: StorageError
        if isinstance(error, apsw.InterruptError):
            result = StatementTimeoutError("the statement ran past its time limit and was interrupted", code)
        elif isinstance(error, apsw.FullError | apsw.IOError | apsw.CorruptError | apsw.NotADBError):
            result = storage_failure(error, self._database)
        elif isinstance(error, apsw.AuthError):
            result = SqlError("this statement is not allowed here: " + str(error), code)
        else:
            result = SqlError(str(error), code)
        if self._transactions.lost() or (
            self._transactions.writing and isinstance(error, apsw.InterruptError)
        ):
            self._transactions.doom(result)
        return result
