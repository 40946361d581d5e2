"""The format of a journal: a head, and records that each hold what one object has written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

MAGIC = b"durable journal 1\n"
HEAD_BYTES = 1024  # at most
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Part(msgspec.Struct, array_like=True, frozen=True):
    """What an object has written.

    Args:
        path: of its file, below the objects' directory.
        created_at: of the object, which tells it from one of the same name.
        first: its last commit that is not in `pages`.
        last: its last commit that is.
        size: pages of its database then.
        pages: number, bytes up to a gap that has no meaning, bytes after it.
    """

    path: str
    created_at: int
    first: int
    last: int
    size: int
    pages: list[tuple[int, bytes, bytes]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Part).decode


def boot_id() -> str:
    """What tells this run of the machine from every other; "" where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def head() -> bytes:
    """How a journal begins that is begun in this run of the machine."""
    boot = msgspec.msgpack.encode(boot_id())
    return MAGIC + len(boot).to_bytes(4, "big") + boot


def framed(part: Part) -> bytes:
    """A record: length and checksum, four bytes each, big-endian, and then the part."""
    data = _encode(part)
    return len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + data


def read_head(content: bytes) -> tuple[str, int] | None:
    """In which run of the machine a journal was begun, and where its records begin; None when it has no whole head."""
    at = len(MAGIC) + 4
    if content[: len(MAGIC)] != MAGIC:
        return None
    end = at + int.from_bytes(content[len(MAGIC) : at], "big")
    if len(content) < end:
        return None
    try:
        return msgspec.msgpack.decode(content[at:end], type=str), end
    except msgspec.MsgspecError:
        return None


def read_parts(content: bytes, at: int) -> Iterator[Part]:
    """The records from a position on, up to the first that is not whole: it and what follows was never acknowledged."""
    while len(content) - at >= 8:
        size = int.from_bytes(content[at : at + 4], "big")
        data = content[at + 8 : at + 8 + size]
        if (
            len(data) < size
            or size == 0
            or zlib.crc32(data) != int.from_bytes(content[at + 4 : at + 8], "big")
        ):
            return
        try:
            yield _decode(data)
        except msgspec.MsgspecError:
            return
        at += 8 + size
