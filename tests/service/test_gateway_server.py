"""The gateway's web server as a process: it closes sockets with 1012, ends cleanly, and dies with its supervisor."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from durable.service.lifeline import LIFE_VARIABLE, REPORT_VARIABLE
from durable.service.listener import open_listener

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio
import os
import signal
import sys
from pathlib import Path
from durable.conf import DurableSettings
from durable.gateway.answers import answer_writer
from durable.cluster.taskless import CallResult
from durable.gateway.frames import frame, frame_extension
from durable.service import client_connection
from durable.service.gateway_server import GatewayServer, server_config
from durable.service.lifeline import Lifeline
from durable.service.listener import adopt_listener

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        write, read = frame_extension(scope)["write"], frame_extension(scope)["read"]
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") == "flood":
                try:
                    while True:
                        await send({"type": "websocket.send", "bytes": bytes(65536)})
                except OSError:
                    print("cut off", flush=True)
                    return
            if event.get("text", "").startswith("burst"):
                assert all([write(frame(str(number)).wire) for number in range(100)])
                if event["text"] == "burst, close":
                    return await send({"type": "websocket.close", "code": 1000})
                if event["text"] == "burst, stop":
                    os.kill(os.getpid(), signal.SIGTERM)
                    continue
            if event.get("text") == "cannot stop":
                write.__self__.shutdown = None  # the connection's
            if event.get("text") == "stream":
                for number in range(300):
                    assert write(frame("%03d" % number).wire)
                    await asyncio.sleep(0.001)
                continue
            if event.get("text") == "hand over":
                got, asked, handed_over = [], 0, 0
                def take(message):
                    nonlocal asked, handed_over
                    asked += 1
                    if asked % 7 == 0 or message == "300":
                        return False  # and would take the next one
                    got.append(message if isinstance(message, str) else message.decode())
                    handed_over += 1
                    return True
                read(take)
                await send({"type": "websocket.send", "text": "ready"})
                while got[-1:] != ["300"]:
                    event = await receive()
                    got.append(event.get("text") or event["bytes"].decode())
                    await asyncio.sleep(0.001)
                    read(take)
                assert 6 <= handed_over < 300, handed_over
                await send({"type": "websocket.send", "text": " ".join(got)})
                continue
            if event.get("text") == "stuff":
                large = frame(bytes(65536)).wire
                taken = 0
                while write(large):
                    taken += 1
                await send({"type": "websocket.send", "text": str(taken)})
            await send({"type": "websocket.send", "text": event.get("text") or "binary"})
    elif scope["type"] == "http" and scope["path"] == "/whole":
        write = answer_writer(scope)
        await asyncio.sleep(0.05)
        asked = scope["query_string"].decode("ascii")
        headers = [(b"content-length", b"%d" % len(asked))]
        if asked == "close":
            headers.append((b"connection", b"close"))
        if asked == "split":
            headers.append((b"x-what", b"a\\r\\nset-cookie: b"))
        if not write(200, headers, asked.encode()):
            await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"x-by", b"messages")]})
            await send({"type": "http.response.body", "body": asked.encode()})
    elif scope["type"] == "http" and scope["path"] == "/taskless":
        had_task = asyncio.current_task() is not None
        body = b""
        while (part := await receive()).get("more_body"):
            body += part["body"]
        body += part["body"]
        result = CallResult()
        if scope["query_string"] != b"never":
            asyncio.get_running_loop().call_later(0.02, result.set_result, body)
        try:
            body = await result
        except asyncio.CancelledError:
            body = b"stopped"
        body = b"%s, %s" % (b"a task" if had_task else b"no task", body)
        headers = [(b"content-length", b"%d" % len(body))]
        if scope["query_string"] == b"raise":
            raise KeyError
        if scope["query_string"] == b"messages" or not answer_writer(scope)(200, headers, body):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})

application.needs_no_task = lambda scope: scope["path"] == "/taskless"

class Alone:
    async def get(self): pass
    async def close(self): print("left", flush=True)

client_connection.LINGER_SECONDS = 0.2
listener = adopt_listener(int(sys.argv[1]))
conf = DurableSettings(data_dir=Path("/nowhere"), ping_seconds=0.2)
config = server_config(application, conf)
config.timeout_keep_alive = 0.4
GatewayServer(config, Lifeline.inherit(), Alone()).serve_on(listener)
"""

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(text: bytes) -> bytes:
    """A client's frame, by a mask of zeros."""
    return bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text


