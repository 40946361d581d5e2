"""The link between two processes: length-prefixed msgpack over a Unix socket, many requests at once, writes coalesced.

A message is its length as four bytes, big-endian, and then msgpack (see `durable.core.envelope`). Everything sent within one turn
of the loop leaves in one write, and what nobody waits for by turns may wait some milliseconds for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec

from durable.core.envelope import LINK_VERSION, Hello, Message, decode, encode
from durable.core.pacing import BEAT_SECONDS, MOST_BYTES, next_beats
from durable.errors import UnavailableError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 40 * 1024 * 1024  # a value of 32 MiB, with room for what surrounds it
HELLO_SECONDS = 5.0  # a listener that is closed at the wrong moment leaves a connection that nobody serves
FLUSH_AT = 16  # pieces (two a message) after which a write does not wait for the turn's end: the peer can begin meanwhile
MAX_UNSENT_BYTES = 128 * 1024 * 1024  # a peer that reads so slowly is given up


class ForeignLinkError(UnavailableError):
    """A worker runs such different code that it speaks another version of the link.

    Args:
        worker: its id.
        version: what it speaks.
    """

    def __init__(self, worker: str, version: int) -> None:
        super().__init__(
            f"worker {worker} speaks version {version} of the link, this process version {LINK_VERSION}: they run code that "
            "cannot work together; restart the service",
            delivered="no",
        )


class Link(asyncio.Protocol):
    """One connection to a peer.

    Args:
        me: what to say first.
        received: called with the link and each message after the peer's hello.
        opened: called when the peer has said who it is.
        closed: called when the connection has ended.

    Attributes:
        peer: the peer's hello, once it has come.
    """

    def __init__(
        self,
        me: Hello,
        *,
        received: Callable[[Link, Message], None],
        opened: Callable[[Link], None],
        closed: Callable[[Link], None],
    ) -> None:
        self._me = me
        self._received = received
        self._opened = opened
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._unparsed = bytearray()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flush_due = False
        self._held: asyncio.TimerHandle | None = None  # ends the wait of what may wait
        self._written_at = 0.0
        self._beats = 1  # to wait for others, after a write
        self._silence: asyncio.TimerHandle | None = None
        self.peer: Hello | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self.send(self._me)
        self._silence = self._loop.call_later(HELLO_SECONDS, self._give_up_silent)

    def _give_up_silent(self) -> None:
        if self.peer is None and self._transport is not None:
            log.warning("a peer that did not say hello within %g s is given up", HELLO_SECONDS)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand over every whole message."""
        unparsed = self._unparsed
        unparsed += data
        position, end = 0, len(unparsed)
        try:
            while end - position >= 4:
                size = int.from_bytes(unparsed[position : position + 4], "big")
                if size > MAX_MESSAGE_BYTES:
                    raise ValueError(f"a message of {size} bytes is too long")
                if end - position - 4 < size:
                    break
                message = decode(unparsed[position + 4 : position + 4 + size])
                position += 4 + size
                self._hand_over(message)
        except (ValueError, msgspec.MsgspecError) as error:
            log.error("the link to %s broke: %s", self.peer.peer if self.peer else "a peer", error)
            self.close()
            return
        if position:
            del unparsed[:position]

    def _hand_over(self, message: Message) -> None:
        if self.peer is not None:
            self._received(self, message)
        elif isinstance(message, Hello) and message.version == LINK_VERSION:
            self.peer = message
            if self._silence is not None:
                self._silence.cancel()
            self._opened(self)
        else:
            raise ValueError(f"the peer speaks another version of the link: {message!r:.80}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who uses the link, once."""
        self._transport = None
        self._unsent.clear()
        if self._held is not None:
            self._held.cancel()
            self._held = None
        if self._silence is not None:
            self._silence.cancel()
        self._closed(self)

    # -- our side

    def send(self, message: Any) -> None:
        """Send a message with this turn of the loop; dropped silently when the link has ended (its end is reported)."""
        self._put(message)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        elif len(self._unsent) >= FLUSH_AT:
            self._write()

    def send_soon(self, message: Any) -> None:
        """The same, but one of many messages that come in quick succession may wait for those after it, to leave together."""
        if self._held is None:
            wait = self._written_at + self._beats * BEAT_SECONDS - self._loop.time()
            if self._flush_due or wait <= 0:
                self._beats = 1
                self.send(message)
                return
            self._held = self._loop.call_later(wait, self._flush_held)
        self._put(message)
        if self._unsent_bytes > MOST_BYTES:
            self._write()

    def _put(self, message: Any) -> None:
        data = encode(message)
        self._unsent.append(len(data).to_bytes(4, "big"))
        self._unsent.append(data)
        self._unsent_bytes += len(data)

    def _flush_held(self) -> None:
        self._beats = next_beats(self._beats, together=len(self._unsent) > 2)
        self._write()

    def _flush(self) -> None:
        self._flush_due = False
        if self._unsent:
            self._write()

    def _write(self) -> None:
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        self._written_at = self._loop.time()
        if self._held is not None:
            self._held.cancel()
            self._held = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(b"".join(unsent))
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            log.error(
                "the link to %s is given up: it does not read", self.peer.peer if self.peer else "a peer"
            )
            transport.abort()

    def close(self) -> None:
        """End the connection after what was sent has left."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once; what has come and was not handed over yet never is."""
        if self._transport is not None:
            self._transport.abort()


async def connect(path: str, make: Callable[[], Link]) -> Link:
    """Connect to the link socket at `path`; raises OSError."""
    _, link = await asyncio.get_running_loop().create_unix_connection(make, path)
    return link


async def listen(path: str, make: Callable[[], Link]) -> asyncio.Server:
    """Accept links on a Unix socket at `path`."""
    return await asyncio.get_running_loop().create_unix_server(make, path, backlog=512)
