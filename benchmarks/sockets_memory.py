"""What an open socket holds in its gateway while its object sleeps."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Sequence

from .figures import Figure, tell
from .plan import Plan
from .processes import Holding, holding
from .service import Service, service, until
from .subjects.objects import Hasty

AIM_KIB = 20.0
AT_ONCE = 50
OPEN_SECONDS = 30.0
_HEADERS = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n"
    "Cache-Control: no-cache\r\nPragma: no-cache\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    "Cookie: sessionid=q2o6gk9u1h5w0c2c0zqk8xw3v1j5y7ab; csrftoken=Zb1o7kq3mX2y0c9dQ4r8sT6uV5wA1eB3\r\n"
)
_PING, _PONG, _TEXT = 0x89, 0x8A, 0x81


class Idler(asyncio.Protocol):
    """A client as a browser is one: it opens a socket, answers pings, and counts the short texts that come."""

    def __init__(self, host: str, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{_HEADERS}Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
        self._unread = b""
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.texts = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        if not self.opened.done():
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._unread = data
                return
            data = rest
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head.decode("latin-1")))
                return
            self.opened.set_result(None)
        while len(data) >= 2 and len(data) >= (size := 2 + data[1]):
            frame, data = data[:size], data[size:]
            if frame[0] == _PING:
                self._transport.write(bytes((_PONG, 0x80 | frame[1])) + bytes(4) + frame[2:])
            elif frame[0] == _TEXT:
                self.texts += 1
        self._unread = data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection ended before the socket was open"))

    def close(self) -> None:
        """Go away without a word."""
        self._transport.abort()


async def _open(host: str, port: int, rooms: Sequence[str]) -> list[Idler]:
    """A socket for each name in `rooms`."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(room: str) -> Idler:
        async with gate, asyncio.timeout(OPEN_SECONDS):
            _, idler = await loop.create_connection(
                lambda: Idler(f"{host}:{port}", f"/ws/subject/{room}"), host, port
            )
            await idler.opened
            return idler

    return await asyncio.gather(*(one(room) for room in rooms))


async def idle_sockets(plan: Plan) -> AsyncIterator[Figure]:
    """Many sockets of one object, and few sockets of each of many objects."""
    for title, objects in (("one object with all", 1), ("objects with two each", plan.sockets // 2)):
        async with service() as running:
            (gateway,) = running.processes.gateway_pids()
            port = running.processes.port
            warm = await _open("127.0.0.1", port, [f"warm-{n % 20}" for n in range(min(200, plan.sockets))])
            await running.wait_until_active(0)
            before = holding(gateway)
            tell(f"opening {plan.sockets:,} sockets: {title}")
            rooms = [f"room-{n % objects}" for n in range(plan.sockets)]
            idlers = await _open("127.0.0.1", port, rooms)
            await running.wait_until_active(0)
            after = holding(gateway)
            yield _per_socket(f"memory of an idle socket, {title}", before, after, len(idlers), right=True)
            right = await _all_hear(rooms, idlers)
            await running.wait_until_active(0)
            yield _per_socket(
                f"the same after a broadcast to each, {title}", before, holding(gateway), len(idlers), right
            )
            held = holding(gateway)
            for idler in idlers:
                idler.close()
            await _let_go(running, gateway, before)
            await _open("127.0.0.1", port, rooms)
            await running.wait_until_active(0)
            more = (holding(gateway).kib - held.kib) / len(idlers)
            yield Figure(f"what each adds when all have gone and as many come, {title}", "KiB", (more,))
            del warm


async def _all_hear(rooms: Sequence[str], idlers: list[Idler]) -> bool:
    """Whether a frame from each object reaches every one of its sockets once."""
    for room in dict.fromkeys(rooms):
        await Hasty.namespace.get_by_name(room).echo("hello")
    await until(lambda: all(idler.texts for idler in idlers), OPEN_SECONDS)
    return all(idler.texts == 1 and not idler.ended for idler in idlers)


async def _let_go(running: Service, gateway: int, before: Holding) -> None:
    """Return when the gateway and the objects have noticed that the clients have gone."""
    await until(lambda: holding(gateway).descriptors <= before.descriptors + 2, OPEN_SECONDS)
    await running.wait_until_active(0)


def _per_socket(name: str, before: Holding, after: Holding, count: int, right: bool) -> Figure:
    right = right and abs(after.descriptors - before.descriptors - count) <= 2  # links may come and go
    return Figure(name, "KiB", ((after.kib - before.kib) / count,), aim=AIM_KIB, right=right)
