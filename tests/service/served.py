"""An application behind client connections, in a thread: the loop is a gateway's, whose transports end connections in their own way."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from uvicorn.server import ServerState

from durable.conf import DurableSettings
from durable.gateway.answers import answer_writer
from durable.gateway.frames import frame, frame_extension
from durable.service.gateway_server import server_config
from durable.service.http_connection import HttpConnection


class Served:
    """An application behind HTTP connections on a port of its own; it says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = ServerState()
        self.config = server_config(self, DurableSettings(data_dir=Path("/nowhere")))
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            self.asked.append(f"socket {len(scope['headers'])}")
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] == "websocket.receive":
                self.asked.append(f"{len(event['text'])} of {event['text'][:10]}")
                write = frame_extension(scope)["write"]  # type: ignore[index]
                while event["text"] == "stuff" and write(frame(bytes(65536)).wire):  # type: ignore[arg-type]
                    pass
            self.asked.append(f"{event.get('code')} {event.get('reason')}")
            return
        body = b""
        if scope["path"] == "/first":
            body = (await receive())["body"]
        elif scope["path"] != "/early":
            while (part := await receive()).get("more_body"):
                body += part["body"]
            body += part.get("body", b"")
        self.asked.append(f"{scope['method']} {scope['path']} {body.decode()}")
        if scope["path"] == "/slow" or scope["query_string"] == b"slow":
            await self.go_on.wait()
        headers = [(b"content-length", b"%d" % len(body))]
        if scope["path"] == "/early" and scope["query_string"] == b"close":
            headers.append((b"connection", b"close"))
        if scope["query_string"] == b"messages" or not answer_writer(scope)(200, headers, body):  # type: ignore[misc]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def all_that_comes(self, *pieces: bytes) -> bytes:
        """What is answered to these pieces, each sent by itself, until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)  # a packet by itself
        async with asyncio.timeout(3):
            answer = await reader.read()
        writer.close()
        return answer

    async def serve(self, started: Future[None]) -> None:
        """Until `end`."""
        config = self.config
        config.load()
        self.loop = asyncio.get_running_loop()
        self.go_on, self.ended = asyncio.Event(), asyncio.Event()
        server = await self.loop.create_server(
            lambda: HttpConnection(config, self.state, {}, _loop=self.loop), "127.0.0.1", 0
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set_result(None)
        await self.ended.wait()
        server.close()
        for one in list(self.state.connections):
            one.transport.abort()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)

    def is_paused(self) -> bool:
        """Whether a client is not read, for it has sent enough."""
        return any(one.flow.read_paused for one in self.state.connections)  # type: ignore[union-attr]

    def call(self, function: Callable[[], object]) -> None:
        """Call it where the application runs."""
        self.loop.call_soon_threadsafe(function)
