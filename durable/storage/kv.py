"""Key-value storage of one object: ordered by UTF-8 bytes, values as copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from durable.core import codec
from durable.errors import StorageLimitError, ValueRefusedError

from .database import Database
from .transactions import Transactions

MAX_KEY_BYTES = 2048
MAX_VALUE_BYTES = 2 * 1024 * 1024

_GET = "SELECT value FROM _do_kv WHERE key = ?1"
_PUT = (
    "INSERT INTO _do_kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM _do_kv WHERE key = ?1"


def check_storage_key(key: str) -> str:
    """Return `key` if it can be one: text of 1 to 2,048 bytes of UTF-8.

    Raises StorageLimitError, TypeError, and ValueRefusedError for lone surrogates.
    """
    if type(key) is not str:
        raise TypeError(f"a storage key is text, not {type(key).__name__}")
    if not 0 < (len(key) if key.isascii() else len(_utf8(key))) <= MAX_KEY_BYTES:
        raise StorageLimitError(f"a storage key has 1 to {MAX_KEY_BYTES} bytes of UTF-8", delivered="no")
    return key


def _utf8(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise ValueRefusedError(f"a storage key cannot have lone surrogates ({error})") from None


def _after_prefix(prefix: str) -> str | None:
    """The smallest text greater than everything that starts with `prefix`, or None when there is none."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1]) + 1
        if code == 0xD800:
            code = 0xE000  # surrogates are no text
        if code <= 0x10FFFF:
            return prefix[: end - 1] + chr(code)
    return None


class KeyValue:
    """Keys of one object and their values."""

    def __init__(self, database: Database, transactions: Transactions) -> None:
        self._database = database
        self._transactions = transactions

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, or `default`."""
        rows = self._transactions.read(_GET, (check_storage_key(key),))
        return codec.decode(rows[0][0]) if rows else default

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those of `keys` that exist."""
        found = {}
        for key in keys:
            for row in self._transactions.read(_GET, (check_storage_key(key),)):
                found[key] = codec.decode(row[0])
        return found

    def put_many(self, items: Mapping[str, Any]) -> None:
        """Store all of `items`, or, when one is refused, none."""
        rows = []
        for key, value in items.items():
            data = codec.encode(value)
            if len(data) > MAX_VALUE_BYTES:
                raise StorageLimitError(
                    f"a value has at most {MAX_VALUE_BYTES} bytes encoded; that of {key!r} has {len(data)}"
                )
            rows.append((check_storage_key(key), data))
        for row in rows:
            self._transactions.write(_PUT, row)

    def delete(self, *keys: str) -> int:
        """Delete `keys`; returns how many of them existed."""
        for key in keys:
            check_storage_key(key)
        deleted = 0
        for key in keys:
            self._transactions.write(_DELETE, (key,))
            deleted += self._database.connection.changes()
        return deleted

    def list(
        self,
        prefix: str | None = None,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Keys and values in the order of the keys' UTF-8 bytes.

        Args:
            prefix: only keys that begin with it.
            start: only keys from this one on.
            start_after: only keys after this one; not together with `start`.
            end: only keys before this one.
            reverse: from the last to the first.
            limit: at most so many.
        """
        if start is not None and start_after is not None:
            raise ValueError("start and start_after contradict each other")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValueError("limit is a whole number from 1")
        terms, bindings = ["1"], []
        bounds = [("key >= ?", start), ("key > ?", start_after), ("key < ?", end)]
        if prefix:
            bounds += [("key >= ?", prefix), ("key < ?", _after_prefix(prefix))]
        for term, bound in bounds:
            if bound is not None:
                _utf8(bound)
                terms.append(term)
                bindings.append(bound)
        sql = f"SELECT key, value FROM _do_kv WHERE {' AND '.join(terms)} ORDER BY key {'DESC' if reverse else ''}"
        if limit is not None:
            sql += " LIMIT ?"
            bindings.append(limit)  # type: ignore[arg-type]
        return {key: codec.decode(value) for key, value in self._transactions.read(sql, tuple(bindings))}
