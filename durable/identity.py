"""Which object is meant: ids that are derived from a class and a name, or drawn at random.

An id is 32 bytes, written as 64 lower-case hex digits: 24 bytes of body and 8 bytes of check, which ties the body to
the class. The first bit of the body tells a derived id (0) from a random one (1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

from durable.errors import InvalidNameError

MAX_NAME_BYTES = 1024
_BODY, _CHECK = 24, 8
_HEX = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def check_key(key: object) -> str:
    """Return `key` if it can be an object class's key (it becomes part of paths), else raise InvalidNameError."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidNameError(
            f"{key!r} cannot be a class key: a letter, then at most 63 letters, digits, '_' or '-'"
        )
    return key


def _digest(purpose: bytes, key: str, payload: bytes, size: int) -> bytes:
    return hashlib.blake2b(
        key.encode() + b"\0" + payload, digest_size=size, person=purpose.ljust(16, b"\0")
    ).digest()


def _with_check(key: str, body: bytes) -> str:
    return (body + _digest(b"durable-check", key, body, _CHECK)).hex()


class ObjectId:
    """The identity of one object: its class's key, 64 hex digits and, when known, its name."""

    __slots__ = ("_hex", "class_key", "name")

    def __init__(self, class_key: str, hex_digits: str, name: str | None = None) -> None:
        self.class_key = class_key
        self._hex = hex_digits
        self.name = name

    def __str__(self) -> str:
        return self._hex

    def __repr__(self) -> str:
        return f"<ObjectId {self.class_key} {self.name!r} {self._hex[:8]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectId) and other._hex == self._hex and other.class_key == self.class_key

    def __hash__(self) -> int:
        return hash(self._hex)


def check_name(name: str) -> str:
    """Return `name` if an object can have it: text of 1 to 1,024 UTF-8 bytes without NUL; else raise InvalidNameError."""
    if not isinstance(name, str):
        raise InvalidNameError(f"a name is text, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidNameError("a name cannot contain lone surrogates") from None
    if not 1 <= size <= MAX_NAME_BYTES:
        raise InvalidNameError(f"a name has 1 to {MAX_NAME_BYTES} bytes of UTF-8; this one has {size}")
    if "\0" in name:
        raise InvalidNameError("a name cannot contain NUL")
    return name


@lru_cache(maxsize=8192)  # hot objects are named again with every request
def id_from_name(key: str, name: str) -> ObjectId:
    """The id of the object of class `key` that is called `name`: the same in every process at every time."""
    body = bytearray(_digest(b"durable-name", key, check_name(name).encode(), _BODY))
    body[0] &= 0x7F
    return ObjectId(key, _with_check(key, bytes(body)), name)


def new_unique_id(key: str, random_bytes: Callable[[int], bytes]) -> ObjectId:
    """An id that nobody has had before, without a name. `random_bytes(n)` gives n random bytes."""
    body = bytearray(random_bytes(_BODY))
    body[0] |= 0x80
    return ObjectId(key, _with_check(key, bytes(body)), None)


def id_from_string(key: str, text: object) -> ObjectId:
    """The id written as `text`, which must belong to class `key`; else raise InvalidNameError."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise InvalidNameError("an id is written as 64 lower-case hex digits")
    if _with_check(key, bytes.fromhex(text[: 2 * _BODY])) != text:
        raise InvalidNameError(f"this id does not belong to class {key!r}")
    return ObjectId(key, text)
