"""An answer's head and body leave in one write: a second one costs the server a system call, and wakes the client twice.

Uvicorn writes the head when the application begins its answer, and the body when that comes, which is mostly at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class JoinedWrites:
    """The part of a transport's interface through which uvicorn answers one request.

    Args:
        transport: of the connection.
        close: how it is closed.

    The first write waits for the second, or for the end of the loop's turn if none comes: a body that takes its time does not
    hold up its head.
    """

    __slots__ = ("_begun", "_close", "_flush_due", "_held", "_transport")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self._begun = False
        self._held: bytes | None = None
        self._flush_due: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Send, soon."""
        if self._begun:
            self._transport.write(self._taken() + data)
        else:
            self._begun = True
            self._held = data
            self._flush_due = asyncio.get_running_loop().call_soon(self._flush)

    def write_at_once(self, data: bytes) -> None:
        """Send what waits, and this."""
        self._transport.write(self._taken() + data)

    def close(self) -> None:
        """Close the connection when everything written has been sent."""
        self._flush()
        self._close()

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        data = self._taken()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _taken(self) -> bytes:
        """What waits to be written, if anything does; it no longer waits."""
        data, self._held = self._held, None
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        return data or b""
