"""What a client's HTTP connection keeps of itself."""

import asyncio
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from durable.conf import DurableSettings
from durable.service.gateway_server import server_config
from durable.service.http_connection import HttpConnection

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Listening:
    """A server of one connection after the other, in this process."""

    def __init__(self) -> None:
        self.connection: HttpConnection | None = None
        self.config: uvicorn.Config = server_config(self, DurableSettings(data_dir=Path("/nowhere")))
        self.config.load()
        self.state = ServerState()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    def make(self) -> HttpConnection:
        self.connection = HttpConnection(self.config, self.state, {}, _loop=asyncio.get_running_loop())
        return self.connection

    def has_timer(self) -> bool:
        assert self.connection is not None
        return self.connection._idle_timer is not None


async def test_only_an_open_http_connection_is_looked_at_for_being_idle() -> None:
    listening = Listening()
    server = await asyncio.get_running_loop().create_server(listening.make, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for ends in ("as a socket", "closed"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        assert listening.has_timer()
        if ends == "as a socket":
            writer.write(HANDSHAKE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        else:
            writer.close()
            async with asyncio.timeout(10):
                while listening.has_timer():
                    await asyncio.sleep(0.001)
        assert not listening.has_timer()
        writer.close()
    server.close()
