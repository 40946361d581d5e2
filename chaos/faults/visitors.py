"""Clients that do not behave: deaf, slow, flooding, or two thousand at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from .fault import Fault

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SMALL_BUFFER = 4096
FLOOD_FRAMES = 2000
TOO_FAST = 4429
BACK_WITHIN = 10.0
AT_ONCE = 200
IN_A_ROOM = 50
TRIES = 100


class _Visitor(Fault):
    """What bad clients share: nobody else notices."""

    fails_nothing = keeps_sockets = True
    hold, cost = 2.0, 4.0


class DeafClient(_Visitor):
    """It never reads what it is sent."""

    name, about = "deaf-client", "a client that never reads"

    async def inject(self) -> None:
        """Enter a busy room, with as small a buffer as there is."""
        path = f"/ws/rooms/{self.site.busy_room}/?name=Deaf"
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self.socket.connect(("127.0.0.1", self.site.service.port))
        self.socket.sendall(HANDSHAKE.format(path=path).encode())

    async def heal(self) -> None:
        """It goes."""
        self.socket.close()


class SlowClient(_Visitor):
    """It sends a byte a second."""

    name, about = "slow-client", "a client that sends a byte a second"
    hold, cost = 3.0, 5.0

    async def inject(self) -> None:
        """Begin a request."""
        self.sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.site.service.port)
        try:
            for byte in b"GET /api/v1/counters/slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1.0)  # this is what it is
        finally:
            writer.close()

    async def heal(self) -> None:
        """It gives up."""
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)


class FloodingClient(_Visitor):
    """It says as much as it can."""

    name, about = "flooding-client", "a client that floods a room"
    hold = 0.5

    async def inject(self) -> None:
        """Shout in a busy room until the door is shown."""
        url = f"ws://127.0.0.1:{self.site.service.port}/ws/rooms/{self.site.busy_room}/?name=Flood"
        code: int | None = None
        async with connect(url, proxy=None, open_timeout=30) as loud:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(FLOOD_FRAMES):
                    await loud.send(json.dumps({"type": "presence", "cursor": {"x": 1, "y": 1}}))
                async with asyncio.timeout(10):
                    async for _ in loud:
                        pass
            code = loud.close_code
        if code != TOO_FAST:
            self.broken.append(f"a flooding client was closed with {code}, not {TOO_FAST}")

    async def heal(self) -> None:
        """It is gone."""


class Crowd(Fault):
    """Very many clients, of many rooms, lose their connections and come back at once."""

    name, about = "crowd", "2,000 clients that reconnect at once"
    cost = 25.0

    async def inject(self) -> None:
        """Let them in, cut them all off, and see how long it takes until all are back."""
        client = self.site.client()
        self.urls = []
        for number in range(math.ceil(self.site.crowd / IN_A_ROOM)):
            slug = (await client.surely("POST", "rooms", {"title": f"Crowd {number}"}))["slug"]
            self.urls.append(f"ws://127.0.0.1:{self.site.service.port}/ws/rooms/{slug}/")
        await client.close()
        self.figures["clients"] = float(self.site.crowd)
        begun = time.monotonic()
        inside = await self._enter()
        self.figures["all in after s"] = time.monotonic() - begun
        for one in inside:
            one.transport.abort()
        begun = time.monotonic()
        self.back = await self._enter()
        took = self.figures["all back after s"] = time.monotonic() - begun
        if took > BACK_WITHIN:
            self.broken.append(
                f"{self.site.crowd} clients were back after {took:.1f} s, not {BACK_WITHIN:g} s"
            )

    async def _enter(self) -> list[ClientConnection]:
        """All of them, as fast as this process can open connections."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def enter(number: int) -> ClientConnection:
            async with turns:
                for _ in range(TRIES):
                    with contextlib.suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                        one = await connect(
                            f"{self.urls[number // IN_A_ROOM]}?name=c{number}",
                            proxy=None,
                            open_timeout=30,
                            ping_interval=None,
                        )
                        await one.recv()  # the welcome
                        return one
            raise ConnectionError(f"client {number} does not get in")

        return list(await asyncio.gather(*map(enter, range(self.site.crowd))))

    async def heal(self) -> None:
        """They go home."""
        for one in self.back:
            one.transport.abort()


VISITOR_FAULTS: tuple[type[Fault], ...] = (DeafClient, SlowClient, FloodingClient, Crowd)
