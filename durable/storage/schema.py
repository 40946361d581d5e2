"""The tables that the runtime keeps in every object's file; all carry the reserved prefix `_do_`."""

from __future__ import annotations

FORMAT = 1
"""Version of these tables, stored in `_do_meta.format`."""

PREFIX = "_do_"

SCHEMA = """
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