class Gateway:
    """A gateway process and the supervisor's ends of its pipes."""

    def __init__(self) -> None:
        self.listener = open_listener("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        life, self.life = os.pipe()
        self.reports, report = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.listener.fileno())],
            cwd=ROOT,
            env={**os.environ, LIFE_VARIABLE: str(life), REPORT_VARIABLE: str(report)},
            stdout=subprocess.PIPE,
            pass_fds=(self.listener.fileno(), life, report),
        )
        os.close(life)
        os.close(report)
        assert b"worker" in os.read(self.reports, 100)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.reports)
        if self.life >= 0:
            os.close(self.life)
        self.listener.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.close()


async def wait_end(gateway: Gateway, within: float) -> int:
    return await asyncio.to_thread(gateway.process.wait, within)


async def test_W11_a_gateway_that_stops_closes_its_sockets_with_1012(gateway: Gateway) -> None:
    sockets = [await websockets.connect(f"ws://127.0.0.1:{gateway.port}/") for _ in range(150)]
    gateway.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(client.wait_closed() for client in sockets))
    assert {client.close_code for client in sockets} == {1012}
    assert await wait_end(gateway, 5) == 0
    assert gateway.process.stdout is not None
    assert gateway.process.stdout.read() == b"left\n"


async def test_W11_a_request_on_its_way_is_answered_by_a_gateway_that_stops(gateway: Gateway) -> None:
    """Its client has a connection that was idle, and hears that this answer is the last one there."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    assert b"connection: close" not in await reader.readuntil(b"127.0.0.1")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.listener.close()
    async with asyncio.timeout(5):
        while await is_listening(gateway.port):
            pass
    writer.write(request)
    assert b"connection: close" in await reader.read()
    assert await wait_end(gateway, 5) == 0
    writer.close()


async def is_listening(port: int) -> bool:
    """Whether a connection is accepted."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_W11_a_gateway_ends_in_order_though_a_client_does_not_read(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as peer:
        peer.sendall(HANDSHAKE)
        assert (await asyncio.to_thread(peer.recv, 4096)).startswith(b"HTTP/1.1 101")
        peer.sendall(b"\x81\x85\0\0\0\0flood")
        await asyncio.to_thread(peer.recv, 1)  # it has begun to send; nothing more is read
        gateway.process.send_signal(signal.SIGTERM)
        assert await wait_end(gateway, 15) == 0
    assert gateway.process.stdout is not None
    assert b"left\n" in gateway.process.stdout.read()


async def test_W11_a_gateway_ends_in_order_though_a_connection_cannot_be_closed(gateway: Gateway) -> None:
    broken, other = [await websockets.connect(f"ws://127.0.0.1:{gateway.port}/") for _ in range(2)]
    await broken.send("cannot stop")
    assert await broken.recv() == "cannot stop"
    gateway.process.send_signal(signal.SIGTERM)
    await asyncio.gather(broken.wait_closed(), other.wait_closed())
    assert (broken.close_code, other.close_code) == (1006, 1012)
    assert await wait_end(gateway, 5) == 0
    assert gateway.process.stdout is not None
    assert gateway.process.stdout.read() == b"left\n"


NUMBERS = [str(number) for number in range(100)]


