"""A ledger of accounts: double entry, never overdrawn, and money sent to another ledger arrives exactly once.

Every posting names amounts that add up to nothing, and is one commit. A `reference` of the caller's makes it safe to ask twice. Between
two ledgers there is no common commit: what is sent leaves with its posting as a row in `outgoing`, and the alarm delivers it until the
other side has answered. Accounts called `outside:…` stand for the rest of the world; only they may be below zero.
"""

from __future__ import annotations

import asyncio
import random

from durable import AlarmInfo, DurableError, DurableObject, ObjectError, RemoteError


class RefusedError(ObjectError):
    """A posting that cannot be: `reason` is unbalanced, overdrawn, no_account or reference_used."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text, reason=reason)
        self.reason = reason


class Ledger(DurableObject):
    """Some accounts and what happened to them. Amounts are whole numbers of the smallest unit."""

    deliver_again_ms = 5_000
    patience = 2.0  # seconds that the alarm waits for another ledger

    migrations = [
        """
        CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
        CREATE TABLE entry (
            id INTEGER PRIMARY KEY,
            reference TEXT NOT NULL,
            account TEXT NOT NULL REFERENCES account (name),
            amount INTEGER NOT NULL,
            at INTEGER NOT NULL,
            UNIQUE (reference, account)
        );
        CREATE INDEX entry_account ON entry (account, id);
        CREATE TABLE outgoing (
            reference TEXT PRIMARY KEY, source TEXT NOT NULL, ledger TEXT NOT NULL, account TEXT NOT NULL,
            amount INTEGER NOT NULL
        );
        """
    ]

    async def open_account(self, name: str) -> None:
        """Make an account; one that is there stays as it is."""
        self.ctx.storage.sql.exec("INSERT OR IGNORE INTO account (name) VALUES (?)", name)

    async def balance(self, account: str) -> int:
        """What is on an account; 0 where there is none."""
        rows = self.ctx.storage.sql.exec("SELECT balance FROM account WHERE name = ?", account).to_list()
        return int(rows[0][0]) if rows else 0

    async def statement(
        self, account: str, after: int = 0, limit: int = 100
    ) -> list[tuple[int, str, int, int]]:
        """Entries of an account after the entry `after`, oldest first: (entry, reference, amount, time in ms)."""
        statement = (
            "SELECT id, reference, amount, at FROM entry WHERE account = ? AND id > ? ORDER BY id LIMIT ?"
        )
        return [
            (int(row[0]), str(row[1]), int(row[2]), int(row[3]))
            for row in self.ctx.storage.sql.exec(statement, account, after, limit)
        ]

    async def post(self, reference: str, amounts: dict[str, int]) -> bool:
        """Add each amount to its account; False when this posting was made before. Raises RefusedError."""
        return self._post(reference, amounts)

    async def post_many(self, postings: dict[str, dict[str, int]]) -> dict[str, str]:
        """Make postings one by one: "posted", "known", or why one was refused. A refusal touches no other posting."""
        results = {}
        for reference, amounts in postings.items():
            try:
                with self.ctx.storage.transaction():  # undone as one if it raises
                    results[reference] = "posted" if self._post(reference, amounts) else "known"
            except RefusedError as refusal:
                results[reference] = refusal.reason
        return results

    async def send(self, reference: str, source: str, ledger: str, account: str, amount: int) -> None:
        """Move money to an account of another ledger. If that refuses it, it comes back. Raises RefusedError."""
        if amount <= 0 or ledger == self.ctx.id.name:
            raise RefusedError("unbalanced", "send a positive amount to another ledger")
        if self._post(reference, {source: -amount, f"outside:{ledger}": amount}):
            self.ctx.storage.sql.exec(
                "INSERT INTO outgoing VALUES (?, ?, ?, ?, ?)", reference, source, ledger, account, amount
            )
            self.ctx.storage.set_alarm(self.ctx.now())

    async def receive(self, sender: str, reference: str, account: str, amount: int) -> bool:
        """What another ledger sends, as often as it likes: it counts once."""
        return self._post(f"{sender}/{reference}", {account: amount, f"outside:{sender}": -amount})

    async def in_transit(self) -> int:
        """How many sendings have no answer yet."""
        return int(self.ctx.storage.sql.exec("SELECT count(*) FROM outgoing").one()[0])

    async def alarm(self, info: AlarmInfo) -> None:
        """Deliver what has no answer yet."""
        sql = self.ctx.storage.sql
        pause = self.deliver_again_ms * random.uniform(1, 2)
        self.ctx.storage.set_alarm(self.ctx.now() + int(pause))  # first: whatever happens below
        for reference, source, ledger, account, amount in sql.exec(
            "SELECT * FROM outgoing ORDER BY random() LIMIT 100"
        ).to_list():
            other = Ledger.namespace.get_by_name(ledger)
            try:
                async with asyncio.timeout(self.patience):
                    await other.receive(str(self.ctx.id.name), reference, account, amount)
            except RemoteError as error:
                if not error.declared:
                    raise
                self._post(f"{reference}/returned", {source: amount, f"outside:{ledger}": -amount})
            except (DurableError, TimeoutError):
                # It may have arrived: the next delivery has the same reference. Two alarms that deliver to each other at
                # once wait for each other; both let go, and meet again only if they draw the same pause.
                return
            sql.exec("DELETE FROM outgoing WHERE reference = ?", reference)
        if await self.in_transit() == 0:
            self.ctx.storage.delete_alarm()

    def _post(self, reference: str, amounts: dict[str, int]) -> bool:
        sql = self.ctx.storage.sql
        known = dict(sql.exec("SELECT account, amount FROM entry WHERE reference = ?", reference).to_list())
        if known and known != amounts:
            raise RefusedError("reference_used", f"{reference!r} was another posting")
        if known:
            return False
        if len(amounts) < 2 or sum(amounts.values()) != 0:
            raise RefusedError("unbalanced", "a posting's amounts must add up to nothing")
        for account, amount in amounts.items():
            if account.startswith("outside:"):
                sql.exec("INSERT OR IGNORE INTO account (name) VALUES (?)", account)
            changed = "UPDATE account SET balance = balance + ? WHERE name = ? RETURNING balance"
            rows = sql.exec(changed, amount, account).to_list()
            if not rows:
                raise RefusedError("no_account", f"there is no account {account!r}")
            if rows[0][0] < 0 and not account.startswith("outside:"):
                raise RefusedError("overdrawn", f"there is not enough on {account!r}")
            entry = "INSERT INTO entry (reference, account, amount, at) VALUES (?, ?, ?, ?)"
            sql.exec(entry, reference, account, amount, self.ctx.now())
        return True
