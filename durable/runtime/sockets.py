"""Hibernatable sockets as an object sees them: the gateway holds them, the object's file remembers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from durable.core import codec
from durable.core.sockets import (
    check_attachment,
    check_auto_response,
    check_close,
    check_message,
    check_tags,
    check_volatile,
)
from durable.errors import SocketError, SocketNotAcceptedError, TooManySocketsError
from durable.storage.metadata import SocketRow
from durable.storage.store import Store

from .events import Operation

Effect = Callable[[str, Operation], None]


class SocketHello(msgspec.Struct, array_like=True):
    """What a client's opening request said."""

    url: str
    headers: dict[str, str]
    user: dict[str, Any]


KNOWN_ATTACHMENT_BYTES = 512  # a larger one is read from the file each time

_encode_hello = msgspec.msgpack.Encoder().encode
_decode_hello = msgspec.msgpack.Decoder(SocketHello).decode


class WebSocket:
    """One client's connection. It stays the same across eviction, crashes and moves of the object."""

    __slots__ = (
        "_attached",
        "_hello",
        "_known_at",
        "_open",
        "_raw_hello",
        "_table",
        "gateway",
        "id",
        "received",
        "tags",
    )

    def __init__(self, table: SocketTable, socket_id: str, gateway: str, raw_hello: bytes) -> None:
        self._table = table
        self._raw_hello = raw_hello
        self._hello: SocketHello | None = None
        self._open = False
        self._attached: bytes | None = None
        self._known_at = -1  # what is attached is known as long as so many writes have been taken back
        self.id = socket_id
        self.gateway = gateway
        self.tags: list[str] = []
        self.received = 0

    @property
    def _opening(self) -> SocketHello:
        if self._hello is None:
            self._hello = _decode_hello(self._raw_hello)
        return self._hello

    @property
    def url(self) -> str:
        """Path and query of the opening request."""
        return self._opening.url

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the opening request that the gateway passes on, names in lower case."""
        return self._opening.headers

    @property
    def user(self) -> dict[str, Any]:
        """Who the gateway says this is."""
        return self._opening.user

    @property
    def attachment(self) -> Any:
        """A value kept with the socket, also while the object sleeps; None at first. At most 16 KiB encoded.

        After the socket has closed (in `web_socket_close`) it can still be read.
        """
        data = self._read_attachment() if self._open else self._attached
        return None if data is None else codec.decode(data)

    @attachment.setter
    def attachment(self, value: Any) -> None:
        self._check_open("give it an attachment")
        store, data = self._table.store(), check_attachment(codec.encode(value))
        store.metadata.set_attachment(self.id, data)
        self._remember(data, store.transactions.undone)

    def _read_attachment(self) -> bytes | None:
        store = self._table.store()
        if self._known_at == store.transactions.undone:
            return self._attached
        data = store.metadata.get_attachment(self.id)
        self._remember(data, store.transactions.undone)
        return data

    def _remember(self, data: bytes | None, at: int) -> None:
        is_small = data is None or len(data) <= KNOWN_ATTACHMENT_BYTES
        self._attached, self._known_at = (data, at) if is_small else (None, -1)

    def send(self, message: str | bytes, *, volatile: str | None = None) -> None:
        """Send a frame when this event is durable. `volatile` names frames of which a slow client needs the newest only."""
        self._check_open("send to it")
        self._table.effect(
            self.gateway, ("send", [self.id], check_message(message), check_volatile(volatile))
        )

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket when this event is durable."""
        check_close(code, reason)
        self._check_open("close it", connecting=True)
        self._table.effect(self.gateway, ("close", self.id, code, reason))

    def _check_open(self, what: str, *, connecting: bool = False) -> None:
        if self._open or (connecting and self.id not in self._table):
            return
        if self._table.is_connecting(self):
            raise SocketNotAcceptedError(
                f"accept this socket before you {what}: in web_socket_connect, self.ctx.accept_web_socket(ws)"
            )
        raise SocketError(f"this socket is closed: you cannot {what}")

    def __repr__(self) -> str:
        return f"<WebSocket {self.id}>"


