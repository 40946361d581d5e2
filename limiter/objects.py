"""A rate limiter: one shard of one policy, which keeps what it remembers of many keys in one SQL table.

The rule travels with each check, so that an edited policy counts at once and the object needs no database but its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from durable import DurableObject

from .logic import COUNTED, Decision, Rule, State, sliding_window

SHARDING = "v1"
"""Version of the way keys are spread; part of every shard's name."""

WireRule = tuple[str, int, int, int]
"""(algorithm, limit, window in ms, burst), as it travels with a check."""

WireDecision = tuple[bool, int, int, int]
"""(allowed, remaining, reset after ms, retry after ms)."""

_CLEAN_PAUSE_MS = 60_000  # between looks for expired keys
_CLEAN_AGAIN_MS = 1_000  # when one look did not get through
_CLEAN_KEYS = 500
_CLEAN_HITS = 5_000
_REFUSALS = 10_000  # that are known without asking the table


class Refusal(NamedTuple):
    """A request of cost 1 that a sliding window has refused: so will it every other until `retry_at`, and `remaining` stays 0.

    Times are in ms since the epoch.
    """

    rule: WireRule
    at: int
    reset_at: int
    retry_at: int


def shard_name(policy: str, key: str, shards: int) -> str:
    """The name of the object that answers for `key`.

    It says how keys were spread and over how many shards: another number of shards is another set of objects, in which
    every key begins anew.
    """
    digest = hashlib.blake2b(f"{SHARDING}\0{key}".encode(), digest_size=8).digest()
    return f"{policy}/{SHARDING}/{int.from_bytes(digest, 'big') % shards}-of-{shards}"


