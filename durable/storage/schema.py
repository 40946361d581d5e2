"""The tables that the runtime keeps in every object's file; all carry the reserved prefix `_do_`.

A new file is made by the same steps that bring an old one up to date, so the two cannot differ.
"""

from __future__ import annotations

from durable.core.envelope import DERIVED, DERIVED_CALL_MS

PREFIX = "_do_"

WAL_MODE = b"\2\2"
"""Bytes 18 and 19 of SQLite's header: the file opens with a write-ahead log at once."""

_FIRST = """
CREATE TABLE _do_meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    class_key TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    epoch INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    class_version INTEGER NOT NULL DEFAULT 0,
    alarm INTEGER,
    alarm_retries INTEGER NOT NULL DEFAULT 0,
    alarm_error TEXT,
    auto_request TEXT,
    auto_response TEXT
) STRICT;
CREATE TABLE _do_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE _do_calls (
    caller TEXT NOT NULL,
    slot INTEGER NOT NULL,
    number INTEGER NOT NULL,
    outcome BLOB,
    at INTEGER NOT NULL,
    PRIMARY KEY (caller, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE _do_sockets (
    id TEXT PRIMARY KEY,
    gateway TEXT NOT NULL,
    tags TEXT NOT NULL,
    hello BLOB NOT NULL,
    attachment BLOB,
    received INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_STEPS = (
    _FIRST,
    # Numbers of the commits that set the alarm, which tells it from others of the same time, and that accepted a socket,
    # since two may be accepted in one millisecond.
    """
    ALTER TABLE _do_meta ADD COLUMN alarm_number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE _do_sockets RENAME COLUMN accepted_at TO accepted;
    UPDATE _do_sockets SET accepted = 0;
    """,
)

ALARM = "SELECT alarm, alarm_retries, alarm_error, alarm_number FROM _do_meta"
_NO_VALUE_NO_TABLE = (
    "NOT EXISTS (SELECT 1 FROM _do_kv) AND NOT EXISTS (SELECT 1 FROM sqlite_schema "
    "WHERE name NOT LIKE '\\_do\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')"
)
EMPTY = f"SELECT coalesce(alarm, alarm_error) IS NULL AND {_NO_VALUE_NO_TABLE} FROM _do_meta"
NEEDED_UNTIL = (
    "SELECT CASE WHEN (SELECT coalesce(alarm, alarm_error, auto_request) FROM _do_meta) IS NULL "
    f"AND NOT EXISTS (SELECT 1 FROM _do_sockets) AND {_NO_VALUE_NO_TABLE} "
    f"THEN (SELECT coalesce(max(at) + {DERIVED_CALL_MS}, 0) FROM _do_calls WHERE caller >= '{DERIVED}') END"
)
"""NULL where something is stored; else until when a call by another object's event that was answered may be repeated, or 0."""
ASKED_OF_ALL = (ALARM, NEEDED_UNTIL)
"""Asked of every object after a commit, or before it sleeps: no file is opened for them."""

FORMAT = len(_STEPS)
"""Version of these tables, stored in `_do_meta.format`."""

SCHEMA = "".join(_STEPS)
"""Makes the tables in an empty database."""


def upgrade_from(form: int) -> str:
    """The statements that bring tables of format `form` up to ours; raises ValueError for one that is not ours."""
    if form not in range(1, FORMAT + 1):
        raise ValueError(f"format {form} was written by other code")
    steps = _STEPS[form:]
    return "".join([*steps, f"UPDATE _do_meta SET format = {FORMAT};"]) if steps else ""
