"""What a socket may carry: rules for tags, attachments and close codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from durable.errors import SocketError

MAX_TAGS = 10
MAX_TAG_LENGTH = 256
MAX_ATTACHMENT_BYTES = 16 * 1024


def check_tags(tags: Iterable[Any]) -> list[str]:
    """The tags, each once and in order; raises SocketError when there are too many or one is too long."""
    if isinstance(tags, str):
        raise SocketError("tags are a list of texts, not one text")
    checked = list(dict.fromkeys(tags))
    if len(checked) > MAX_TAGS:
        raise SocketError(f"a socket has at most {MAX_TAGS} tags; {len(checked)} were given")
    for tag in checked:
        if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG_LENGTH:
            raise SocketError(f"a tag is a text of 1 to {MAX_TAG_LENGTH} characters, not {tag!r:.40}")
    return checked


def check_attachment(data: bytes) -> bytes:
    """The encoded attachment; raises SocketError when it is too large."""
    if len(data) > MAX_ATTACHMENT_BYTES:
        raise SocketError(
            f"an attachment has at most {MAX_ATTACHMENT_BYTES} bytes encoded; this one has {len(data)}"
        )
    return data


def check_close(code: int, reason: str) -> None:
    """Raise SocketError unless an application may close a socket with this (RFC 6455, section 7.4)."""
    if not (code in (1000, 1001, 1008, 1009, 1011, 1012, 1013) or 3000 <= code <= 4999):
        raise SocketError(f"a socket cannot be closed with code {code}: use 1000 or 3000 to 4999")
    if len(reason.encode()) > 123:
        raise SocketError("a reason for closing has at most 123 bytes of UTF-8")
