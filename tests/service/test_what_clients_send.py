"""What becomes of what clients send over HTTP: all of it is one request after the other, whole, and bounded."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop
from uvicorn.server import ServerState

from durable.conf import DurableSettings
from durable.gateway.answers import answer_writer
from durable.service.gateway_server import server_config
from durable.service.http_connection import HttpConnection

CLOSE = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SOCKET = (
    b"%b / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)


class Served:
    """An application behind HTTP connections on a port of its own; it says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = ServerState()
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            self.asked.append(f"socket {len(scope['headers'])}")
            await send({"type": "websocket.accept"})
            await receive()
            return
        body = b""
        if scope["path"] != "/early":
            while (part := await receive()).get("more_body"):
                body += part["body"]
            body += part.get("body", b"")
        self.asked.append(f"{scope['method']} {scope['path']} {body.decode()}")
        if scope["path"] == "/slow":
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
        config = server_config(self, DurableSettings(data_dir=Path("/nowhere")))
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

    def call(self, function: Callable[[], object]) -> None:
        """Call it where the application runs."""
        self.loop.call_soon_threadsafe(function)


@pytest.fixture
def served() -> Iterator[Served]:
    application, started = Served(), Future[None]()
    with ThreadPoolExecutor(1) as thread, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = thread.submit(runner.run, application.serve(started))
        started.result(10)
        yield application
        application.call(application.go_on.set)
        application.call(application.ended.set)
        serving.result(10)


POST = b"POST /%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n%b\r\n"
BODIES = [(b"Content-Length: 4\r\n", b"body"), (b"Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n0\r\n\r\n")]


@pytest.mark.parametrize("protocol", [b"h2c", b"foo"])
@pytest.mark.parametrize(("framing", "body"), BODIES)
async def test_a_request_that_would_like_another_protocol_is_served_with_its_body(
    served: Served, protocol: bytes, framing: bytes, body: bytes
) -> None:
    """As Java's client does it, whose first request asks for HTTP/2."""
    ask = POST % (b"ask", protocol, framing)
    together = await served.all_that_comes(ask + body + CLOSE)
    apart = await served.all_that_comes(ask, body, CLOSE)
    assert together.count(b"HTTP/1.1 200 OK") == apart.count(b"HTTP/1.1 200 OK") == 2
    assert served.asked == ["POST /ask body", "GET /last "] * 2


async def test_a_body_is_never_taken_for_a_request(served: Served) -> None:
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    await served.all_that_comes(POST % (b"ask", b"foo", b"Content-Length: %d\r\n" % len(inner)), inner, CLOSE)
    assert served.asked == ["POST /ask " + inner.decode(), "GET /last "]


async def test_any_number_of_requests_may_ask_for_another_protocol(served: Served) -> None:
    asked = POST % (b"ask", b"h2c", b"Content-Length: 4\r\n") + b"body"
    answer = await served.all_that_comes(asked * 2000 + CLOSE)
    assert answer.count(b"HTTP/1.1 200 OK") == 2001


@pytest.mark.parametrize(
    "request_",
    [
        SOCKET % (b"GET", b"Content-Length: 4\r\n") + b"body",
        SOCKET % (b"GET", b"Content-Length: 4\r\n"),
        SOCKET % (b"GET", b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        SOCKET % (b"GET", b"") + b"body",
        SOCKET % (b"POST", b""),
        SOCKET.replace(b" / ", b" /\xc3\xa9 ") % (b"GET", b""),
        b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + SOCKET % (b"GET", b""),
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_handshake_that_is_none_is_refused(served: Served, request_: bytes) -> None:
    assert (await served.all_that_comes(request_)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "headers", [b"Cookie: a=%b\r\n" % (b"x" * 20_000), b"X-One: 1\r\n" * 500, b"Content-Length: 0\r\n"]
)
async def test_a_handshake_may_have_long_headers_and_many(served: Served, headers: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(SOCKET % (b"GET", headers))
    async with asyncio.timeout(3):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert served.asked == ["socket " + str(5 + headers.count(b"\n"))]
    writer.close()