class SocketTable:
    """The accepted sockets of one object, as its file has them."""

    def __init__(self, store: Callable[[], Store], effect: Effect, max_sockets: int) -> None:
        self.store = store
        self.effect = effect
        self._max_sockets = max_sockets
        self._sockets: dict[str, WebSocket] = {}
        self._ids: dict[str, list[str]] | None = None  # by gateway; None: to be put together anew
        self._connecting: WebSocket | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    def __contains__(self, socket_id: str) -> bool:
        return socket_id in self._sockets

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(list(self._sockets.values()))

    def load(self, rows: Iterable[SocketRow]) -> None:
        """Take the rows of the file as the truth."""
        self._sockets, self._ids = {}, None
        for row in rows:
            ws = WebSocket(self, row.id, row.gateway, row.hello)
            ws.tags, ws.received = row.tags, row.received
            self._opened(ws)

    def _opened(self, ws: WebSocket) -> None:
        ws._open = True
        self._sockets[ws.id] = ws
        self._ids = None

    def get(self, socket_id: str) -> WebSocket | None:
        """The accepted socket of that id, or None."""
        return self._sockets.get(socket_id)

    def with_tag(self, tag: str | None) -> list[WebSocket]:
        """Accepted sockets, oldest first; those with `tag` only, unless it is None."""
        if tag is None:
            return list(self._sockets.values())
        return [ws for ws in self._sockets.values() if tag in ws.tags]

    def connecting(self, socket_id: str, gateway: str, hello: bytes) -> WebSocket:
        """A socket that asks to be accepted."""
        self._connecting = WebSocket(self, socket_id, gateway, hello)
        return self._connecting

    def is_connecting(self, ws: WebSocket) -> bool:
        """Whether `ws` still waits to be accepted."""
        return self._connecting is ws

    def accept(self, ws: WebSocket, tags: Iterable[str]) -> None:
        """Accept a connecting socket; raises SocketError."""
        if not self.is_connecting(ws):
            raise SocketError("only a socket that is connecting can be accepted, once")
        self._check_no_part("accept a socket")
        if len(self._sockets) >= self._max_sockets:
            raise TooManySocketsError(
                f"this object has all of the {self._max_sockets} sockets it may have: set max_sockets in its class, "
                "or spread them over several objects"
            )
        ws.tags = check_tags(tags)
        self.store().metadata.add_socket(SocketRow(ws.id, ws.gateway, ws.tags, ws._raw_hello, 0))
        self._connecting = None
        self._opened(ws)
        self.effect(ws.gateway, ("accept", ws.id))

    def _check_no_part(self, what: str) -> None:
        """The gateways would do what the file forgets with the part, when that is undone and the event goes on."""
        if self.store().transactions.in_part:
            raise SocketError(f"leave the transaction() block before you {what}")

    def end_connecting(self, ws: WebSocket) -> bool:
        """The connect hook is over; whether it accepted the socket."""
        if self._connecting is ws:
            self._connecting = None
        return ws.id in self._sockets

    def forget(self, ws: WebSocket) -> None:
        """A socket has closed: it is not listed any more."""
        ws._attached = ws._read_attachment()
        ws._open = False
        self._sockets.pop(ws.id, None)
        self._ids = None
        self.store().metadata.remove_socket(ws.id)

    def broadcast(
        self,
        message: str | bytes,
        tag: str | None,
        exclude: WebSocket | str | Iterable[WebSocket | str],
        volatile: str | None,
    ) -> None:
        """Send one frame to many sockets: one operation per gateway."""
        data, volatile = check_message(message), check_volatile(volatile)
        if isinstance(exclude, str | WebSocket):
            exclude = (exclude,)
        left_out = {ws if isinstance(ws, str) else ws.id for ws in exclude}
        if tag is None and self._ids is None:
            self._ids = _by_gateway(self._sockets.values())
        ids = self._ids if tag is None else _by_gateway(self.with_tag(tag))
        for gateway, all_ids in (ids or {}).items():
            sockets = [socket_id for socket_id in all_ids if socket_id not in left_out]
            if sockets:
                self.effect(gateway, ("send", sockets, data, volatile))

    def set_auto_response(self, request: str | None, response: str | None) -> None:
        """Remember the auto-response in the file; gateways learn it with each accepted socket. Raises SocketError."""
        request, response = check_auto_response(request, response)
        self._check_no_part("set an auto-response")
        self.store().metadata.set_auto_response(request, response)
        for gateway in {ws.gateway for ws in self}:
            self.effect(gateway, ("auto", request, response))


def _by_gateway(sockets: Iterable[WebSocket]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for ws in sockets:
        ids.setdefault(ws.gateway, []).append(ws.id)
    return ids


def encode_hello(url: str, headers: dict[str, str], user: dict[str, Any]) -> bytes:
    """An opening request as bytes, for the link and the object's file."""
    return _encode_hello(SocketHello(url, headers, user))
