"""A WebSocket client that costs little, so that a generator of load can hold thousands and read what is sent to all of them."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Sequence

AT_ONCE = 50
OPEN_SECONDS = 30.0
_HEADERS = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n"
    "Cache-Control: no-cache\r\nPragma: no-cache\r\n"
    "Cookie: sessionid=q2o6gk9u1h5w0c2c0zqk8xw3v1j5y7ab; csrftoken=Zb1o7kq3mX2y0c9dQ4r8sT6uV5wA1eB3\r\n"
)
_COMPRESSION = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_UNMASKED = bytes(4)  # a mask of zeros: the frame is masked, as it must be, and costs nothing


class WebSocketClient(asyncio.Protocol):
    """Sends as a browser does, answers pings, and hands over the texts that come; a message is one frame.

    Args:
        host: for the headers.
        path: what to open.
        on_text: told of each text that comes.
        compression: offer permessage-deflate; frames that come compressed are ignored.
    """

    def __init__(
        self,
        host: str,
        path: str,
        on_text: Callable[[bytes], None] | None = None,
        *,
        compression: bool = False,
    ) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        offer = _COMPRESSION if compression else ""
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{_HEADERS}{offer}Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
        self._on_text = on_text
        self._unread = b""
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.texts = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        data = self._unread + data if self._unread else data
        at = 0
        if not self.opened.done():
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                self._unread = data
                return
            at = len(head) + 4
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head.decode("latin-1")))
                return
            self.opened.set_result(None)
        on_text, size = self._on_text, len(data)
        while True:
            # What `frame_at` would find, for what as good as always comes.
            if size - at >= 4 and data[at] == _TEXT and (length := data[at + 1]) <= 126:
                start = at + 2
                if length == 126:
                    length, start = data[at + 2] << 8 | data[at + 3], at + 4
                kind, end = _TEXT, start + length
                if end > size:
                    break
            elif (found := frame_at(data, at)) is not None:
                kind, start, end = found
            else:
                break
            if kind == _TEXT:
                self.texts += 1
                if on_text is not None:
                    on_text(data[start:end])
            elif kind == _PING:
                self._transport.write(frame_bytes(_PONG, data[start:end]))
            elif kind == _CLOSE:
                self._transport.close()
            at = end
        self._unread = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection ended before the socket was open"))

    def send(self, text: bytes) -> None:
        """Send one text, unless the server has closed."""
        if not self._transport.is_closing():
            self._transport.write(frame_bytes(_TEXT, text))

    def close(self) -> None:
        """Go away without a word."""
        self._transport.abort()


def frame_at(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(first byte, start, end) of the server's frame at `at`, its payload being data[start:end]; None while it is not all there."""
    if len(data) < at + 2:
        return None
    length, start = data[at + 1], at + 2
    if length >= 126:
        size = 2 if length == 126 else 8
        start += size
        if len(data) < start:
            return None
        length = int.from_bytes(data[at + 2 : start], "big")
    return (data[at], start, start + length) if len(data) >= start + length else None


def frame_bytes(kind: int, payload: bytes) -> bytes:
    """A client's frame."""
    length = len(payload)
    if length < 126:
        head = bytes((kind, 0x80 | length))
    elif length < 65536:
        head = bytes((kind, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((kind, 0xFF)) + length.to_bytes(8, "big")
    return head + _UNMASKED + payload


async def open_sockets(
    host: str,
    port: int,
    paths: Sequence[str],
    on_text: Callable[[int], Callable[[bytes], None]] | None = None,
    *,
    compression: bool = False,
) -> list[WebSocketClient]:
    """A socket for each path; `on_text` gives what is told of the texts of the socket with that index."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(index: int, path: str) -> WebSocketClient:
        heard = None if on_text is None else on_text(index)
        async with gate, asyncio.timeout(OPEN_SECONDS):
            _, client = await loop.create_connection(
                lambda: WebSocketClient(f"{host}:{port}", path, heard, compression=compression), host, port
            )
            await client.opened
            return client

    return await asyncio.gather(*(one(index, path) for index, path in enumerate(paths)))
