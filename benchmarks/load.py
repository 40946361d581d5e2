"""A small closed-loop HTTP load generator: N connections, each sending its next request when it has the last answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop


@dataclass
class Result:
    """What a run saw: requests by status, latencies in seconds, and how long it took."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    broken: int = 0  # connections that ended without an answer

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


class _Connection(asyncio.Protocol):
    """One connection in a closed loop; parses just enough of HTTP/1.1 with Content-Length."""

    def __init__(
        self, request: Callable[[], bytes], result: Result, until: float, done: asyncio.Future[None]
    ) -> None:
        self._request = request
        self._result = result
        self._until = until
        self._done = done
        self._unparsed = b""
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        now = time.perf_counter()
        if now >= self._until:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._sent = now
        self._transport.write(self._request())

    def data_received(self, data: bytes) -> None:
        data = self._unparsed + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._unparsed = data
            return
        head = data[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(data) < head_end + 4 + length:
            self._unparsed = data
            return
        self._unparsed = data[head_end + 4 + length :]
        self._result.statuses[int(data[9:12])] += 1
        self._result.latencies.append(time.perf_counter() - self._sent)
        self._next()

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


async def run(host: str, port: int, connections: int, seconds: float, request: Callable[[], bytes]) -> Result:
    """Load `host:port` for `seconds`; `request` gives the bytes of each request."""
    loop = asyncio.get_running_loop()
    result = Result()
    started = time.perf_counter()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(request, result, started + seconds, done),  # type: ignore[misc]
            host,
            port,
        )
    await asyncio.wait(waiting, timeout=seconds + 60)
    result.seconds = time.perf_counter() - started
    return result


def run_blocking(
    host: str, port: int, connections: int, seconds: float, request: Callable[[], bytes]
) -> Result:
    """`run` on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(host, port, connections, seconds, request))
