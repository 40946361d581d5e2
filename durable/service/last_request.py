"""HTTP connections that end with an answer: when the server stops, a client may still have one request on its way.

Closing an idle connection would lose that request. So for a moment a request that comes is answered with `Connection: close`.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .joined_writes import JoinedWrites


class HttpConnection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, which can be told that its next request is its last."""

    _is_last = False

    def expect_last_request(self) -> None:
        """Let the request that runs, or comes next, be the last one."""
        self._is_last = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        """A request has come."""
        before: object = self.cycle
        super().on_headers_complete()
        if self.cycle is before:  # the connection is to be a WebSocket
            return
        answering: Any = self.cycle  # stands in for a transport
        answering.transport = JoinedWrites(self.transport)
        if self._is_last:
            self.cycle.keep_alive = False
