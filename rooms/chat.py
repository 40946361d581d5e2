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
        return msgspec.json.encode(self).decode()


def newest_seq(sql: Sql) -> int:
    """The seq of the room's last event, a message or a change of the board; 0 when there is none."""
    return next(iter(sql.exec(_NEWEST_SEQ)))[0]  # type: ignore[no-any-return]


class Log:
    """The chat of one room."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def find(self, user_id: str, client_id: str) -> Message | None:
        """The message that this person already posted under that client id."""
        return next(iter(self._read("WHERE client_id = ? AND user_id = ?", client_id, user_id)), None)

    def find_stray(self, user_id: str, client_id: str, user: str, text: str) -> Message | None:
        """The same for a socket without a cookie, or the same words: such a client is a new person each time it connects."""
        same = "user_id = ? OR (substr(user_id, 1, ?) = ? AND user = ? AND text = ?)"
        condition = f"WHERE client_id = ? AND ({same})"
        found = self._read(condition, client_id, user_id, len(STRAY), STRAY, user, text)
        # An ORDER BY with a binding would have SQLite prepare the statement anew each time.
        return max(found, key=lambda message: message.user_id == user_id, default=None)

    def append(self, message: Message) -> None:
        """Store a new message; its seq is the room's next."""
        self._sql.exec(
            f"INSERT INTO messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            message.seq, message.id, message.user_id, message.user, message.color, message.text, message.html,
            message.timestamp,
        )  # fmt: skip

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
