"""The end of a connection whose client still sends: what comes is thrown away for a moment.

A socket that is closed with unread input resets its connection, and the client loses the answer that is on its way.
"""

from __future__ import annotations

import asyncio

#: Seconds that the client may take to stop sending, and bytes that it may send until then.
LINGER_SECONDS = 2.0
MOST_BYTES = 32 << 20


class _Lingering(asyncio.Protocol):
    """Takes the place of the protocol, which hears only how it ended."""

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._left = MOST_BYTES
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """The client goes on."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._timer.cancel()
        self._protocol.connection_lost(exc)


def linger(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    """Close a connection for writing, when everything written has been sent, and wholly as soon as its client has closed it too."""
    transport.set_protocol(_Lingering(transport, protocol))
    transport.write_eof()
    transport.resume_reading()
