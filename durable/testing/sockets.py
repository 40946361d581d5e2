"""A client's WebSocket in a test: it goes through the real hub of a gateway, without a network."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from durable.gateway.frames import frame as frame_of
from durable.gateway.hub import Hub, HubSocket
from durable.gateway.outgoing import Outgoing
from durable.identity import ObjectId

Frame = str | bytes


class LocalSocket:
    """One client's connection to an object. It stays through eviction, crashes and moves of the object.

    Attributes:
        close_code: why the connection ended, or None while it is open.
        close_reason: the text that came with it.
    """

    def __init__(self, hub: Hub, object_id: ObjectId, hello: bytes, max_buffer: int) -> None:
        self.close_code: int | None = None
        self.close_reason = ""
        self._hub = hub
        self._frames: deque[Frame] = deque()
        self._news = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        outgoing = Outgoing(
            self._deliver, max_buffer, lambda: self._socket.close(1013, "too slow to keep up")
        )
        self._socket: HubSocket = hub.open(object_id, hello, outgoing, self._closed_by_server)

    async def opened(self) -> None:
        """Return when the object has accepted or refused."""
        await self._socket.opened

    @property
    def id(self) -> str:
        """The socket's id, as its object knows it."""
        return self._socket.id

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return self._socket.accepted and self.close_code is None

    # -- from the client

    async def send(self, frame: Frame) -> None:
        """Send a frame; returns when the object has handled it and all that left in consequence has arrived."""
        self.post(frame)
        await self.handled()

    def post(self, frame: Frame) -> None:
        """Send a frame without waiting."""
        if not self.is_open:
            raise AssertionError(f"this socket is closed: {self.close_code} {self.close_reason}")
        answer = self._hub.auto_response(self._socket, frame)
        if answer is None:
            self._hub.frame(self._socket, frame)
        else:
            self._socket.outgoing.push(frame_of(answer))

    async def handled(self) -> None:
        """Return when every frame sent so far has been handled."""
        while self._socket.unanswered:
            self._socket.room.clear()
            await self._socket.room.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; returns when the object has handled that."""
        self._end(code, reason)
        await self._gone()

    async def vanish(self) -> None:
        """Lose the connection without a closing frame; returns when the object has handled that."""
        self._end(1006, "")
        await self._gone()

    async def _gone(self) -> None:
        while self._hub.holds(self._socket):  # noqa: ASYNC110 - the hub has no event for it
            await asyncio.sleep(0.001)

    # -- from the object

    def take(self) -> list[Frame]:
        """The frames that have arrived and were not taken before."""
        frames = list(self._frames)
        self._frames.clear()
        self._news.clear()
        return frames

    async def receive(self, seconds: float = 5.0) -> Frame:
        """The next frame. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self._frames:
                self._news.clear()
                await self._news.wait()
        return self._frames.popleft()

    async def closed(self, seconds: float = 5.0) -> int:
        """The close code, when the connection has ended. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.close_code is None:
                self._news.clear()
                await self._news.wait()
        return self.close_code

    def stop_reading(self) -> None:
        """Be a client that does not read: what is sent to it piles up at the gateway."""
        self._reading.clear()

    def read_again(self) -> None:
        """Read what has piled up."""
        self._reading.set()

    # -- the gateway's side

    async def _deliver(self, message: dict[str, Any]) -> None:
        await self._reading.wait()
        if message["type"] == "websocket.send":
            self._frames.append(message["text"] if "text" in message else message["bytes"])
            self._news.set()

    def _closed_by_server(self) -> None:
        assert self._socket.closing is not None
        self._end(*self._socket.closing)

    def _end(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self._news.set()
            self._hub.closed(self._socket, code, reason, clean=code != 1006)
