"""Frames of one client on their way to its object: looked at, not too many, in order.

A server that offers the ASGI extension `durable_frames` hands them over as they arrive. From others, and while the object has as
many as it may have, they come by ASGI's `receive`, which makes the server read no further until they are asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .frames import ReadFrames, frame
from .hub import Hub, HubSocket

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]

TOO_LARGE, TOO_FAST, INTERNAL = 4413, 4429, 1011


class SocketRefused(Exception):  # noqa: N818 - a decision, like an HTTP response, not a mistake
    """Close the socket with this code (4000 to 4999, see RFC 6455) and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Incoming:
    """The way from one client.

    Args:
        hub: passes frames on.
        socket: of the client, accepted.
        screen: what is answered in the object's place, None to pass a frame on; raises SocketRefused.
        max_bytes: of a frame.
        rate: frames at once, and frames a second.
    """

    __slots__ = ("_allowance", "_burst", "_hub", "_last", "_max_bytes", "_per_second", "_screen", "_socket")

    def __init__(
        self,
        hub: Hub,
        socket: HubSocket,
        screen: Callable[[str | bytes], str | None],
        max_bytes: int,
        rate: tuple[int, float],
    ) -> None:
        self._hub = hub
        self._socket = socket
        self._screen = screen
        self._max_bytes = max_bytes
        self._burst, self._per_second = float(rate[0]), rate[1]
        self._allowance, self._last = self._burst, time.monotonic()

    async def read(self, receive: Receive, read_frames: ReadFrames | None) -> tuple[int, str]:
        """Pass frames on until the connection ends; how it ended. Raises SocketRefused."""
        while True:
            if read_frames is not None:
                read_frames(self._take)
            event = await receive()
            if event["type"] != "websocket.receive":
                return event.get("code", 1006) or 1006, event.get("reason") or ""
            message: str | bytes | None = event.get("text")
            await self._socket.room.wait()
            self._pass_on(event["bytes"] if message is None else message)

    def _take(self, message: str | bytes) -> bool:
        """A frame has arrived. False when it is not wanted now: then it comes by `receive`, as do those after it, and the client is slowed down."""
        socket = self._socket
        if socket.closing is not None or not socket.room.is_set():
            return False
        try:
            self._pass_on(message)
        except SocketRefused as refused:
            socket.close(refused.code, refused.reason)
        except Exception:
            log.exception("a frame for %r failed", socket.channel.target)
            socket.close(INTERNAL, "internal error")
        return True

    def _pass_on(self, message: str | bytes) -> None:
        socket = self._socket
        if socket.closing is not None:
            return
        now = time.monotonic()
        self._allowance = min(self._burst, self._allowance + (now - self._last) * self._per_second) - 1
        self._last = now
        if self._allowance < 0:
            raise SocketRefused(TOO_FAST, "too many frames")
        size = len(message)
        if size * 4 > self._max_bytes and (
            size > self._max_bytes or (isinstance(message, str) and len(message.encode()) > self._max_bytes)
        ):
            raise SocketRefused(TOO_LARGE, f"a frame has at most {self._max_bytes} bytes")
        answer = self._hub.auto_response(socket, message)
        if answer is None:
            answer = self._screen(message)
        if answer is None:
            self._hub.frame(socket, message)
        elif answer:
            socket.outgoing.push(frame(answer))
