"""A client's WebSocket connection: uvicorn's, made light while it is idle, and impatient with clients that do not read, or send too much.

Messages are counted by who gets them (`durable.gateway.incoming`). Control frames, and fragments of a message, get to nobody, so they
are counted here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

from durable.core.pacing import BEAT_SECONDS, MOST_BYTES, next_beats
from durable.gateway.frames import EXTENSION, FrameExtension, TakeFrame
from durable.gateway.incoming import TOO_FAST
from durable.gateway.latch import Latch

from .pacing import Pacer

#: Seconds that what is left for a client may take to leave after its connection was closed.
LINGER_SECONDS = 5.0


#: Fragments of one message, at most.
MOST_FRAGMENTS = 1024
#: Control frames and short fragments at once, and such a second.
SMALL_FRAMES = (200, 100.0)
_SHORT = 1024  # bytes: of longer fragments the limit of a message lets few come
_AT_ONCE = 4096  # bytes that are parsed before what they were is looked at
_PARSED_ALREADY = b"GET / HTTP/1.1\r\n\r\n"  # what `websockets` has to see before it takes frames


class Inbox:
    """What has arrived on one connection and is still to be taken, by one reader.

    `asyncio.Queue` with the part of its interface that uvicorn uses, without the 3 KiB that it takes when it is empty.
    """

    __slots__ = ("_events", "_reader")

    def __init__(self) -> None:
        self._events: deque[Any] | None = None
        self._reader: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._events

    def put_nowait(self, event: Any) -> None:
        """Add an event."""
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        """Take the oldest event; waits for one."""
        while not self._events:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event = self._events.popleft()
        if not self._events:
            self._events = None
        return event


class ClientConnection(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket connection, which costs little while it is idle, tells a lost one from a closed one, and which no client can keep open.

    Closing a transport waits until its buffer has been sent: for a client that never reads, or has vanished, that is until the
    kernel gives up. So some seconds later it is cut off.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        light: Any = self  # these stand in for a Queue and an Event
        light.queue = Inbox()
        light.writable = Latch()
        self._pacer = Pacer.of(self.loop)
        self._take: TakeFrame | None = None
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._written_at = 0.0
        self._beats = 1  # to wait for others, after a write
        self._small_left = self._small_at = 0.0
        self._late_pong = b""

    def take_over(self, transport: asyncio.Transport, request: Request) -> None:
        """A connection whose client has asked for a WebSocket.

        The request has been parsed. `websockets` would parse it once more, by limits that cookies may exceed.
        """
        self.connection_made(transport)
        self.conn.receive_data(_PARSED_ALREADY)
        self.conn.events_received()
        self.handle_connect(request)

    def data_received(self, data: bytes) -> None:
        """Something has come. A read may have ten thousand frames, so it is dealt with in parts."""
        for start in range(0, len(data), _AT_ONCE):
            if self.conn.eof_sent:  # it is closed, and read only so that the client hears of that
                return
            super().data_received(data[start : start + _AT_ONCE])

    def handle_connect(self, event: Request) -> None:
        """A client asks for a WebSocket: the application may write frames that are ready for the wire, and be handed what arrives."""
        super().handle_connect(event)
        if not self.close_sent and not self.conn.extensions:  # one that compresses makes each frame by itself
            extensions: dict[Any, Any] = self.scope["extensions"] or {}
            extensions[EXTENSION] = FrameExtension(write=self.write_frame, read=self.read_frames)

    def read_frames(self, take: TakeFrame) -> None:
        """Hand over each message that arrives, unless some wait to be received."""
        self._take = take if self.queue.empty() else None

    def send_receive_event_to_app(self) -> None:
        """A message has arrived."""
        if self._take is not None and not self.close_sent:
            data = b"".join(self.frames)
            try:
                taken = self._take(data.decode() if self.curr_msg_data_type == "text" else data)
            except UnicodeDecodeError:
                taken = False  # uvicorn sees to it
            if taken:
                self.frames = []
                return
            self._take = None
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        """Another fragment of a message."""
        if len(self.frames) >= MOST_FRAGMENTS:
            self._refuse(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {MOST_FRAGMENTS} fragments")
        elif len(event.data) >= _SHORT or self._may_send_small():
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """The client wants an answer. While it does not read, only the last of several gets one (RFC 6455, 5.5.3)."""
        pong = b"".join(self.conn.data_to_send())
        if not self._may_send_small() or not pong:
            return
        if self.writable.is_set() or self.conn.eof_sent:  # that has its answer with it
            self.transport.write(pong)
        else:
            self._late_pong = pong

    def handle_pong(self, event: Frame) -> None:
        """The client has answered, or says that it is there."""
        if self._may_send_small():
            super().handle_pong(event)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        pong, self._late_pong = self._late_pong, b""
        if pong and self.conn.state is State.OPEN and not self.transport.is_closing():
            self.transport.write(pong)

    def _may_send_small(self) -> bool:
        """Count a frame that no application counts. False when that was too many."""
        now, (at_once, a_second) = self.loop.time(), SMALL_FRAMES
        self._small_left = min(at_once, self._small_left + (now - self._small_at) * a_second) - 1
        self._small_at = now
        if self._small_left < 0:
            self._refuse(TOO_FAST, "too many control frames or fragments")
        return self._small_left >= 0

    def _refuse(self, code: int, reason: str) -> None:
        if self.close_sent:
            if not self.conn.eof_sent:  # closed by the application; it does not have to wait for this client
                self.transport.close()
        else:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Close the connection of a client that sends what may not be sent.

        It is read for a moment longer: closing it with unread input would reset it, and the client would not hear why.
        """
        if self.close_sent or self.conn.close_sent is None:  # closed by the application, or not open yet
            self.transport.close()
            return
        self.flush()
        self.frames = []
        self._take = None
        close = self.conn.close_sent
        if not self.conn.eof_sent:
            self.conn.fail(close.code)  # parses nothing more
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_sent = True
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        self.read_paused = False
        self.transport.resume_reading()

    def write_frame(self, wire: bytes) -> bool:
        """Send a whole frame. False when the client does not read, or the connection is not, or no longer, open."""
        if self._held is not None:  # it was open when that began; if it has ended since, flushing drops them
            self._held.append(wire)
            self._held_bytes += len(wire)
            if self._held_bytes > MOST_BYTES:
                self.flush()
            return True
        if self.conn.state is not State.OPEN or not self.writable.is_set() or self.transport.is_closing():
            return False
        waits = self.loop.time() - self._written_at < self._beats * BEAT_SECONDS
        self._held, self._held_bytes = [wire], len(wire)
        self._beats = self._beats if waits else 0
        self._pacer.hold(self, self._beats)
        return True

    def flush(self) -> None:
        """Write the frames that are held back."""
        held, self._held = self._held, None
        if held is not None and not self.transport.is_closing():
            self._written_at = self.loop.time()
            self._beats = next_beats(self._beats, together=len(held) > 1)
            self.transport.write(b"".join(held))

    async def send(self, message: Any) -> None:
        """Send an ASGI message, after the frames that are held back."""
        self.flush()
        await super().send(message)

    def handle_close(self, event: Frame) -> None:
        """The client closes."""
        self.flush()
        super().handle_close(event)

    def start_keepalive(self) -> None:
        """The handshake is over, and with it the use of what it said."""
        super().start_keepalive()
        del self.request, self.response

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended: with 1006 when no closing frame has come (RFC 6455, 7.1.5), not with uvicorn's 1005."""
        if self.conn.close_rcvd is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The gateway stops: close with 1012, once; what has been closed may still wait for its client to read."""
        if not self.transport.is_closing():
            self.flush()
            super().shutdown()
            self._cut_off_later()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application has ended, and with it the connection."""
        super().on_task_complete(task)
        (self.scope["extensions"] or {}).pop(EXTENSION, None)  # or the two would keep each other
        self._take = None
        self._cut_off_later()

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping."""
        super().keepalive_timeout()
        self._cut_off_later()

    def _cut_off_later(self) -> None:
        if not self.disconnected:
            self.loop.call_later(LINGER_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        if not self.disconnected:
            self.transport.abort()
