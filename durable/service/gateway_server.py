"""The HTTP and WebSocket server of a gateway process: uvicorn, on a socket it may share with other gateways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from durable.conf import DurableSettings
from durable.errors import UnavailableError

from . import collector
from .client_connection import ClientConnection
from .http_connection import HttpConnection
from .lifeline import Lifeline
from .listener import BACKLOG

logger = logging.getLogger(__name__)

#: Bytes of one WebSocket message; applications set lower limits, with an answer that says so.
LARGEST_SOCKET_MESSAGE = 1 << 20
#: Seconds that requests under way may take once the server is asked to stop.
STOP_WITHIN = 5
#: Sockets are closed in steps, so that their clients do not all come back in one instant.
_PACE_SECONDS = 0.05
_PACED_WITHIN = 2.0
_SMALLEST_STEP = 100
#: So long an idle client may still send its last request.
_LAST_REQUEST_WITHIN = 0.5


def server_config(application: Any, conf: DurableSettings) -> uvicorn.Config:
    """Uvicorn's settings for a gateway."""
    return uvicorn.Config(
        application,
        interface="asgi3",
        loop="uvloop",
        http=HttpConnection,
        ws=ClientConnection,
        ws_max_size=LARGEST_SOCKET_MESSAGE,
        ws_per_message_deflate=False,  # halves the fan-out, triples the memory
        ws_ping_interval=conf.ping_seconds,
        ws_ping_timeout=conf.ping_seconds,  # a dead peer is noticed within both together
        lifespan="auto",
        log_config=None,  # Django's LOGGING stands
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application decides by TRUSTED_PROXY_COUNT
        backlog=BACKLOG,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=STOP_WITHIN,
    )


class Membership(Protocol):
    """A process's part in the cluster."""

    async def get(self) -> object:
        """Join, unless that is done. Raises `UnavailableError`."""

    async def close(self) -> None:
        """Leave."""


class GatewayServer(uvicorn.Server):
    """Uvicorn that says when it serves, ends with status 0 when asked to, and closes its sockets in steps.

    Args:
        config: see `server_config`.
        lifeline: the tie to the supervisor.
        cluster: the process's part in the cluster, joined before the first connection is accepted and left after the
            last one is closed.
    """

    def __init__(self, config: uvicorn.Config, lifeline: Lifeline, cluster: Membership) -> None:
        super().__init__(config)
        self._lifeline = lifeline
        self._cluster = cluster

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until SIGTERM, Ctrl-C or the supervisor's end."""
        self._lifeline.watch(self._end_quickly)
        self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Join the cluster, start, and tell the supervisor."""
        try:
            await self._cluster.get()
        except UnavailableError as error:
            # What needs the cluster joins it again; until then it answers 503, and everything else is served.
            logger.warning("this gateway cannot join the cluster yet: %s", error)
        await super().startup(sockets=sockets)
        if self.started:
            collector.settle()
            self._lifeline.report_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, close the WebSockets with 1012 in steps, take last requests, then let uvicorn end what remains."""
        last_request_until = asyncio.get_running_loop().time() + _LAST_REQUEST_WITHIN
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        open_sockets = [
            one for one in self.server_state.connections if isinstance(one, WebSocketsSansIOProtocol)
        ]
        for step in _steps(open_sockets):
            for connection in step:
                if connection in self.server_state.connections:
                    _end(connection, connection.shutdown)
            if self.force_exit:
                break
            await asyncio.sleep(_PACE_SECONDS)
        while not self.force_exit and asyncio.get_running_loop().time() < last_request_until:
            clients = [one for one in self.server_state.connections if isinstance(one, HttpConnection)]
            for client in clients:
                _end(client, client.expect_last_request)
            if not clients:
                break
            await asyncio.sleep(_PACE_SECONDS)
        await super().shutdown()
        await self._cluster.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT; unlike uvicorn, do not die of them again after a clean stop."""
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    def _end_quickly(self) -> None:
        logger.warning("the supervisor is gone: ending")
        self.should_exit = self.force_exit = True


def _end(connection: WebSocketsSansIOProtocol | HttpConnection, how: Callable[[], None]) -> None:
    """End a connection in order, or else at once: whatever is wrong with it, the others and their requests wait for the rest of the stop."""
    try:
        how()
    except Exception:
        logger.exception("a connection could not be closed in order")
        connection.transport.abort()


def _steps(connections: Sequence[WebSocketsSansIOProtocol]) -> Iterator[Sequence[WebSocketsSansIOProtocol]]:
    """Parts of the connections, so many that closing them one part at a time stays within the allowed time."""
    size = max(_SMALLEST_STEP, int(len(connections) * _PACE_SECONDS / _PACED_WITHIN) + 1)
    for start in range(0, len(connections), size):
        yield connections[start : start + size]
