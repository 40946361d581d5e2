"""The messages of one room in its object's database, oldest first by seq."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from .board import Sql
from .logic import STRAY

SCHEMA = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    user TEXT NOT NULL,
    color TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    UNIQUE (client_id, user_id)
) STRICT;
"""

_NEWEST_SEQ = (
    "SELECT max((SELECT coalesce(max(seq), 0) FROM messages), (SELECT coalesce(max(seq), 0) FROM elements))"
)
_COLUMNS = "seq, client_id, user_id, user, color, text, html, timestamp"
_APPEND = f"INSERT INTO messages ({_COLUMNS}) SELECT 1 + ({_NEWEST_SEQ}), ?, ?, ?, ?, ?, ?, ?"
_RETURNING = " RETURNING seq"
_UNLESS_KNOWN = " WHERE NOT EXISTS (SELECT 1 FROM messages WHERE client_id = ?)"


_encode = msgspec.json.Encoder().encode


class Message(Struct, frozen=True):
    """One message as everybody sees it; `timestamp` is ms since the epoch and `html` safe."""

    seq: int
    id: str
    user_id: str
    user: str
    color: str
    text: str
    html: str
    timestamp: int

    def to_json(self) -> str:
        """The message as it stands in welcome, part and history frames."""
        return _encode(self).decode()

    def frame(self) -> str:
        """The frame that tells of the message."""
        return '{"type":"chat",' + self.to_json()[1:]


def newest_seq(sql: Sql) -> int:
    """The seq of the room's last event, a message or a change of the board; 0 when there is none."""
    return next(iter(sql.exec(_NEWEST_SEQ)))[0]  # type: ignore[no-any-return]


class Log:
    """The chat of one room."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def post(
        self, client_id: str, user_id: str, user: str, color: str, text: str, html: str, timestamp: int
    ) -> tuple[Message, bool]:
        """Store a message with the room's next seq; the one that is there if this person has posted it before, and whether it is new."""
        values = client_id, user_id, user, color, text, html, timestamp
        # As good as always nobody has used the id, and one statement does.
        seq = self._append(_APPEND + _UNLESS_KNOWN + _RETURNING, *values, client_id)
        if seq is None:
            posted = self._find(client_id, user_id) or self._find_stray(client_id, user_id, user, text)
            if posted is not None:
                return posted, False
            seq = self._append(_APPEND + _RETURNING, *values)
            assert seq is not None
        return Message(seq, *values), True

    def _append(self, statement: str, *bindings: Any) -> int | None:
        row = next(iter(self._sql.exec(statement, *bindings)), None)
        return None if row is None else row[0]

    def _find(self, client_id: str, user_id: str) -> Message | None:
        """The message that this person already posted under that client id."""
        return next(iter(self._read("WHERE client_id = ? AND user_id = ?", client_id, user_id)), None)

    def _find_stray(self, client_id: str, user_id: str, user: str, text: str) -> Message | None:
        """The same words from a socket without a cookie, like this one: such a client is a new person each time it connects."""
        if not user_id.startswith(STRAY):
            return None
        same = "substr(user_id, 1, ?) = ? AND user = ? AND text = ?"
        found = self._read(f"WHERE client_id = ? AND {same}", client_id, len(STRAY), STRAY, user, text)
        return next(iter(found), None)

    def newest(self, limit: int) -> list[Message]:
        """The last `limit` messages, oldest first."""
        return list(self._read("ORDER BY seq DESC LIMIT ?", limit))[::-1]

    def before(self, seq: int, limit: int) -> list[Message]:
        """The `limit` messages that come before `seq`, oldest first."""
        return list(self._read("WHERE seq < ? ORDER BY seq DESC LIMIT ?", seq, limit))[::-1]

    def since(self, seq: int, limit: int) -> list[Message]:
        """The first `limit` messages after `seq`, oldest first."""
        return list(self._read("WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit))

    def _read(self, condition: str, *bindings: Any) -> Iterable[Message]:
        statement = f"SELECT {_COLUMNS} FROM messages {condition}"
        return (Message(*row) for row in self._sql.exec(statement, *bindings))
