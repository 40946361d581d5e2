"""Outputs of one object, held until what they could have seen is durable, and released in order.

Invariants:
- An output leaves only when the commit it depends on is durable, and every output before it has left.
- Nothing leaves while the worker's lease window is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

Emit = Callable[[BaseException | None], None]


class Outbox:
    """The outputs of one activation.

    Args:
        may_release: whether the lease window is open now.
        relaxed: outputs leave at once after their commit.
    """

    def __init__(self, may_release: Callable[[], bool], *, relaxed: bool) -> None:
        self._items: deque[tuple[int, asyncio.Future[Any] | None, Emit]] = deque()
        self._may_release = may_release
        self._relaxed = relaxed
        self._durable = 0
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, seq: int, emit: Emit, barrier: asyncio.Future[Any] | None = None) -> None:
        """Call `emit(None)` when commit `seq` is durable and `barrier`, if any, is done; `emit(error)` if that fails."""
        if self._failure is not None:
            emit(self._failure)
            return
        if barrier is not None and barrier.done():
            barrier = None
        if barrier is None and self.lets_pass(seq):
            emit(None)
            return
        self._items.append((seq, barrier, emit))
        if barrier is not None:
            barrier.add_done_callback(lambda _: self.release())

    def lets_pass(self, seq: int) -> bool:
        """Whether what depends on commit `seq` would leave at once."""
        return not self._items and (self._relaxed or seq <= self._durable) and self._may_release()

    def durable(self, seq: int) -> None:
        """Everything up to commit `seq` is on disk."""
        self._durable = seq
        self.release()

    def release(self) -> None:
        """Let go of what may leave now."""
        items = self._items
        while items:
            seq, barrier, emit = items[0]
            if not (self._relaxed or seq <= self._durable) or (barrier is not None and not barrier.done()):
                return
            if not self._may_release():
                return
            items.popleft()
            emit(None)

    def fail(self, error: BaseException) -> None:
        """Nothing that waits will ever leave."""
        self._failure = error
        while self._items:
            self._items.popleft()[2](error)
