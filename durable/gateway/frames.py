"""What is sent to clients: made once, however many get it.

A server that offers the ASGI extension `durable_frames` takes frames as they go over the wire, and writes the same bytes to
every client; and hands over what clients send as it arrives. With others both go by the messages that ASGI knows. A middleware
that has to see what is sent and received takes the extension out of the scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

EXTENSION = "durable_frames"
WriteFrame = Callable[[bytes], bool]
"""Writes a frame; False when the connection wants it, or refuses it, as a message."""
TakeFrame = Callable[[str | bytes], bool]
"""Takes a whole message; False when it is to wait for `receive`."""
ReadFrames = Callable[[TakeFrame], None]
"""Hand over each message that arrives, until one is not taken: it and those after it come by `receive`. Asked for again when they
have been dealt with; as long as some wait for `receive`, nothing is handed over."""


class FrameExtension(TypedDict):
    """What a server offers."""

    write: WriteFrame
    read: ReadFrames


_FINAL_TEXT, _FINAL_BINARY = 0x81, 0x82
_SHORT, _MEDIUM = 126, 1 << 16  # payloads below these have a shorter header


class Outbound(NamedTuple):
    """One thing to send.

    Attributes:
        message: for ASGI's `send`.
        size: bytes of its payload.
        wire: the frame as RFC 6455 (5.2) has it; None for what is not a frame of data.
    """

    message: dict[str, Any]
    size: int = 0
    wire: bytes | None = None


def frame(data: str | bytes) -> Outbound:
    """A text or a binary frame. Raises UnicodeEncodeError for what is no text."""
    if isinstance(data, str):
        kind, opcode, payload = "text", _FINAL_TEXT, data.encode()
    else:
        kind, opcode, payload = "bytes", _FINAL_BINARY, data
    size = len(payload)
    if size < _SHORT:
        head = bytes((opcode, size))
    elif size < _MEDIUM:
        head = bytes((opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 127)) + size.to_bytes(8, "big")
    return Outbound({"type": "websocket.send", kind: data}, size, head + payload)


def frame_extension(scope: Mapping[str, Any]) -> FrameExtension | None:
    """What the server of this connection offers, if anything."""
    return (scope.get("extensions") or {}).get(EXTENSION)
