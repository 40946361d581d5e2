"""`self.ctx`: everything an object may ask of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from durable.errors import ObjectResetError
from durable.identity import ObjectId

from .sockets import WebSocket

if TYPE_CHECKING:
    from .activation import Activation


class AlarmInfo(NamedTuple):
    """Why `alarm` runs: when it was due (ms since the epoch), and how often it has failed before."""

    scheduled_time: int
    retry_count: int


class AbortError(ObjectResetError):
    """The object has asked to be discarded."""


class Context:
    """What one incarnation of an object is given.

    Attributes:
        storage: its private storage.
    """

    __slots__ = ("_activation", "storage")

    def __init__(self, activation: Activation) -> None:
        self._activation = activation
        self.storage = activation.storage()

    @property
    def id(self) -> ObjectId:
        """The object's identity, with its name as soon as somebody has called it so."""
        return self._activation.object_id

    def now(self) -> int:
        """Milliseconds since the epoch, by the runtime's clock (which tests can move)."""
        return self._activation.now()

    def accept_web_socket(self, ws: WebSocket, tags: Iterable[str] = ()) -> None:
        """Accept a connecting socket, with at most 10 tags. Raises SocketError."""
        self._activation.sockets.accept(ws, tags)

    def get_web_sockets(self, tag: str | None = None) -> list[WebSocket]:
        """The accepted sockets, oldest first; with `tag`, those that carry it."""
        return self._activation.sockets.with_tag(tag)

    def broadcast(
        self,
        message: str | bytes,
        tag: str | None = None,
        exclude: WebSocket | str | Iterable[WebSocket | str] = (),
        *,
        volatile: str | None = None,
    ) -> None:
        """Send a frame to all accepted sockets (with `tag`, if given) but `exclude` (sockets or their ids), when this event is durable.

        `volatile` names a series of frames of which a slow client needs the newest only.
        """
        self._activation.sockets.broadcast(message, tag, exclude, volatile)

    def set_web_socket_auto_response(self, request: str | None, response: str | None = None) -> None:
        """Let gateways answer the exact text `request` with `response` without waking the object; None ends it."""
        self._activation.sockets.set_auto_response(request, response)

    async def get_web_socket_auto_response_timestamp(self, ws: WebSocket) -> int | None:
        """When the gateway last answered on this socket in the object's place: ms since the epoch, None for never.

        The gateway that holds the socket is asked, so an alarm can find clients that have fallen silent. Raises
        UnavailableError when that gateway is gone or does not answer.
        """
        return await self._activation.last_auto_response(ws)

    def abort(self, reason: str = "aborted by its own code") -> NoReturn:
        """Discard this incarnation: the event leaves no trace, its caller gets ObjectResetError, the next starts anew."""
        raise AbortError(reason, delivered="no")

    async def flush(self) -> None:
        """Commit what this event has written and release what it holds, wait until that is durable, then go on."""
        await self._activation.flush()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """From a `@concurrent` method: run `function(*args)` as an event of its own, with storage; its result."""
        return await self._activation.beside.run_as_event(function, args)
