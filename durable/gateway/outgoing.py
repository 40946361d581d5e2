"""Frames on their way to one client: in order, bounded, and never in the way of anybody else.

Invariants:
- `push` never waits. A client that reads costs nothing; one that does not has at most `limit` bytes kept for it, then is closed
  with 1013.
- A volatile frame that waits is replaced by a newer one of its name.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from durable.cluster.taskless import step

from .frames import Outbound, WriteFrame

Send = Callable[[dict[str, Any]], Awaitable[None]]
Waiting = tuple[str | None, Outbound]


class Outgoing:
    """The way to one client.

    Args:
        send: the ASGI connection's.
        limit: bytes that may wait.
        overrun: called when more would have to wait; the connection is to be closed.
        write: writes a frame that is ready for the wire, where the server can.
    """

    __slots__ = ("_bytes", "_dead", "_limit", "_overrun", "_send", "_waiting", "_write", "_writing")

    def __init__(
        self, send: Send, limit: int, overrun: Callable[[], None], write: WriteFrame | None = None
    ) -> None:
        self._send = send
        self._write = write
        self._limit = limit
        self._overrun = overrun
        self._waiting: deque[Waiting] | None = None  # an empty one would cost 760 bytes
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._dead = False

    def push(self, outbound: Outbound, volatile: str | None = None) -> None:
        """Send something now, or as soon as the client has read what came before."""
        if self._dead:
            return
        if self._writing is None:
            self._start(outbound)
            return
        if self._waiting is None:
            self._waiting = deque()
        elif volatile is not None:
            for index, (name, old) in enumerate(self._waiting):
                if name == volatile:
                    self._waiting[index] = (volatile, outbound)
                    self._bytes += outbound.size - old.size
                    return
        self._waiting.append((volatile, outbound))
        self._bytes += outbound.size
        if self._bytes > self._limit:
            self._forget_waiting()
            self._overrun()

    def _start(self, outbound: Outbound) -> None:
        try:
            if self._write is not None and outbound.wire is not None and self._write(outbound.wire):
                return
            work = self._send(outbound.message)
            assert isinstance(work, Coroutine)
            rest = step(work)
        except Exception:  # noqa: BLE001 - the client has gone; its disconnect arrives on the receiving side
            self._give_up()
            return
        if rest is not None:
            self._writing = rest()
            self._writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if task.cancelled() or task.exception() is not None:
            self._give_up()
        while self._waiting and self._writing is None:
            _, outbound = self._waiting.popleft()
            self._bytes -= outbound.size
            self._start(outbound)
        if not self._waiting:
            self._waiting = None

    def _give_up(self) -> None:
        self._dead = True
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        self._waiting = None
        self._bytes = 0

    async def finish(self, message: dict[str, Any], seconds: float) -> None:
        """Send a last message (a close) after what waits, within `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        self.push(Outbound(message))
        while self._writing is not None and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait([self._writing], timeout=left)

    def stop(self) -> None:
        """Send nothing more."""
        self._give_up()
        if self._writing is not None:
            self._writing.cancel()
