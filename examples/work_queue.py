"""A queue with a visibility timeout: a job that is taken is hidden for a while, and comes back unless it is reported done.

Each job is done at least once, by one worker at a time. The number of the attempt is its receipt: a worker that was too slow, whose
job is with another one now, can neither finish nor extend it.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable import AlarmInfo, DurableObject, WebSocket


@dataclass(frozen=True)
class Job:
    """A job as a worker gets it.

    Attributes:
        id: of the job.
        attempt: how often it has been taken, this time included.
        body: what was put.
    """

    id: int
    attempt: int
    body: str


class WorkQueue(DurableObject):
    """Jobs in the order put. Workers may keep a WebSocket open: it says "ready" when there is something to take."""

    max_attempts = 5
    """A job that was taken so often, and never done, is set aside."""

    migrations = [
        """
        CREATE TABLE job (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            key TEXT UNIQUE,                      -- the sender's own; NULLs are all different
            body TEXT NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            visible_at INTEGER                    -- NULL: set aside
        );
        CREATE INDEX job_visible_at ON job (visible_at);
        """
    ]

    async def put(self, body: str, *, delay: float = 0.0, key: str | None = None) -> int:
        """Add a job that can be taken after `delay` seconds; its id. While one of that `key` is here, nothing is added."""
        sql = self.ctx.storage.sql
        for (known,) in sql.exec("SELECT id FROM job WHERE key = ?", key):
            return int(known)
        at = self.ctx.now() + int(delay * 1000)
        (added,) = sql.exec(
            "INSERT INTO job (key, body, visible_at) VALUES (?, ?, ?) RETURNING id", key, body, at
        ).one()
        self._announce()
        return int(added)

    async def take(self, limit: int = 1, *, seconds: float = 30.0) -> list[Job]:
        """Up to `limit` jobs, hidden from others for `seconds`: report each with `done` by then, or `extend` it."""
        sql, now = self.ctx.storage.sql, self.ctx.now()
        sql.exec(
            "UPDATE job SET visible_at = NULL WHERE visible_at <= ? AND attempts >= ?", now, self.max_attempts
        )
        rows = sql.exec(
            "UPDATE job SET attempts = attempts + 1, visible_at = ? WHERE id IN "
            "(SELECT id FROM job WHERE visible_at <= ? ORDER BY id LIMIT ?) RETURNING id, attempts, body",
            now + int(seconds * 1000), now, limit,
        ).to_list()  # fmt: skip
        if rows:
            self._schedule()
        return sorted((Job(*row) for row in rows), key=lambda job: job.id)

    async def done(self, job: int, attempt: int) -> bool:
        """Remove a job; False when it is not this attempt's any more: then another worker does it again."""
        deleted = self.ctx.storage.sql.exec(
            "DELETE FROM job WHERE id = ? AND attempts = ? AND visible_at > ?", job, attempt, self.ctx.now()
        )
        return deleted.rows_written == 1

    async def extend(self, job: int, attempt: int, seconds: float) -> bool:
        """Hide a job for `seconds` from now; 0 gives it back. False when it is not this attempt's any more."""
        now = self.ctx.now()
        changed = self.ctx.storage.sql.exec(
            "UPDATE job SET visible_at = ? WHERE id = ? AND attempts = ? AND visible_at > ?",
            now + int(seconds * 1000), job, attempt, now,
        ).rows_written  # fmt: skip
        if changed:
            self._announce()
        return changed == 1

    async def set_aside(self) -> list[Job]:
        """Jobs that were taken too often."""
        rows = self.ctx.storage.sql.exec(
            "SELECT id, attempts, body FROM job WHERE visible_at IS NULL ORDER BY id"
        )
        return [Job(*row) for row in rows]

    async def retry(self, job: int) -> bool:
        """Give a job that was set aside all its attempts again."""
        changed = self.ctx.storage.sql.exec(
            "UPDATE job SET attempts = 0, visible_at = ? WHERE id = ? AND visible_at IS NULL",
            self.ctx.now(), job,
        ).rows_written  # fmt: skip
        if changed:
            self._announce()
        return changed == 1

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """A worker wants to hear of jobs; frames that it sends are ignored."""
        self.ctx.accept_web_socket(ws)
        self._announce(ws)

    async def web_socket_resume(self) -> None:
        """A "ready" may have been lost with the last owner."""
        self._announce()

    async def alarm(self, info: AlarmInfo) -> None:
        """A delay or a visibility timeout has run out."""
        self._announce()

    def _announce(self, ws: WebSocket | None = None) -> None:
        """Say "ready", to all or to one, if there is something to take; see to it that the next job is announced."""
        if self.ctx.storage.sql.exec(
            "SELECT 1 FROM job WHERE visible_at <= ? LIMIT 1", self.ctx.now()
        ).to_list():
            if ws is None:
                self.ctx.broadcast("ready", volatile="ready")
            else:
                ws.send("ready", volatile="ready")
        self._schedule()

    def _schedule(self) -> None:
        (at,) = self.ctx.storage.sql.exec(
            "SELECT min(visible_at) FROM job WHERE visible_at > ?", self.ctx.now()
        ).one()
        if at is None:
            self.ctx.storage.delete_alarm()
        elif at != self.ctx.storage.get_alarm():
            self.ctx.storage.set_alarm(at)
