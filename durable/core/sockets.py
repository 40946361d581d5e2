"""What a socket may carry: rules for tags, attachments and close codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from durable.errors import SocketError

MAX_TAGS = 10
MAX_TAG_LENGTH = 256
MAX_ATTACHMENT_BYTES = 16 * 1024
MAX_FRAME_BYTES = 32 * 1024 * 1024
MAX_VOLATILE_LENGTH = 256


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


def check_message(message: Any) -> str | bytes:
    """A frame's content; raises SocketError when it is neither text nor bytes, or too long."""
    if isinstance(message, str):
        frame: str | bytes = message
        size = len(message) if message.isascii() else len(_encode(message, "a frame"))
    elif isinstance(message, bytes | bytearray | memoryview):
        frame = bytes(message)
        size = len(frame)
    else:
        raise SocketError(f"a frame is str or bytes, not {type(message).__name__}")
    if size > MAX_FRAME_BYTES:
        raise SocketError(f"a frame has at most {MAX_FRAME_BYTES} bytes; this one has {size}")
    return frame


def check_volatile(name: Any) -> str | None:
    """The name of a series of frames, or None; raises SocketError."""
    if name is not None and (not isinstance(name, str) or len(name) > MAX_VOLATILE_LENGTH):
        raise SocketError(
            f"volatile names a series of frames with at most {MAX_VOLATILE_LENGTH} characters, not {name!r:.40}"
        )
    if name is not None:
        _encode(name, "the name of a series of frames")
    return name


def check_auto_response(request: Any, response: Any) -> tuple[str, str] | tuple[None, None]:
    """What gateways answer, and with what; raises SocketError unless both are text, or there is no request."""
    if request is None:
        return None, None
    for text in (request, response):
        if not isinstance(text, str):
            raise SocketError(f"an auto-response is a text for a text, not {type(text).__name__}")
        _encode(text, "an auto-response")
    return request, response


def _encode(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SocketError(f"{what} cannot have lone surrogates: they have no UTF-8 form") from None


def check_attachment(data: bytes) -> bytes:
    """The encoded attachment; raises SocketError when it is too large."""
    if len(data) > MAX_ATTACHMENT_BYTES:
        raise SocketError(
            f"an attachment has at most {MAX_ATTACHMENT_BYTES} bytes encoded; this one has {len(data)}"
        )
    return data


def check_close(code: int, reason: str) -> None:
    """Raise SocketError unless an application may close a socket with this (RFC 6455, section 7.4)."""
    if type(code) is not int or not (
        code in (1000, 1001, 1008, 1009, 1011, 1012, 1013) or 3000 <= code <= 4999
    ):
        raise SocketError(f"a socket cannot be closed with code {code}: use 1000 or 3000 to 4999")
    if len(_encode(reason, "a reason for closing")) > 123:
        raise SocketError("a reason for closing has at most 123 bytes of UTF-8")
