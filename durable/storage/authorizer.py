"""What an object's own SQL may do: everything inside its database, nothing outside, nothing of the runtime's."""

from __future__ import annotations

import apsw

from .schema import PREFIX

_OK, _DENY = apsw.SQLITE_OK, apsw.SQLITE_DENY

_READING_PRAGMAS = frozenset(
    (
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "foreign_key_check",
        "function_list",
        "quick_check",
        "integrity_check",
        "page_count",
        "page_size",
        "data_version",
        "defer_foreign_keys",
    )
)
_SETTABLE = frozenset(("defer_foreign_keys",))
_WITH_TARGET = frozenset(
    (
        "table_info",
        "table_xinfo",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "foreign_key_check",
    )
) | frozenset(("quick_check", "integrity_check"))
_REFUSED = frozenset(
    (
        apsw.SQLITE_TRANSACTION,
        apsw.SQLITE_SAVEPOINT,
        apsw.SQLITE_ATTACH,
        apsw.SQLITE_DETACH,
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_DROP_TEMP_INDEX,
        apsw.SQLITE_DROP_TEMP_TABLE,
        apsw.SQLITE_DROP_TEMP_TRIGGER,
        apsw.SQLITE_DROP_TEMP_VIEW,
    )
)
_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))


def _reserved(name: str | None) -> bool:
    return name is not None and name[: len(PREFIX)].lower() == PREFIX


def restrict(connection: apsw.Connection) -> None:
    """Switch off what lets a statement, or a schema that it has made, do more than SQL should; foreign keys hold."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)


def authorize(action: int, first: str | None, second: str | None, inner: str | None) -> int:
    """SQLite's question about one step of a statement: SQLITE_OK or SQLITE_DENY.

    Args:
        action: SQLite's action code.
        first: its first argument (mostly a table), by action.
        second: its second argument, by action.
        inner: the trigger or view that asks, if any.
    """
    if action in _REFUSED:
        return _DENY
    if action == apsw.SQLITE_PRAGMA:
        return _pragma((first or "").lower(), second)
    if action == apsw.SQLITE_FUNCTION:
        return _DENY if (second or "").lower() in _FUNCTIONS else _OK
    if action == apsw.SQLITE_ALTER_TABLE:
        return _DENY if _reserved(second) else _OK
    return _DENY if _reserved(first) or _reserved(second) or _reserved(inner) else _OK


def _pragma(name: str, argument: str | None) -> int:
    if name not in _READING_PRAGMAS or _reserved(argument):
        return _DENY
    if argument is not None and name not in _WITH_TARGET and name not in _SETTABLE:
        return _DENY
    return _OK