class RateLimiter(DurableObject):
    """Decides for the keys of one shard.

    Its time never goes backwards: not while it is in memory, and for one key not across owners with differing clocks.
    """

    key = "RateLimiter"
    durability = "relaxed"
    backup = False  # what it remembers is worth nothing an hour later
    migrations = [
        """
        CREATE TABLE subject (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            algorithm TEXT NOT NULL,
            first INTEGER NOT NULL,   -- the algorithm's state; sliding_window: summed cost of the rows in hit
            second INTEGER NOT NULL,  -- sliding_window: time of the latest hit
            seen INTEGER NOT NULL,    -- latest time it was decided at
            expires INTEGER NOT NULL
        );
        CREATE INDEX subject_expires ON subject (expires);
        CREATE TABLE hit (
            subject INTEGER NOT NULL,
            at INTEGER NOT NULL,
            cost INTEGER NOT NULL,
            PRIMARY KEY (subject, at)
        ) WITHOUT ROWID;
        """
    ]

    _latest = 0
    _will_clean = False

    async def start(self) -> None:
        """Know of no refusals."""
        self._refusals: dict[str, Refusal] = {}

    async def check(self, key: str, cost: int, rule: WireRule) -> WireDecision:
        """Admit or refuse `cost` for `key`; a cost of 0 only looks. Refused requests do not count."""
        refusal = self._refusals.get(key)
        if refusal is not None and cost == 1 and refusal.rule == rule:
            now = self._now(refusal.at)
            if now < refusal.retry_at:
                return (False, 0, refusal.reset_at - now, refusal.retry_at - now)
        parsed = Rule(*rule)
        row = self._subject(key)
        now = self._now(row[4] if row else 0)
        if row is not None and row[1] != parsed.algorithm:
            # Another algorithm's state means nothing here: the key begins anew.
            if cost:
                self._forget(row[0])
            row = None
        if parsed.algorithm == "sliding_window":
            decision = self._check_log(key, cost, parsed, row, now)
        else:
            decision = self._check_counted(key, cost, parsed, row, now)
        if cost == 1 and not decision.allowed and parsed.algorithm == "sliding_window":
            self._remember(key, Refusal(rule, now, now + decision.reset_after, now + decision.retry_after))
        elif refusal is not None:
            del self._refusals[key]
        return (decision.allowed, decision.remaining, decision.reset_after, decision.retry_after)

    async def reset(self, key: str) -> None:
        """Forget `key`: it begins anew."""
        self._refusals.pop(key, None)
        row = self._subject(key)
        if row is not None:
            self._forget(row[0])

    async def alarm(self, info: object) -> None:
        """Forget expired keys, a bounded number at a time."""
        sql = self.ctx.storage.sql
        now = self._now(0)
        expired = sql.exec(
            "SELECT id FROM subject WHERE expires <= ? ORDER BY expires LIMIT ?", now, _CLEAN_KEYS
        ).to_list()
        budget = _CLEAN_HITS
        for (subject,) in expired:
            budget -= sql.exec(
                "DELETE FROM hit WHERE subject = ?1 AND at <= coalesce("
                "(SELECT at FROM hit WHERE subject = ?1 ORDER BY at LIMIT 1 OFFSET ?2), 9223372036854775807)",
                subject,
                budget,
            ).rows_written
            if budget <= 0:
                break
            sql.exec("DELETE FROM subject WHERE id = ?", subject)
        (earliest,) = sql.exec("SELECT min(expires) FROM subject").one()
        self._will_clean = earliest is not None
        if earliest is not None:
            pause = _CLEAN_AGAIN_MS if earliest <= now else _CLEAN_PAUSE_MS
            self.ctx.storage.set_alarm(max(earliest, now + pause))

    def _remember(self, key: str, refusal: Refusal) -> None:
        if len(self._refusals) >= _REFUSALS:
            self._refusals.clear()
        self._refusals[key] = refusal

    def _now(self, seen: int) -> int:
        self._latest = max(self._latest, self.ctx.now())
        return max(self._latest, seen)

    def _subject(self, key: str) -> tuple[Any, ...] | None:
        """(id, algorithm, first, second, seen, expires) of a key that is remembered."""
        rows = self.ctx.storage.sql.exec(
            "SELECT id, algorithm, first, second, seen, expires FROM subject WHERE key = ?", key
        ).to_list()
        return rows[0] if rows else None

    def _forget(self, subject: int) -> None:
        self.ctx.storage.sql.exec("DELETE FROM hit WHERE subject = ?", subject)
        self.ctx.storage.sql.exec("DELETE FROM subject WHERE id = ?", subject)

    def _check_counted(
        self, key: str, cost: int, rule: Rule, row: tuple[Any, ...] | None, now: int
    ) -> Decision:
        state: State | None = (row[2], row[3]) if row is not None else None
        decision, state = COUNTED[rule.algorithm](rule, state, now, cost)
        if decision.allowed and cost:
            self._save(key, rule.algorithm, state, now, now + decision.reset_after)
        return decision

    def _check_log(self, key: str, cost: int, rule: Rule, row: tuple[Any, ...] | None, now: int) -> Decision:
        if row is not None and row[5] <= now:
            # All of it has left the window, and cleaning may have begun to take it away.
            if cost:
                self._forget(row[0])
            row = None
        elif row is not None and row[3] + rule.window_ms > row[5]:
            # The policy's window was lengthened: what was admitted counts as much longer, also if nothing more is.
            expires = row[3] + rule.window_ms
            self.ctx.storage.sql.exec("UPDATE subject SET expires = ? WHERE id = ?", expires, row[0])
        hits = _SqlHits(self.ctx.storage.sql, row)
        decision = sliding_window(rule, hits, now, cost)
        if decision.allowed and cost:
            total = hits.total - hits.drop(now - rule.window_ms) + cost
            subject = self._save(key, rule.algorithm, (total, now), now, now + rule.window_ms)
            self.ctx.storage.sql.exec(
                "INSERT INTO hit (subject, at, cost) VALUES (?, ?, ?)"
                " ON CONFLICT (subject, at) DO UPDATE SET cost = cost + excluded.cost",
                subject,
                now,
                cost,
            )
        return decision

    def _save(self, key: str, algorithm: str, state: State, now: int, expires: int) -> int:
        (subject,) = self.ctx.storage.sql.exec(
            "INSERT INTO subject (key, algorithm, first, second, seen, expires) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET algorithm = excluded.algorithm, first = excluded.first,"
            " second = excluded.second, seen = excluded.seen, expires = excluded.expires RETURNING id",
            key,
            algorithm,
            *state,
            now,
            expires,
        ).one()
        if not self._will_clean:
            if self.ctx.storage.get_alarm() is None:
                self.ctx.storage.set_alarm(max(expires, now + _CLEAN_PAUSE_MS))
            self._will_clean = True
        return int(subject)


class _SqlHits:
    """One key's log of hits in the table `hit`, with its summed cost known from the subject's row."""

    def __init__(self, sql: Any, row: tuple[Any, ...] | None) -> None:
        self._sql = sql
        self._subject = row[0] if row else None
        self._newest = row[3] if row else None
        self._stale = 0
        self.total: int = row[2] if row else 0

    def used(self, after: int) -> int:
        """The summed cost of the hits later than `after`: what is stale is counted, usually nothing."""
        if self._subject is None:
            return 0
        (self._stale,) = self._sql.exec(
            "SELECT coalesce(sum(cost), 0) FROM hit WHERE subject = ? AND at <= ?", self._subject, after
        ).one()
        return self.total - self._stale

    def newest(self) -> int | None:
        """The time of the latest hit."""
        return self._newest

    def oldest(self, after: int) -> Iterator[tuple[int, int]]:
        """(time, cost) of the hits later than `after`, in order of time."""
        if self._subject is None:
            return iter(())
        found: Iterator[tuple[int, int]] = self._sql.exec(
            "SELECT at, cost FROM hit WHERE subject = ? AND at > ? ORDER BY at", self._subject, after
        )
        return found

    def drop(self, until: int) -> int:
        """Delete the hits not later than `until`, which `used` was asked about; returns their summed cost."""
        if self._stale:
            self._sql.exec("DELETE FROM hit WHERE subject = ? AND at <= ?", self._subject, until)
        return self._stale
