"""A client's HTTP connection: uvicorn's, which takes whole answers, and can be told that its next request is its last.

When the server stops, a client may still have a request on its way. Closing an idle connection would lose that request. So for a
moment a request that comes is answered with `Connection: close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from websockets.datastructures import Headers
from websockets.http11 import Request

from durable.cluster.taskless import Taskless
from durable.gateway.answers import EXTENSION
from durable.gateway.problems import Header

from .client_connection import ClientConnection
from .joined_writes import JoinedWrites
from .lingering import linger

#: Bytes of a request's head, or of whatever else comes without being a part of a body. A longer one may be answered with 431.
LARGEST_HEAD = 64 * 1024
#: Seconds in which a head comes, once it has begun.
HEAD_SECONDS = 20.0
_CLOSE = (b"connection", b"close")
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_INVALID = "Invalid HTTP request received."
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # among them those that end a line


class HttpConnection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with the extension of `durable.gateway.answers`.

    A request that has come whole, and for which the application has `needs_no_task`, runs without a task. A connection
    has one timer that looks now and then whether it is idle, or waits for the rest of a head, and not a new one after each answer.
    """

    _is_last = False
    _is_reading = False
    _first: tuple[RequestResponseCycle, ASGI3Application] | None = None  # of what is being read
    _has_come_on = True  # with what was read last
    _silent_bytes = 0  # that were read since it came on
    _is_idle = True
    _idle_since = 0.0
    _idle_timer: asyncio.TimerHandle | None = None
    _head_seen: object = None  # unfinished, when the timer looked

    def expect_last_request(self) -> None:
        """Let the request that runs, or comes next, be the last one."""
        self._is_last = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._extensions = {EXTENSION: {"write": self._write_answer}}
        self._idle_since = self.loop.time()
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._stop_looking()

    def data_received(self, data: bytes) -> None:
        """Something of a request has come, or all of it."""
        self._has_come_on = False
        self._is_reading = True
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)
        finally:
            self._is_reading = False
        if self._first is not None:
            (cycle, application), self._first = self._first, None
            needs_no_task = None if cycle.more_body else getattr(application, "needs_no_task", None)
            if needs_no_task is not None and needs_no_task(cycle.scope):
                running: set[Any] = self.tasks
                Taskless(cycle.run_asgi(application), running).go_on()
            else:
                super()._start_asgi_task(cycle, application)
        if self._has_come_on:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > LARGEST_HEAD:
                self._refuse_head()

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        running = self._running()
        if running is not None and not running.more_body:  # its answer comes first, and is the last
            running.keep_alive = False
            self.flow.pause_reading()
            return
        if running is None or not running.response_started:
            self.transport.write(_TOO_LARGE)
        if running is not None:
            running.disconnected = True  # nothing more can be written
        linger(self.transport, self)

    def eof_received(self) -> bool:  # type: ignore[override]  # to asyncio, None is False
        """The client sends no more: what it has asked for is answered, and ends the connection."""
        running = self._running()
        if running is None or running.more_body:
            return False
        running.keep_alive = False
        return True

    def _parse(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                data = memoryview(data)[stopped.args[0] :]
            if self._should_upgrade():
                self._become_socket(has_more=len(data) > 0)
                return
            self._parse_without_upgrade()

    def _parse_without_upgrade(self) -> None:
        """Have the request's head parsed once more, as of a client that does not ask for another protocol.

        A server may ignore that it does (RFC 9110, 7.8). The parser cannot: to it there is no body, and all that follows is the other
        protocol's.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":  # to which the same applies, whatever its headers are
            raise httptools.HttpParserError
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._is_reading:
            self._first = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """A request has been answered."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._is_idle, self._idle_since = True, self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def _look_if_idle(self) -> None:
        self._idle_timer = None
        if self.transport.is_closing():
            return
        left: float = self.timeout_keep_alive
        if self._head_is_coming():
            left = 0 if self._head_seen is self.scope else HEAD_SECONDS
            self._head_seen = self.scope
        elif self._is_idle:
            left -= self.loop.time() - self._idle_since
        if left <= 0:
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(left, self._look_if_idle)

    def _head_is_coming(self) -> bool:
        """Whether a request has begun whose head has not come whole."""
        scope: object = self.scope
        cycle: RequestResponseCycle | None = self.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)

    def _stop_looking(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def on_body(self, body: bytes) -> None:
        """A part of a body has come."""
        self._has_come_on = True
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_headers_complete(self) -> None:
        """A request's head has come."""
        self._has_come_on = True
        self._is_idle = False
        if self.parser.should_upgrade() and not self._should_upgrade():
            return  # it is parsed once more
        before: object = self.cycle
        scope: Any = self.scope
        scope["extensions"] = self._extensions
        super().on_headers_complete()
        if self.cycle is before:  # the connection is to be a WebSocket
            return
        answering: Any = self.cycle  # stands in for a transport
        answering.transport = JoinedWrites(self.transport, self._end)
        if self._is_last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """A request's body has come, if it has any."""
        if not self.parser.should_upgrade() and not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()

    def _become_socket(self, *, has_more: bool) -> None:
        """The connection becomes a WebSocket, and another protocol's: what this one held can go at once, not when the collector comes."""
        has_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )
        if has_body or has_more or self._running() or self.scope["method"] != "GET" or not self.url.isascii():
            raise httptools.HttpParserError
        self.connections.discard(self)
        self._stop_looking()
        self._extensions.clear()
        emptied: Any = self
        emptied.parser = emptied.cycle = None
        headers = Headers((name.decode(), value.decode("latin-1")) for name, value in self.headers)
        socket = ClientConnection(self.config, self.server_state, self.app_state)
        socket.take_over(self.transport, Request(self.url.decode(), headers))
        self.transport.set_protocol(socket)

    def _running(self) -> RequestResponseCycle | None:
        """The last request that has come, unless it has been answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None at first, whatever uvicorn declares
        return None if cycle is None or cycle.response_complete else cycle

    def _write_answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Write a whole answer. False when the client does not read, or has sent its next request already.

        Raises ValueError for what is no header.
        """
        cycle = self.cycle
        if self.pipeline or cycle.response_started or self.flow.write_paused:
            return False
        lines = [b": ".join(header) for header in headers]
        if _CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            lines.append(b"connection: close")
        lines += [b": ".join(header) for header in self.server_state.default_headers]
        head = b"\r\n".join(lines)
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) - 1):
            raise ValueError("a header has characters that no header can have")
        if cycle.disconnected or self.transport.is_closing():
            return True
        answering: Any = cycle.transport  # it may hold back that the client is to go on
        answering.write_at_once(b"%b%b\r\n\r\n%b" % (STATUS_LINE[status], head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._end()
        cycle.on_response()
        return True

    def _end(self) -> None:
        """Close the connection when everything written has been sent, and its client can get it."""
        if self.cycle.more_body and not self.pipeline and not self.transport.is_closing():
            linger(self.transport, self)
        else:
            self.transport.close()
