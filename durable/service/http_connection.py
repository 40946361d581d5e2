"""A client's HTTP connection: uvicorn's, which takes whole answers, and can be told that its next request is its last.

When the server stops, a client may still have a request on its way. Closing an idle connection would lose that request. So for a
moment a request that comes is answered with `Connection: close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from durable.gateway.answers import EXTENSION
from durable.gateway.problems import Header

from .joined_writes import JoinedWrites

_CLOSE = (b"connection", b"close")
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # among them those that end a line


class HttpConnection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with the extension of `durable.gateway.answers`."""

    _is_last = False

    def expect_last_request(self) -> None:
        """Let the request that runs, or comes next, be the last one."""
        self._is_last = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._extensions = {EXTENSION: {"write": self._write_answer}}

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
