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

from .eager import step

Send = Callable[[dict[str, Any]], Awaitable[None]]
Frame = tuple[str | None, dict[str, Any], int]


class Outgoing:
    """The way to one client.

    Args:
        send: the ASGI connection's.
        limit: bytes that may wait.
        overrun: called when more would have to wait; the connection is to be closed.
    """

    __slots__ = ("_bytes", "_dead", "_limit", "_overrun", "_send", "_waiting", "_writing")

    def __init__(self, send: Send, limit: int, overrun: Callable[[], None]) -> None:
        self._send = send
        self._limit = limit
        self._overrun = overrun
        self._waiting: deque[Frame] | None = None  # an empty one would cost 760 bytes
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._dead = False

    def push(self, message: dict[str, Any], size: int, volatile: str | None = None) -> None:
        """Send an ASGI message now, or as soon as the client has read what came before."""
        if self._dead:
            return
        if self._writing is None:
            self._start(message)
            return
        if self._waiting is None:
            self._waiting = deque()
        elif volatile is not None:
            for index, (name, _, old) in enumerate(self._waiting):
                if name == volatile:
                    self._waiting[index] = (volatile, message, size)
                    self._bytes += size - old
                    return
        self._waiting.append((volatile, message, size))
        self._bytes += size
        if self._bytes > self._limit:
            self._forget_waiting()
            self._overrun()

    def _start(self, message: dict[str, Any]) -> None:
        work = self._send(message)
        assert isinstance(work, Coroutine)
        try:
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
            _, message, size = self._waiting.popleft()
            self._bytes -= size
            self._start(message)
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
        self.push(message, 0)
        while self._writing is not None and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait([self._writing], timeout=left)

    def stop(self) -> None:
        """Send nothing more."""
        self._give_up()
        if self._writing is not None:
            self._writing.cancel()
