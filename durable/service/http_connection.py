"""A client's HTTP connection: uvicorn's, which takes whole answers, and can be told that its next request is its last.

When the server stops, a client may still have a request on its way. Closing an idle connection would lose that request. So for a
moment a request that comes is answered with `Connection: close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from durable.cluster.taskless import Taskless
from durable.gateway.answers import EXTENSION
from durable.gateway.problems import Header

from .joined_writes import JoinedWrites

_CLOSE = (b"connection", b"close")
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # among them those that end a line


class HttpConnection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with the extension of `durable.gateway.answers`.

    A request that has come whole, and for which the application has `needs_no_task`, runs without a task. An idle
    connection has one timer that looks now and then, and not a new one after each answer.
    """

    _is_last = False
    _is_reading = False
    _first: tuple[RequestResponseCycle, ASGI3Application] | None = None  # of what is being read
    _is_idle = False
    _idle_since = 0.0
    _idle_timer: asyncio.TimerHandle | None = None

    def expect_last_request(self) -> None:
        """Let the request that runs, or comes next, be the last one."""
        self._is_last = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._extensions = {EXTENSION: {"write": self._write_answer}}

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._stop_looking()

    def data_received(self, data: bytes) -> None:
        """Something of a request has come, or all of it."""
        self._is_idle = False
        self._is_reading = True
        try:
            super().data_received(data)
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
        idle = self.loop.time() - self._idle_since if self._is_idle else 0.0
        left = self.timeout_keep_alive - idle
        if left <= 0:
            self.timeout_keep_alive_handler()
        elif not self.transport.is_closing():
            self._idle_timer = self.loop.call_later(left, self._look_if_idle)

    def _stop_looking(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def on_headers_complete(self) -> None:
        """A request has come."""
        before: object = self.cycle
        scope: Any = self.scope
        scope["extensions"] = self._extensions
        super().on_headers_complete()
        if self.cycle is before:  # the connection is to be a WebSocket
            return
        answering: Any = self.cycle  # stands in for a transport
        answering.transport = JoinedWrites(self.transport)
        if self._is_last:
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a WebSocket, and another protocol's: what this one held can go at once, not when the collector comes."""
        super().handle_websocket_upgrade()
        self._stop_looking()
        self._extensions.clear()
        parser: Any = self
        parser.parser = None

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
        self.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINE[status], head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True
