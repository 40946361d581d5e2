"""What the runtime keeps in an object's own file: its alarm, its sockets and the calls it has answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw
import msgspec

from durable.core.envelope import DERIVED

from .database import Database
from .guard import MAX_VALUE_BYTES
from .schema import ALARM, EMPTY, NEEDED_UNTIL
from .transactions import Transactions

SMALL_OUTCOME_BYTES = 1024 * 1024
MAX_OUTCOME_BYTES = 40 * 1024 * 1024  # a result of 32 MiB, with room for what surrounds it

_PUT_CALL = (
    "INSERT INTO _do_calls (caller, slot, number, outcome, at) VALUES (?1, ?2, ?3, ?4, ?5) "
    "ON CONFLICT (caller, slot) DO UPDATE SET number = excluded.number, outcome = excluded.outcome, at = excluded.at"
)
_FORGET_CALLS = f"DELETE FROM _do_calls WHERE at < ?1 AND (caller >= '{DERIVED}' OR at < ?2)"
_GET_CALL = "SELECT number, outcome FROM _do_calls WHERE caller = ?1 AND slot = ?2"

_tags_encoder = msgspec.json.Encoder()
_tags_decoder = msgspec.json.Decoder(list[str])


class Alarm(NamedTuple):
    """When an object wants to be woken: `at` in ms since the epoch; how often that alarm has failed; the last error.

    `number` tells one setting of the alarm from every other, also of the same time.
    """

    at: int
    retries: int
    error: str | None
    number: int


class SocketRow(NamedTuple):
    """An accepted socket as its object remembers it.

    `hello` is the encoded opening (url, headers, user); `received` numbers the last frame that an event wrote for.
    """

    id: str
    gateway: str
    tags: list[str]
    hello: bytes
    received: int


class Metadata:
    """The runtime's rows in one object's file; every change is part of the running event's transaction.

    Attributes:
        wiped: the class's tables have been dropped, and may have to be made again.
        migrating: the class's migrations are under way.
    """

    def __init__(self, database: Database, transactions: Transactions) -> None:
        self._database = database
        self._transactions = transactions
        self.wiped = False
        self.migrating = False

    # -- alarm

    def get_alarm(self) -> Alarm | None:
        """The alarm that is set, or None."""
        if self._transactions.is_blank:
            return None
        alarm = self._database.row(ALARM)
        return None if alarm[0] is None else Alarm(*alarm)

    def set_alarm(self, at: int | None, retries: int = 0, error: str | None = None) -> None:
        """Set the alarm to `at` (ms since the epoch), or clear it."""
        self._transactions.write(
            "UPDATE _do_meta SET alarm = ?1, alarm_retries = ?2, alarm_error = ?3, alarm_number = ?4",
            (at, retries, error, self._transactions.seq + 1),
        )

    def alarm_error(self) -> str | None:
        """Why the last alarm was abandoned or failed, if it did."""
        return self._database.row("SELECT alarm_error FROM _do_meta")[0]  # type: ignore[no-any-return]

    # -- calls that were answered

    def call_outcome(self, caller: str, slot: int) -> tuple[int, bytes | None] | None:
        """(number, outcome) of the last writing call of this caller and slot, or None."""
        if self._transactions.is_blank:
            return None
        with self._large_values():
            return self._database.row(_GET_CALL, (caller, slot))  # type: ignore[no-any-return]

    def put_call(self, caller: str, slot: int, number: int, outcome: bytes | None, now: int) -> None:
        """Remember the outcome of a writing call; it replaces the slot's previous one, which its caller has."""
        if outcome is None or len(outcome) < SMALL_OUTCOME_BYTES:
            self._transactions.write(_PUT_CALL, (caller, slot, number, outcome, now))
            return
        with self._large_values():
            self._transactions.write(_PUT_CALL, (caller, slot, number, outcome, now))

    @contextmanager
    def _large_values(self) -> Iterator[None]:
        """Within this block SQLite takes values as large as a call's result may be."""
        connection = self._database.connection
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_OUTCOME_BYTES)
        try:
            yield
        finally:
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)

    def forget_calls(self, derived: int, others: int) -> None:
        """Forget calls by other objects' events, and those of other callers, answered before then (ms)."""
        self._transactions.write(_FORGET_CALLS, (derived, others))

    # -- sockets

    def sockets(self) -> list[SocketRow]:
        """All accepted sockets, oldest first."""
        if self._transactions.is_blank:
            return []
        rows = self._database.rows(
            "SELECT id, gateway, tags, hello, received FROM _do_sockets ORDER BY accepted, id"
        )
        return [
            SocketRow(id_, gateway, _tags_decoder.decode(tags), hello, n)
            for id_, gateway, tags, hello, n in rows
        ]

    def add_socket(self, row: SocketRow) -> None:
        """Remember an accepted socket."""
        self._transactions.write(
            "INSERT INTO _do_sockets (id, gateway, tags, hello, received, accepted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                row.id,
                row.gateway,
                _tags_encoder.encode(row.tags).decode(),
                row.hello,
                row.received,
                self._transactions.seq + 1,
            ),
        )

    def remove_socket(self, socket_id: str) -> None:
        """Forget a socket."""
        self._transactions.write("DELETE FROM _do_sockets WHERE id = ?1", (socket_id,))

    def set_received(self, socket_id: str, number: int) -> None:
        """Remember that frame `number` of the socket has been handled. Part of an event that writes anyway."""
        self._transactions.write("UPDATE _do_sockets SET received = ?2 WHERE id = ?1", (socket_id, number))

    def get_attachment(self, socket_id: str) -> bytes | None:
        """The encoded attachment of a socket, or None."""
        row = self._database.row("SELECT attachment FROM _do_sockets WHERE id = ?1", (socket_id,))
        return row[0] if row else None

    def set_attachment(self, socket_id: str, data: bytes) -> None:
        """Replace the attachment of a socket."""
        self._transactions.write("UPDATE _do_sockets SET attachment = ?2 WHERE id = ?1", (socket_id, data))

    # -- auto-response

    def auto_response(self) -> tuple[str, str] | None:
        """(request, response) that gateways answer without waking the object, or None."""
        request, response = self._database.row("SELECT auto_request, auto_response FROM _do_meta")
        return None if request is None else (request, response)

    def set_auto_response(self, request: str | None, response: str | None) -> None:
        """Replace the auto-response; None clears it."""
        if (self.auto_response() or (None, None)) == (request, response):
            return
        self._transactions.write(
            "UPDATE _do_meta SET auto_request = ?1, auto_response = ?2", (request, response)
        )

    # -- the class's schema

    def class_version(self) -> int:
        """How many of the class's migrations have run here."""
        return self._database.row("SELECT class_version FROM _do_meta")[0]  # type: ignore[no-any-return]

    def set_class_version(self, version: int) -> None:
        """Remember that the first `version` migrations have run."""
        self._transactions.write("UPDATE _do_meta SET class_version = ?1", (version,))

    # -- everything

    def wipe(self) -> None:
        """Delete all that the class has stored, and the alarm; sockets, with their auto-response, and answered calls stay.

        Its tables go too, so that an object left empty loses its file: none of its migrations has run then.
        """
        self.wiped = True
        self.set_class_version(0)
        self._transactions.write("DELETE FROM _do_kv")
        self._transactions.write(
            "UPDATE _do_meta SET auto_request = NULL, auto_response = NULL WHERE NOT EXISTS (SELECT 1 FROM _do_sockets)"
        )
        self.set_alarm(None)
        self._transactions.may_defer_foreign_keys()
        self._transactions.write("PRAGMA defer_foreign_keys=ON")
        self._drop_own_tables()

    def _drop_own_tables(self) -> None:
        own = (
            "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger', 'table') "
            "AND name NOT LIKE '\\_do\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "ORDER BY type = 'table', sql LIKE 'CREATE VIRTUAL%' DESC LIMIT 1"
        )
        while found := self._transactions.read(own):
            kind, name = found[0]
            quoted = str(name).replace('"', '""')
            self._transactions.write(f'DROP {kind} IF EXISTS "{quoted}"')

    def is_empty(self) -> bool:
        """Whether there is nothing of the class's: no value, no table and no alarm."""
        return bool(self._database.row(EMPTY)[0])

    def needed_until(self) -> int | None:
        """Until when an object that stores nothing has to be kept, for what it may be asked again (ms); None: it stores something."""
        return self._database.row(NEEDED_UNTIL)[0]  # type: ignore[no-any-return]

    def identity(self) -> dict[str, Any]:
        """Class, id, name, epoch, incarnation, seq and time of creation, as the file has them."""
        names = ("class_key", "id", "name", "epoch", "incarnation", "seq", "created_at")
        row = self._database.row(f"SELECT {', '.join(names)} FROM _do_meta")
        return dict(zip(names, row, strict=True))
