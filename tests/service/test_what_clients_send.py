"""What becomes of what clients send over HTTP: all of it is one request after the other, whole, and bounded."""

import asyncio

import pytest

from tests.service.served import Served

CLOSE = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SOCKET = (
    b"%b / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)

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
