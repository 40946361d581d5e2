"""What becomes of what clients send over HTTP: all of it is one request after the other, whole, and bounded."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from durable.service import http_connection
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


async def test_L5_a_head_without_end_is_refused(served: Served) -> None:
    answer = await served.all_that_comes(b"GET / HTTP/1.1\r\nX-A: ", b"a" * (1 << 20))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert served.asked == []


async def test_L5_a_head_without_end_leaves_the_request_before_it_alone(
    served: Served, eventually: Callable[..., Any]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX-A: ")
    await asyncio.to_thread(eventually, lambda: served.asked == ["GET /slow "])
    writer.write(b"a" * (1 << 20))
    await asyncio.to_thread(eventually, lambda: served.is_paused())
    served.call(served.go_on.set)
    assert (await asyncio.wait_for(reader.read(4096), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_L5_trailers_without_end_are_refused(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
    answer = await served.all_that_comes(head, b"X-A: ", b"a" * (1 << 20))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert served.asked == []


async def test_L5_a_request_that_is_refused_within_its_body_may_still_be_answered_in_vain(
    served: Served, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /early?slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;")
    await asyncio.to_thread(eventually, lambda: served.asked == ["POST /early "])
    writer.write(b"a" * (1 << 18))
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 431 ")
    served.call(served.go_on.set)
    await asyncio.to_thread(eventually, lambda: not served.state.tasks)
    assert caplog.records == []
    writer.close()


async def test_a_head_may_be_long_and_come_in_pieces(served: Served) -> None:
    pieces = [b"GET /long HTTP/1.1\r\nHost: x\r\nX-A: ", *[b"a" * 9000] * 7, b"\r\n\r\n", CLOSE]
    assert (await served.all_that_comes(*pieces)).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([], 0),
        ([b"GET / HT"], 0),
        ([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT"], 1),
        ([b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", b"bo", b"dy"], 1),
    ],
)
async def test_L5_a_connection_that_sends_no_whole_request_is_closed_after_a_while(
    served: Served, pieces: list[bytes], answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.3, raising=False)
    served.config.timeout_keep_alive = 0.3  # type: ignore[assignment]
    assert (await served.all_that_comes(*pieces)).count(b"HTTP/1.1 200 ") == answers


async def test_a_client_that_still_sends_its_body_gets_the_answer_that_ends_the_connection(
    served: Served,
) -> None:
    head = b"POST /early?close HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n"
    for _ in range(5):
        answer = await served.all_that_comes(head, b"a" * (8 << 20))
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_sends_a_body_for_ever_is_cut_off(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /early?close HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(OSError, match=r"reset|Broken pipe|lost"):
        async with asyncio.timeout(10):
            while True:
                writer.write(b"10000\r\n" + b"a" * 65536 + b"\r\n")
                await writer.drain()
    writer.close()


EXPECTING = b"POST /%b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize("path", [b"ask", b"first", b"early", b"ask?messages"])
async def test_no_client_is_told_to_go_on_after_its_answer(served: Served, path: bytes) -> None:
    ask = EXPECTING % path
    for pieces in ([ask + b"body"], [ask + b"bo", b"dy"]):
        answer = await served.all_that_comes(*pieces, CLOSE)
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert b"HTTP/1.1 100 " not in answer.partition(b"HTTP/1.1 200 ")[2]
        if pieces[1:] == []:
            assert b"HTTP/1.1 100 " not in answer


async def test_a_client_that_waits_for_that_is_told_to_go_on(served: Served) -> None:
    answer = await served.all_that_comes(EXPECTING % b"ask", b"body", CLOSE)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("requests", [1, 3])
@pytest.mark.parametrize("how", [b"", b"?messages"])
async def test_a_client_that_has_said_that_it_sends_no_more_gets_its_answers(
    served: Served, requests: int, how: bytes, eventually: Callable[..., Any]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /slow%b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" % how * requests)
    writer.write_eof()
    await asyncio.to_thread(eventually, lambda: served.asked)
    served.call(served.go_on.set)
    answer = await asyncio.wait_for(reader.read(), 3)
    assert answer.count(b"HTTP/1.1 200 ") == requests
    assert answer.endswith(b"body")
    writer.close()


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"]
)
async def test_a_client_that_sends_no_more_and_has_asked_for_nothing_is_let_go(
    served: Served, begun: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(begun)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()
