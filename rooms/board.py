"""The whiteboard of one room in its object's database: elements by id, one row of totals.

Everything here runs inside one event of the object, so it is atomic; what may not happen is refused before the first write.
Deleted elements stay as tombstones, because a client that was away may still hold an older version. When there are too many, the
oldest go, and `horizon` says up to which seq a client can no longer be told what was deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from .elements import ParsedElement
from .logic import Merge, StoredElement, Totals, merge

MAX_TOMBSTONES = 20_000
TOMBSTONES_PRUNED = 5_000

LAST_ID = "~"
"""Comes after every id, whose characters are ASCII letters, digits and `_.:-`."""

SCHEMA = """
CREATE TABLE elements (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    data TEXT NOT NULL,
    deleted INTEGER NOT NULL
) STRICT;
CREATE INDEX elements_by_seq ON elements (seq, id);
CREATE INDEX tombstones_by_seq ON elements (seq) WHERE deleted = 1;
CREATE TABLE board (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    live INTEGER NOT NULL,
    tombstones INTEGER NOT NULL,
    size INTEGER NOT NULL,
    horizon INTEGER NOT NULL
) STRICT;
"""


class Rows(Protocol):
    """What a statement gives back."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows, one after another."""


class Sql(Protocol):
    """The object's own SQL, `ctx.storage.sql`."""

    def exec(self, statement: str, /, *bindings: Any) -> Rows:
        """Run one statement."""


class Place(NamedTuple):
    """Where a page of elements ends, in the order of their last change. Without an id: behind all changes of that seq."""

    seq: int
    id: str = LAST_ID


class Board:
    """The elements of one room."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def plan(self, elements: Sequence[ParsedElement], frame_id: str) -> Merge:
        """Decide what of a draw frame wins; writes nothing, raises `FrameError` when the frame is refused."""
        marks = ",".join("?" * len(elements))
        rows = self._sql.exec(
            f"SELECT id, version, nonce, deleted, length(data) FROM elements WHERE id IN ({marks})",
            *(element.id for element in elements),
        )
        stored = {row[0]: StoredElement(row[1], row[2], bool(row[3]), row[4]) for row in rows}
        return merge(elements, stored, self.totals(), frame_id)

    def apply(self, outcome: Merge, seq: int) -> None:
        """Store the winners of a merge under `seq`."""
        for element in outcome.winners:
            self._sql.exec(
                "INSERT INTO elements (id, seq, version, nonce, data, deleted) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, version = excluded.version, "
                "nonce = excluded.nonce, data = excluded.data, deleted = excluded.deleted",
                element.id, seq, element.version, element.nonce, element.stored, int(element.deleted),
            )  # fmt: skip
        self._save(outcome.totals)
        if outcome.totals.tombstones > MAX_TOMBSTONES:
            self._prune(outcome.totals)

    def totals(self) -> Totals:
        """What is on the board."""
        for live, tombstones, size in self._sql.exec("SELECT live, tombstones, size FROM board"):
            return Totals(live, tombstones, size)
        return Totals()

    def horizon(self) -> int:
        """The seq up to which deletions have been forgotten; 0 while all are known."""
        return next((row[0] for row in self._sql.exec("SELECT horizon FROM board")), 0)

    def page(self, after: Place, *, deleted: bool, budget: int) -> tuple[list[str], Place | None]:
        """The JSON of elements behind `after`, about `budget` bytes of them, and the last one's place if there are more.

        `deleted` says whether tombstones are wanted. Start from `Place(seq)` for what changed after `seq`.
        """
        rows = self._sql.exec(
            "SELECT seq, id, data FROM elements WHERE (seq, id) > (?, ?) AND deleted <= ? ORDER BY seq, id",
            after.seq, after.id, int(deleted),
        )  # fmt: skip
        found: list[str] = []
        place = after
        for seq, element_id, data in rows:
            if budget < len(data) and found:
                return found, place
            found.append(data)
            budget -= len(data)
            place = Place(seq, element_id)
        return found, None

    def _save(self, totals: Totals) -> None:
        self._sql.exec(
            "INSERT INTO board (one, live, tombstones, size, horizon) VALUES (1, ?, ?, ?, 0) "
            "ON CONFLICT (one) DO UPDATE SET live = excluded.live, tombstones = excluded.tombstones, size = excluded.size",
            totals.live, totals.tombstones, totals.size,
        )  # fmt: skip

    def _prune(self, totals: Totals) -> None:
        gone = list(
            self._sql.exec(
                "DELETE FROM elements WHERE id IN "
                "(SELECT id FROM elements WHERE deleted = 1 ORDER BY seq LIMIT ?) RETURNING seq, length(data)",
                TOMBSTONES_PRUNED,
            )
        )
        size = totals.size - sum(row[1] for row in gone)
        self._save(Totals(totals.live, totals.tombstones - len(gone), size))
        self._sql.exec("UPDATE board SET horizon = max(horizon, ?)", max(row[0] for row in gone))
