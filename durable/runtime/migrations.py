"""A class's own schema changes: each runs once per object, in order, in one commit with the version it leads to."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import apsw

from durable.errors import SqlError
from durable.storage.sql import check_text
from durable.storage.store import Store

if TYPE_CHECKING:
    from .context import Context
    from .objects import DurableObject


def migrate(kind: type[DurableObject], store: Store, context: Context) -> None:
    """Run those of the class's migrations that this object has not seen, before its `start`.

    An object that never wrote stays in memory. One that `delete_all` has emptied stays empty: see `migrate_wiped`.
    """
    done, known = store.metadata.class_version(), len(kind.migrations)
    if done == known:
        return
    if store.transactions.is_blank:
        if _run_in_memory(kind, store, known):
            return
    elif not done and store.metadata.is_empty():
        store.metadata.wiped = True
        return
    _run(kind, store, context, done)


def _run(kind: type[DurableObject], store: Store, context: Context, done: int) -> None:
    store.metadata.migrating = True
    try:
        for step in kind.migrations[done:]:
            if isinstance(step, str):
                store.sql.run_all(step)
            else:
                left = step(context)
                if inspect.isawaitable(left):
                    raise TypeError(f"a migration cannot wait: write `def`, not `async def`, for {step!r}")
    finally:
        store.metadata.migrating = False
    store.metadata.set_class_version(len(kind.migrations))


def migrate_wiped(kind: type[DurableObject], store: Store, context: Context) -> None:
    """Give an object its tables back, which `delete_all` has taken, if it has not got them yet.

    That waits until it stores something, or uses SQL: one that is left empty needs no file. It is looked up each time,
    since what has been done about it may have been undone, with its event or a part of it.
    """
    if store.metadata.migrating:
        return
    done = store.metadata.class_version()
    if done < len(kind.migrations):
        with store.transactions.savepoint():
            _run(kind, store, context, done)


def _run_in_memory(kind: type[DurableObject], store: Store, known: int) -> bool:
    """Whether the migrations could run without making a file: they are SQL only."""
    steps = [step for step in kind.migrations if isinstance(step, str)]
    if len(steps) != known:
        return False
    database = store.database
    database.run("SAVEPOINT _do_migrations")
    try:
        database.guard.start_deadline()
        for step in steps:
            check_text(step.lower())
            database.cursor.execute(step).fetchall()
        database.run("UPDATE _do_meta SET class_version = ?1", (known,))
    except (apsw.Error, SqlError):
        if not database.connection.get_autocommit():
            database.run("ROLLBACK TO _do_migrations")
        raise
    database.run("RELEASE _do_migrations")
    return True
