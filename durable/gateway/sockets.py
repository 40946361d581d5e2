"""`ObjectSocketConsumer`: a WebSocket endpoint whose sockets belong to durable objects.

A lean ASGI consumer: it decides who may connect and what is no frame at all; everything else is the object's. It holds the
connection while the object sleeps, crashes or moves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from durable.conf import durable_settings
from durable.errors import DurableError
from durable.identity import ObjectId
from durable.runtime.sockets import encode_hello

from .frames import FrameExtension, frame_extension
from .hub import Hub, HubSocket
from .incoming import INTERNAL, Incoming, Receive
from .incoming import SocketRefused as SocketRefused
from .node import nodes
from .origins import HostPolicy, origin_allowed
from .outgoing import Outgoing

log = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

TOO_SLOW = 1013
CLOSE_SECONDS = 5.0  # for a close frame to leave
OPEN_SECONDS = 45.0  # for the object to accept
_PASSED_ON = frozenset(
    (b"user-agent", b"accept-language", b"origin", b"sec-websocket-protocol", b"x-request-id")
)

_hosts = HostPolicy()


@dataclass(frozen=True, slots=True)
class SocketTarget:
    """Where a new socket goes.

    Args:
        stub: of the object that gets it.
        user: who the client is, as the object will see it in `ws.user`.
    """

    stub: Any
    user: dict[str, Any] = field(default_factory=dict)


class ObjectSocketConsumer:
    """Subclass it, say in `connect` which object a socket is for, and route to `YourConsumer.as_asgi()`."""

    max_frame_bytes: ClassVar[int] = 256 * 1024
    """A larger frame closes the socket with 4413."""

    frame_rate: ClassVar[tuple[int, float]] = (60, 30.0)
    """Frames at once, and frames a second; a client that is faster is closed with 4429."""

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI application; each connection gets a consumer of its own."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(**initkwargs)(scope, receive, send)

        application.consumer_class = cls  # type: ignore[attr-defined]
        return application

    async def connect(self, scope: Scope) -> SocketTarget:
        """Which object the socket is for; raise SocketRefused to refuse it. `scope["headers"]` is there until it returns."""
        raise NotImplementedError

    def screen(self, message: str | bytes) -> str | None:
        """Look at a frame before the object does.

        None passes it on; a text is answered in its place (nothing, if it is empty). Raise SocketRefused to close.
        """
        return None

    # -- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if (await receive())["type"] != "websocket.connect":
            return
        if not _may_come(scope):
            await send({"type": "websocket.close", "code": 1008})  # refuses the handshake: HTTP 403
            return
        try:
            target: Any = await self.connect(scope)
            if not isinstance(target, SocketTarget):
                raise TypeError(
                    f"{type(self).__name__}.connect() returns a SocketTarget, not {type(target).__name__}; raise SocketRefused to refuse"
                )
            hub = (await nodes.get()).hub
        except SocketRefused as refused:
            await _refuse(send, refused.code, refused.reason)
            return
        except DurableError as error:
            log.warning("a socket cannot be opened: %s", error)
            await _refuse(send, TOO_SLOW, "try again")
            return
        hello = _take_hello(scope, target.user)
        await self._serve(hub, target.stub.id, hello, receive, send, frame_extension(scope))

    async def _serve(
        self,
        hub: Hub,
        object_id: ObjectId,
        hello: bytes,
        receive: Receive,
        send: Send,
        frames: FrameExtension | None,
    ) -> None:
        socket: HubSocket
        closers: list[asyncio.Task[None]] = []
        serving = asyncio.current_task()
        assert serving is not None

        def want_close() -> None:
            closers.append(asyncio.create_task(_close(socket, send, serving)))

        limit = durable_settings().max_socket_buffer
        outgoing = Outgoing(
            send, limit, lambda: socket.close(TOO_SLOW, "too slow to keep up"), frames and frames["write"]
        )
        socket = hub.open(object_id, hello, outgoing, want_close)
        del hello
        code, reason = 1006, ""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await socket.opened
            if socket.accepted:
                incoming = Incoming(hub, socket, self.screen, self.max_frame_bytes, self.frame_rate)
                code, reason = await incoming.read(receive, frames and frames["read"])
        except TimeoutError:
            socket.close(TOO_SLOW, "the object did not answer in time")
        except SocketRefused as refused:
            socket.close(refused.code, refused.reason)
        except asyncio.CancelledError:
            if socket.closing is None:
                raise
        except Exception:
            log.exception("a socket of %r failed", object_id)
            socket.close(INTERNAL, "internal error")
        finally:
            if socket.closing is not None:
                code, reason = socket.closing
                await asyncio.wait(closers, timeout=CLOSE_SECONDS)
            for closer in closers:
                closer.cancel()
            hub.closed(socket, code, reason, clean=code != 1006)


def _may_come(scope: Scope) -> bool:
    """Whether the client asks for this site, and from a page that may."""
    headers = dict(scope["headers"])
    return _hosts.allows(headers) and origin_allowed(scope, headers)


def _take_hello(scope: Scope, user: dict[str, Any]) -> bytes:
    """The opening request as the object will know it; its headers are gone from the scope then.

    The connection may last for days, and every caller of the consumer, up to the server, keeps the scope.
    """
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    url = path.decode("latin-1").partition("?")[0] + ("?" + query.decode("latin-1") if query else "")
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _PASSED_ON
    }
    scope["headers"].clear()
    return encode_hello(url, headers, user)


async def _refuse(send: Send, code: int, reason: str) -> None:
    """Accept, then close: a refused handshake would tell a browser nothing."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": reason})


async def _close(socket: HubSocket, send: Send, serving: asyncio.Task[None]) -> None:
    """Close the client's connection; if it does not take notice in time, stop serving it."""
    assert socket.closing is not None
    code, reason = socket.closing
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            if not socket.accepted:
                await send({"type": "websocket.accept"})
            await socket.outgoing.finish(
                {"type": "websocket.close", "code": code, "reason": reason}, CLOSE_SECONDS
            )
    except Exception as error:  # noqa: BLE001 - it was to end anyway
        log.debug("a socket could not be closed cleanly: %s", error)
    serving.get_loop().call_later(CLOSE_SECONDS, _stop_serving, serving)


def _stop_serving(serving: asyncio.Task[None]) -> None:
    if not serving.done():
        serving.cancel()
