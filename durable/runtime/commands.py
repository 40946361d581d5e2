"""What an operator may ask of a worker: it waits for no queue, and looking wakes nothing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from durable.core import codec
from durable.core.envelope import Command
from durable.errors import NotCallableError

from .events import Answer
from .exports import Export

if TYPE_CHECKING:
    from .activation import Activation
    from .host import Host

log = logging.getLogger(__name__)

MAX_ROWS = 100
MAX_CELL = 200  # characters shown of a value
MAX_READ = 4096  # bytes; of a longer value only the beginning is read


def answer_command(host: Host, command: Command, answer: Answer) -> None:
    """Carry out one command and answer it; `not_owner` when the object is not active here.

    Whatever goes wrong is the answer: the link that the command came by is everybody's.
    """
    if command.verb == "classes":
        answer.reply(codec.encode(host.class_keys()))
        return
    activation = host.activations.get(command.target.id)
    if activation is None or not activation.gate.is_open:
        answer.not_owner(None)
        return
    try:
        _carry_out(command, host, activation, answer)
    except Exception as error:  # noqa: BLE001 - SQLite, or memory, may refuse
        problem = activation.runner.understood(error)
        log.warning("%s: %s failed: %s", activation, command.verb, problem)
        answer.fail(problem)


def _carry_out(command: Command, host: Host, activation: Activation, answer: Answer) -> None:
    match command.verb:
        case "show":
            answer.reply(codec.encode(_show(activation)))
        case "tables":
            answer.reply(codec.encode(_tables(activation)))
        case "export" | "backup":
            Export(activation, host.exports, answer, backup=command.verb == "backup").step()
        case "evict":
            _when_left(host.evict(command.target.id), answer)
        case "abort":
            activation.runner.abort("aborted by an operator")
            answer.reply(codec.encode(None))
        case _:
            answer.fail(NotCallableError(f"there is no command {command.verb!r}"))


def _when_left(left: asyncio.Future[None] | None, answer: Answer) -> None:
    if left is None:
        answer.not_owner(None)
    else:
        left.add_done_callback(lambda _: answer.reply(codec.encode(None)))


def _show(activation: Activation) -> dict[str, Any]:
    store = activation.gate.store
    alarm = store.metadata.get_alarm()
    running = activation.running
    return {
        "name": activation.object_id.name,
        "epoch": activation.epoch,
        "sockets": len(activation.sockets),
        "alarm": None if alarm is None else alarm.at,
        "alarm_retries": 0 if alarm is None else alarm.retries,
        "alarm_error": store.metadata.alarm_error(),
        "storage_bytes": store.database.size if store.has_file else 0,
        "queue_depth": len(activation.mailbox),
        "running": None if running is None else running.label,
        "created_at": store.created_at if store.has_file else None,
        "idle_seconds": activation.host.clock() - activation.last_active,
        "commits": store.transactions.seq,
        "durable": store.log.durable,
        "sockets_list": [
            {"id": ws.id, "gateway": ws.gateway, "tags": ws.tags}
            for ws in list(activation.sockets)[:MAX_ROWS]
        ],
    }


def _tables(activation: Activation) -> list[dict[str, Any]]:
    """The object's own tables and their first rows, as far as they are committed or about to be."""
    database = activation.gate.store.database
    return read_tables(lambda sql: database.rows(sql))


def read_tables(query: Any) -> list[dict[str, Any]]:
    """Name, columns and first rows of every table worth showing. `query(sql)` gives rows."""
    names = [
        row[0]
        for row in query(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND (name = '_do_kv' OR name NOT LIKE '\\_do\\_%' ESCAPE '\\') ORDER BY name LIMIT 200"
        )
    ]
    return [_table(query, name) for name in names]


def _table(query: Any, name: str) -> dict[str, Any]:
    kv = name == "_do_kv"
    columns = [row[1] for row in query(f"PRAGMA table_info({_quoted(name)})")]
    # Of a long value only the beginning is read, and its length: a row may have many megabytes.
    looks = ", ".join(
        f"CASE WHEN octet_length({c}) > {MAX_READ} THEN substr({c}, 1, {MAX_CELL}) ELSE {c} END, octet_length({c})"
        for c in map(_quoted, columns)
    )
    rows = query(f"SELECT {looks} FROM {_quoted(name)} LIMIT {MAX_ROWS + 1}") if columns else []
    return {
        "name": "key-value storage" if kv else name,
        "columns": columns,
        "rows": [
            [cell(value, size, kv=kv) for value, size in zip(row[::2], row[1::2], strict=True)]
            for row in rows[:MAX_ROWS]
        ],
        "more": len(rows) > MAX_ROWS,
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def cell(value: Any, size: int | None, *, kv: bool = False) -> str | int | float | None:
    """A value as an operator sees it: short, and never raw bytes. `size` is its whole length in bytes."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, bytes):
        if kv and len(value) == size:
            with suppress(Exception):  # shown as bytes then
                return _short(repr(codec.decode(value)))
        return f"x'{value[:32].hex()}'" + (f" … {size} bytes" if len(value) > 32 else "")
    return _short(value)


def _short(text: str) -> str:
    return text if len(text) < MAX_CELL else text[: MAX_CELL - 1] + "…"
