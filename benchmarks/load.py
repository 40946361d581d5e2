"""A small closed-loop HTTP load generator: N connections, each sending its next request when it has the last answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvloop


@dataclass
class Result:
    """What a run saw: requests by status, latencies in seconds, and how long it took."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    broken: int = 0  # connections that ended without an answer
    busy: float = 0.0  # share of one processor that the generator itself used
    cost: float = 0.0  # processor time of the servers, in seconds, where somebody reads it

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Latency in ms that `share` of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


Request = Callable[[], bytes | None]
"""The bytes of the next request, or None when there are no more."""
Answer = Callable[[int, bytes], None]
"""Told of an answer's status and body."""


class HttpConnection(asyncio.Protocol):
    """One connection in a closed loop; parses just enough of HTTP/1.1 with Content-Length."""

    def __init__(
        self,
        request: Request,
        result: Result,
        until: float,
        done: asyncio.Future[None],
        on_answer: Answer | None = None,
    ) -> None:
        self._request = request
        self._result = result
        self._until = until
        self._done = done
        self._on_answer = on_answer
        self._unparsed = b""
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        now = time.perf_counter()
        request = self._request() if now < self._until else None
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._sent = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._unparsed + data
        found = self.parse(data)
        if found is None:
            self._unparsed = data
            return
        status, body, size = found
        self._unparsed = data[size:]
        self._result.statuses[status] += 1
        self._result.latencies.append(time.perf_counter() - self._sent)
        if self._on_answer is not None:
            self._on_answer(status, body)
        self._next()

    def parse(self, data: bytes) -> tuple[int, bytes, int] | None:
        """The status and the body of the answer that `data` begins with, and its whole size; None while it is not all there."""
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = data[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        size = head_end + 4 + length
        return (int(data[9:12]), data[head_end + 4 : size], size) if len(data) >= size else None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._result.broken += 1
            self._done.set_result(None)


def request_bytes(method: str, path: str, host: str, body: bytes = b"") -> bytes:
    """One HTTP/1.1 request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def run(
    host: str,
    port: int,
    connections: int,
    seconds: float,
    request: Request,
    on_answer: Answer | None = None,
    protocol: type[HttpConnection] = HttpConnection,
) -> Result:
    """Load `host:port` for `seconds`, or until there are no more requests."""
    loop = asyncio.get_running_loop()
    result = Result()
    started, busy = time.perf_counter(), time.process_time()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(
            lambda done=done: protocol(request, result, started + seconds, done, on_answer),  # type: ignore[misc]
            host,
            port,
        )
    _, unanswered = await asyncio.wait(waiting, timeout=seconds + 60)
    result.broken += len(unanswered)
    result.seconds = time.perf_counter() - started
    result.busy = (time.process_time() - busy) / result.seconds
    return result


def run_blocking(*arguments: Any, **named: Any) -> Result:
    """`run` on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(*arguments, **named))