async def test_W8_frames_that_are_ready_leave_before_what_is_sent_after_them(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        for _ in range(3):
            await client.send("burst")
            assert [await client.recv() for _ in range(101)] == [*NUMBERS, "burst"]


async def test_W8_a_stream_of_frames_leaves_in_order_and_in_few_writes(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(masked(b"stream"))
    came, pieces = b"", 0
    async with asyncio.timeout(10):
        while came.count(b"\x81\x03") < 300:
            came += await reader.read(65536)
            pieces += 1
    frames = [came[at + 2 : at + 5] for at in range(len(came)) if came[at : at + 2] == b"\x81\x03"]
    assert frames == [b"%03d" % number for number in range(300)]
    assert pieces < 150
    writer.close()


async def test_W1_messages_are_in_order_though_not_all_can_be_handed_over(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        await client.send("hand over")
        assert await client.recv() == "ready"
        sent = [str(number) for number in range(301)]
        for number in sent:
            if int(number) % 5 == 0:
                await client.send(iter([number[:1], number[1:], ""]))  # in fragments
            elif int(number) % 3 == 0:
                await client.send(number.encode())
            else:
                await client.send(number)
            if int(number) % 10 == 9:
                await asyncio.sleep(0.05)
        assert (await client.recv()).split() == sent


async def test_W1_what_is_no_text_is_not_handed_over_as_one(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(10):
        writer.write(masked(b"hand over"))
        assert await reader.readexactly(7) == b"\x81\x05ready"
        writer.write(masked(b"\xff\xfe"))
        assert (await reader.read()).startswith(b"\x88\x02" + (1007).to_bytes(2, "big"))
    writer.close()


async def test_W8_frames_that_are_ready_leave_before_a_close(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        await client.send("burst, close")
        assert [message async for message in client] == NUMBERS
        assert client.close_code == 1000


async def test_W11_frames_that_are_ready_leave_before_the_gateway_stops(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        await client.send("burst, stop")
        assert [await client.recv() for _ in NUMBERS] == NUMBERS
        await client.wait_closed()
        assert client.close_code == 1012


async def test_W9_no_more_frames_are_taken_than_a_client_reads(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/", max_queue=1) as client:
        await client.send("stuff")
        taken = 0
        while isinstance(answer := await client.recv(), bytes):
            taken += len(answer) == 65536
        assert int(answer) == taken
        assert 1 <= taken < 500  # what the system keeps for a socket; it was asked without end


async def all_that_comes(gateway: Gateway, request: bytes) -> bytes:
    """Everything that is answered until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_whole_answer_leaves_as_it_is_and_the_connection_goes_on(gateway: Gateway) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        for asked in ("one", "two"):
            answer = await client.get(f"/whole?{asked}")
            assert (answer.status_code, answer.text) == (200, asked)
            assert "x-by" not in answer.headers
            assert answer.headers["date"]
            assert "connection" not in answer.headers


@pytest.mark.parametrize(
    "request_", [b"GET /whole?close HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /whole?old HTTP/1.0\r\n\r\n"]
)
async def test_a_whole_answer_ends_the_connection_where_either_side_wants_that(
    gateway: Gateway, request_: bytes
) -> None:
    answer = await all_that_comes(gateway, request_)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"connection: close\r\n") == 1
    assert answer.endswith((b"\r\n\r\nclose", b"\r\n\r\nold"))


async def test_requests_that_do_not_wait_for_their_answers_get_them_in_order(gateway: Gateway) -> None:
    requests = [b"GET /whole?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)]
    answer = await all_that_comes(
        gateway, b"".join(requests) + b"GET /whole?close HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]] == [
        b"0",
        b"1",
        b"2",
        b"close",
    ]


async def test_a_whole_answer_has_no_more_headers_than_it_was_given(gateway: Gateway) -> None:
    answer = await all_that_comes(gateway, b"GET /whole?split HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in answer


POST = b"POST /taskless?%s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n%s\r\n"


def bodies(answer: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("how", [b"", b"messages"])
async def test_a_request_that_needs_no_task_has_none_and_the_connection_goes_on(
    gateway: Gateway, how: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for number in range(3):
        writer.write(POST % (how, b"") + b"no%2d" % number)
        assert (await reader.readuntil(b"no%2d" % number)).endswith(b"no task, no%2d" % number)
    writer.close()


async def test_a_request_that_comes_in_pieces_has_a_task(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(POST % (b"", b"Connection: close\r\n") + b"bo")
    await asyncio.sleep(0.1)
    writer.write(b"dy")
    assert bodies(await reader.read()) == [b"a task, body"]
    writer.close()


async def test_requests_without_a_task_are_answered_in_their_order(gateway: Gateway) -> None:
    asked = b"".join(POST % (b"", b"") + b"no%2d" % number for number in range(3))
    answer = await all_that_comes(gateway, asked + POST % (b"", b"Connection: close\r\n") + b"last")
    ends = [body.rpartition(b", ")[2] for body in bodies(answer)]
    assert ends == [b"no 0", b"no 1", b"no 2", b"last"]


async def test_a_request_without_a_task_that_fails_is_answered_with_500(gateway: Gateway) -> None:
    answer = await all_that_comes(gateway, POST % (b"raise", b"") + b"body")
    assert answer.startswith(b"HTTP/1.1 500 ")


async def test_W11_a_request_without_a_task_that_never_ends_is_told_when_the_gateway_stops(
    gateway: Gateway,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    others = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
    for one in (writer, *(other for _, other in others)):
        one.write(POST % (b"never", b"") + b"body")
    await asyncio.sleep(0.2)
    gateway.process.send_signal(signal.SIGTERM)
    assert bodies(await asyncio.wait_for(reader.read(), 15)) == [b"no task, stopped"]
    assert await wait_end(gateway, 10) == 0
    for one in (writer, *(other for _, other in others)):
        one.close()


async def test_an_idle_connection_is_closed_after_a_while_and_a_used_one_is_not(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(4):
        writer.write(POST % (b"", b"") + b"body")
        await reader.readuntil(b"task, body")
        last = loop.time()
        await asyncio.sleep(0.2)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    assert loop.time() - last > 0.35
    writer.close()


async def test_a_connection_in_the_middle_of_a_request_is_not_idle(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2):
        whole = POST % (b"", b"") + b"body"
        writer.write(whole[:30])
        await asyncio.sleep(0.9)
        writer.write(whole[30:])
        assert (await reader.readuntil(b"body")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_it_says_nothing_about_itself_and_believes_no_forwarded_address(gateway: Gateway) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"http://127.0.0.1:{gateway.port}/", headers={"X-Forwarded-For": "192.0.2.7"}
        )
    assert answer.text == "127.0.0.1"
    assert "server" not in answer.headers


async def test_W10_a_peer_that_answers_no_ping_is_dropped(
    gateway: Gateway, eventually: Callable[..., Any]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HANDSHAKE)
    # This peer reads, but never answers: the server's pings (every 0.2 s here) go unanswered, and it closes.
    async with asyncio.timeout(15):
        everything = await reader.read()
    assert everything.startswith(b"HTTP/1.1 101")
    writer.close()


async def test_W10_a_dead_peer_is_dropped_though_much_was_left_for_it(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as peer:
        peer.sendall(HANDSHAKE)
        assert (await asyncio.to_thread(peer.recv, 4096)).startswith(b"HTTP/1.1 101")
        peer.sendall(b"\x81\x85\0\0\0\0flood")
        # It reads nothing from here on: pings go unanswered, and the closing server cannot send what waits.
        assert gateway.process.stdout is not None
        async with asyncio.timeout(15):
            assert await asyncio.to_thread(gateway.process.stdout.readline) == b"cut off\n"


async def test_a_large_message_is_refused(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        await client.send("x" * (1 << 20))
        assert len(await client.recv()) == 1 << 20
        await client.send("x" * ((1 << 20) + 1))
        with pytest.raises(websockets.ConnectionClosed):
            await client.recv()
    assert client.close_code == 1009


async def test_it_ends_when_its_supervisor_is_gone(gateway: Gateway) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as client:
        os.close(gateway.life)
        gateway.life = -1
        await wait_end(gateway, 5)
        await client.wait_closed()
