"""A counter: one signed 64-bit integer with a version, kept as one record so that an increment is one get and one put."""

from __future__ import annotations

from durable import DurableObject, ObjectError

LOWEST, HIGHEST = -(2**63), 2**63 - 1

KEYS_KEPT = 10_000
"""Idempotency keys a counter remembers; of more the oldest are forgotten."""

KEY_LIFETIME_MS = 24 * 60 * 60 * 1000
"""How long an idempotency key is remembered."""

_PURGE_ROWS = 1000
_PURGE_PAUSE_MS = 1000
_RECORD = "counter"
_KEYS_MARK = "idempotency"

State = list[int]
"""[value, version, time of the last change in ms since the epoch]; all are 0 while nobody has touched the counter."""


class CounterOverflow(ObjectError):  # noqa: N818 - its name is what clients of other languages see
    """The result would not fit into a signed 64-bit integer."""


class CounterOutOfRange(ObjectError):  # noqa: N818
    """The result would be outside the bounds the caller gave."""


class CounterChanged(ObjectError):  # noqa: N818
    """The counter is not at a version the caller expected."""


class IdempotencyKeyReused(ObjectError):  # noqa: N818
    """The key was used before, for another operation."""


class Counter(DurableObject):
    """A named integer."""

    key = "Counter"

    _has_keys = False  # whether the table of idempotency keys is known to exist

    async def increment(self, amount: int = 1, minimum: int | None = None, maximum: int | None = None) -> int:
        """Add `amount` and return the new value. Raises and changes nothing where the bounds or 64 bits are left."""
        return self._add(amount, minimum, maximum)[0]

    async def value(self) -> int:
        """The current value."""
        return self._state()[0]

    async def read(self) -> State:
        """The whole state."""
        return self._state()

    async def add(self, amount: int, minimum: int | None = None, maximum: int | None = None) -> State:
        """`increment` that returns the whole state."""
        return self._add(amount, minimum, maximum)

    async def add_once(
        self, key: str, amount: int, minimum: int | None = None, maximum: int | None = None
    ) -> tuple[bool, State]:
        """`add` that happens once for each `key`: returns whether this is a replay, and the state after the one time.

        A refused operation leaves its key unused. Raises IdempotencyKeyReused for a key of another operation.
        """
        operation = f"add {amount} {minimum} {maximum}"
        known = self._recall(key)
        if known is not None:
            if known[0] != operation:
                raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
            return True, known[1]
        state = self._add(amount, minimum, maximum)
        self._remember(key, operation, state)
        return False, state

    async def set(self, value: int, expected: list[int] | None = None, *, absent: bool = False) -> State:
        """Make `value` the counter's value.

        Args:
            value: a signed 64-bit integer.
            expected: the versions it may be at; an empty list stands for any that was touched.
            absent: only if nobody has touched it.
        """
        if not LOWEST <= value <= HIGHEST:
            raise CounterOverflow("The value does not fit into a signed 64-bit integer.")
        state = self._state()
        self._check_version(state[1], expected)
        if absent and state[1] != 0:
            raise CounterChanged("The counter exists.", version=state[1])
        return self._write(value, state[1])

    async def delete(self, expected: list[int] | None = None) -> None:
        """Forget the counter and its idempotency keys. `expected` as for `set`."""
        self._check_version(self._state()[1], expected)
        self.ctx.storage.delete_all()
        self._has_keys = False

    async def alarm(self, info: object) -> None:
        """Forget expired idempotency keys, a bounded number at a time."""
        if not self._remembers_keys():
            return
        now = self.ctx.now()
        sql = self.ctx.storage.sql
        sql.exec(
            "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE at <= ? ORDER BY at LIMIT ?)",
            now - KEY_LIFETIME_MS,
            _PURGE_ROWS,
        )
        (oldest,) = sql.exec("SELECT min(at) FROM idempotency").one()
        if oldest is not None:
            self.ctx.storage.set_alarm(max(oldest + KEY_LIFETIME_MS, now + _PURGE_PAUSE_MS))

    def _state(self) -> State:
        state: State | None = self.ctx.storage.get(_RECORD)
        return [0, 0, 0] if state is None else state

    def _add(self, amount: int, minimum: int | None, maximum: int | None) -> State:
        value, version, _ = self._state()
        result = value + amount
        if minimum is not None and result < minimum:
            raise CounterOutOfRange(f"The value would be below {minimum}.", value=value, version=version)
        if maximum is not None and result > maximum:
            raise CounterOutOfRange(f"The value would be above {maximum}.", value=value, version=version)
        if not LOWEST <= result <= HIGHEST:
            raise CounterOverflow(
                "The value would not fit into a signed 64-bit integer.", value=value, version=version
            )
        return self._write(result, version)

    def _write(self, value: int, version: int) -> State:
        state = [value, version + 1, self.ctx.now()]
        self.ctx.storage.put(_RECORD, state)
        return state

    def _check_version(self, version: int, expected: list[int] | None) -> None:
        if expected is None:
            return
        if version not in expected if expected else version == 0:
            raise CounterChanged(f"The counter is at version {version}.", version=version)

    def _remembers_keys(self) -> bool:
        if not self._has_keys:
            self._has_keys = self.ctx.storage.get(_KEYS_MARK, False)
        return self._has_keys

    def _recall(self, key: str) -> tuple[str, State] | None:
        """The operation of `key` and the state it left, if it is remembered."""
        if not self._remembers_keys():
            return None
        rows = self.ctx.storage.sql.exec(
            "SELECT operation, value, version, at FROM idempotency WHERE key = ? AND at > ?",
            key,
            self.ctx.now() - KEY_LIFETIME_MS,
        ).to_list()
        return (rows[0][0], list(rows[0][1:])) if rows else None

    def _remember(self, key: str, operation: str, state: State) -> None:
        storage = self.ctx.storage
        if not self._remembers_keys():
            # Made at first use and not by a migration: most counters never see an idempotency key.
            storage.sql.exec(
                "CREATE TABLE idempotency ("
                " id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,"
                " value INTEGER NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL)"
            )
            storage.sql.exec("CREATE INDEX idempotency_at ON idempotency (at)")
            storage.put(_KEYS_MARK, True)
            storage.set_alarm(self.ctx.now() + KEY_LIFETIME_MS)
            self._has_keys = True
        elif storage.get_alarm() is None:
            storage.set_alarm(self.ctx.now() + KEY_LIFETIME_MS)
        storage.sql.exec(
            "INSERT OR REPLACE INTO idempotency (key, operation, value, version, at) VALUES (?, ?, ?, ?, ?)",
            key,
            operation,
            *state,
        )
        # Row ids only grow, so this bounds the number of rows whatever was deleted in between.
        storage.sql.exec(
            "DELETE FROM idempotency WHERE id <= (SELECT max(id) FROM idempotency) - ?", KEYS_KEPT
        )
