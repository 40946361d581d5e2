"""The sockets that this gateway holds, and what their objects want done with them.

Sockets outlive objects: when an owner dies, its sockets stay here; frames that have no answer yet are sent to the next owner
by the router, in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from durable.cluster.channel import Channel, has_heard
from durable.cluster.clocks import wall_clock
from durable.cluster.router import Router
from durable.core.envelope import Effects, Reply, SocketClose, SocketFrame, SocketOpen
from durable.errors import DurableError, error_from_wire
from durable.identity import ObjectId

from .frames import Outbound, frame
from .latch import Latch
from .outgoing import Outgoing

log = logging.getLogger(__name__)

MAX_UNANSWERED = 256  # frames of one socket on their way to the object; beyond, the client is not read
ATTACH_AT_ONCE = 50  # objects that are woken to hear which of their sockets are here
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds until an object is told again of a socket's end
TRY_AGAIN, INTERNAL = 1013, 1011


class HubSocket:
    """One client's socket, from its opening to its end.

    Attributes:
        opened: resolved when the object has accepted or refused; the close code and reason if refused, else None.
        closing: the object (or the gateway) wants it closed: (code, reason).
        answered_at: when this gateway last answered in the object's place (ms since the epoch), if it has.
        listed: whether the object lists it, or has done so; None: it has not said.
        answered: the object has said what becomes of it, or cannot.
        end: what the object is to be told of its end, when it has ended.
    """

    __slots__ = (
        "_wanted_close",
        "accepted",
        "answered",
        "answered_at",
        "channel",
        "closing",
        "end",
        "frames",
        "id",
        "listed",
        "opened",
        "outgoing",
        "room",
        "unanswered",
    )

    def __init__(
        self, socket_id: str, channel: Channel, outgoing: Outgoing, wanted_close: Callable[[], None]
    ) -> None:
        self.id = socket_id
        self.channel = channel
        self.outgoing = outgoing
        self.opened: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()
        self.accepted = False
        self.listed: bool | None = None
        self.answered = False
        self.end: SocketClose | None = None
        self.closing: tuple[int, str] | None = None
        self.answered_at: int | None = None
        self.frames = 0
        self.unanswered = 0
        self.room = Latch()
        self._wanted_close = wanted_close

    def close(self, code: int, reason: str) -> None:
        """Have the socket closed, after what waits to be sent."""
        if self.closing is None:
            self.closing = (code, reason)
            if not self.opened.done():
                self.opened.set_result(self.closing)
            self._wanted_close()


class ObjectSockets:
    """The sockets of one object that are held here."""

    __slots__ = ("auto", "channel", "sockets")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sockets: dict[str, HubSocket] = {}
        self.auto: tuple[str, str] | None = None

    def ids(self) -> list[str]:
        """Their ids: also those that still open or whose closing the object has not heard of."""
        return list(self.sockets)


class Hub:
    """All sockets of one gateway.

    Args:
        gateway: this gateway's id; the first part of each socket's.
        now: ms since the epoch.

    Attributes:
        router: the way to the objects; set by who makes both.
        emptied: set while no socket is held.
        holding_changed: told when the first socket of an object comes, and when the last has gone.
    """

    def __init__(self, gateway: str, now: Callable[[], int] = wall_clock) -> None:
        self.gateway = gateway
        self._now = now
        self.router: Router
        self.holding_changed: Callable[[str, bool], None] = lambda _reference, _held: None
        self._objects: dict[str, ObjectSockets] = {}
        self._opened = 0
        self.emptied = asyncio.Event()
        self.emptied.set()

    def __len__(self) -> int:
        return sum(len(held.sockets) for held in self._objects.values())

    def open(
        self, object_id: ObjectId, hello: bytes, outgoing: Outgoing, wanted_close: Callable[[], None]
    ) -> HubSocket:
        """Ask the object whether it wants a new socket."""
        channel = self.router.channel(object_id)
        held = self._objects.get(str(object_id))
        if held is None:
            held = self._objects[str(object_id)] = ObjectSockets(channel)
            channel.sockets = held.ids
            self.holding_changed(f"{object_id.class_key}:{object_id}", True)
        self._opened += 1
        self.emptied.clear()
        socket = HubSocket(f"{self.gateway[:16]}-{self._opened}", channel, outgoing, wanted_close)
        held.sockets[socket.id] = socket

        def answered(outcome: Reply | DurableError) -> None:
            error = _error(outcome)
            is_undone = error is not None and error.delivered == "no" and not request.repeat
            if socket.listed is None and (error is None or is_undone):
                socket.listed = False
            if error is not None:
                retry = error.retryable
                socket.close(
                    TRY_AGAIN if retry else INTERNAL, "try again" if retry else "this object cannot be opened"
                )
            socket.answered = True
            if socket.end is not None:
                self._tell(socket, socket.end, FIRST_PAUSE)

        request = SocketOpen(0, channel.target, socket.id, hello)
        self.router.post(channel, request, answered)
        return socket

    def frame(self, socket: HubSocket, data: str | bytes) -> None:
        """Pass a client's frame on to the object."""
        socket.frames += 1
        socket.unanswered += 1
        if socket.unanswered >= MAX_UNANSWERED:
            socket.room.clear()

        def answered(outcome: Reply | DurableError) -> None:
            socket.unanswered -= 1
            socket.room.set()
            error = _error(outcome)
            if error is not None and error.retryable and error.delivered == "no":
                socket.close(
                    TRY_AGAIN, "try again"
                )  # the frame is lost: the client has to come back and say what it missed

        self.router.post(
            socket.channel, SocketFrame(0, socket.channel.target, socket.id, socket.frames, data), answered
        )

    def auto_response(self, socket: HubSocket, data: str | bytes) -> str | None:
        """What the object has this gateway answer to `data` in its place, or None."""
        held = self._objects.get(socket.channel.target.id)
        if held is None or held.auto is None or data != held.auto[0]:
            return None
        socket.answered_at = self._now()
        return held.auto[1]

    def last_auto_response(self, object_id: str, socket_id: str) -> int | None:
        """When this gateway last answered on a socket in the object's place; None for never."""
        held = self._objects.get(object_id)
        socket = None if held is None else held.sockets.get(socket_id)
        return None if socket is None else socket.answered_at

    def closed(self, socket: HubSocket, code: int, reason: str, *, clean: bool) -> None:
        """The client's connection has ended: tell the object, once it has said whether it lists the socket."""
        socket.outgoing.stop()
        socket.end = SocketClose(0, socket.channel.target, socket.id, code, reason, clean)
        if socket.answered:
            self._tell(socket, socket.end, FIRST_PAUSE)

    def _tell(self, socket: HubSocket, close: SocketClose, pause: float) -> None:
        """Tell the object of a socket's end, if it may list it, again and again until it has heard."""
        if socket.listed is False:
            self._forget(socket)
            return

        def answered(outcome: Reply | DurableError) -> None:
            if has_heard(outcome):
                self._forget(socket)
            else:
                loop, longer = asyncio.get_running_loop(), min(2 * pause, LONGEST_PAUSE)
                loop.call_later(pause, self._tell, socket, close, longer)

        self.router.post(socket.channel, close, answered)

    def holds(self, socket: HubSocket) -> bool:
        """Whether the socket is here, or its object has not yet handled its end."""
        held = self._objects.get(socket.channel.target.id)
        return held is not None and socket.id in held.sockets

    def _forget(self, socket: HubSocket) -> None:
        held = self._objects.get(socket.channel.target.id)
        if held is None:
            return
        held.sockets.pop(socket.id, None)
        if not held.sockets:
            del self._objects[socket.channel.target.id]
            socket.channel.sockets = None
            self.holding_changed(f"{held.channel.target.key}:{held.channel.target.id}", False)
            if not self._objects:
                self.emptied.set()

    def close_all(self, code: int, reason: str) -> None:
        """Close every socket."""
        for held in list(self._objects.values()):
            for socket in list(held.sockets.values()):
                socket.close(code, reason)

    async def attach_all(self) -> None:
        """Say anew which sockets are here, to Redis and to every object: they may have taken this gateway for dead."""
        objects = list(self._objects.values())
        for held in objects:
            self.holding_changed(f"{held.channel.target.key}:{held.channel.target.id}", True)
        for position in range(0, len(objects), ATTACH_AT_ONCE):
            batch = [held.channel.target for held in objects[position : position + ATTACH_AT_ONCE]]
            await asyncio.gather(
                *(
                    self.router.wake(ObjectId(target.key, target.id, target.name))
                    for target in batch
                    if target.id in self._objects
                )
            )

    # -- what objects want done

    def apply(self, effects: Effects) -> None:
        """Carry out an object's operations, in order. One socket's trouble is nobody else's."""
        held = self._objects.get(effects.target.id)
        if held is None:
            return
        for operation in effects.operations:
            try:
                self._apply(held, operation)
            except Exception:
                log.exception("an operation of %s could not be carried out: %r", effects.target, operation[0])

    def _apply(self, held: ObjectSockets, operation: tuple[Any, ...]) -> None:
        match operation:
            case ("send", sockets, data, volatile):
                outbound = frame(data)
                known = held.sockets
                for socket_id in sockets:
                    socket = known.get(socket_id)
                    if socket is not None and socket.accepted and socket.closing is None:
                        socket.outgoing.push(outbound, volatile)
            case ("accept", socket_id):
                socket = held.sockets.get(socket_id)
                if socket is None:
                    return
                socket.listed = True
                if not socket.accepted and socket.closing is None:
                    socket.accepted = True
                    socket.outgoing.push(Outbound({"type": "websocket.accept"}))
                    if not socket.opened.done():
                        socket.opened.set_result(None)
            case ("close", socket_id, code, reason):
                socket = held.sockets.get(socket_id)
                if socket is not None:
                    socket.close(code, reason)
            case ("unknown", sockets):
                for socket_id in sockets:
                    socket = held.sockets.get(socket_id)
                    if socket is not None and socket.accepted:  # else its opening has yet to reach the object
                        socket.close(1012, "connect again")
            case ("auto", request, response):
                held.auto = None if request is None else (request, response or "")
            case ("asleep",):
                held.channel.asleep = True
            case _:
                log.error("unknown operation %r", operation)


def _error(outcome: Reply | DurableError) -> DurableError | None:
    if isinstance(outcome, DurableError):
        return outcome
    return error_from_wire(outcome.error) if outcome.error is not None else None
