"""How many durable increments, reads and limiter checks a second the running service answers over HTTP.

Each run checks itself: what was acknowledged must be what is stored, and every request must have been answered.
"""

from __future__ import annotations

import json
import random
import secrets
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .load import Answer, HttpConnection, Request, Result, request_bytes, run_blocking

MANY = 1000
RELAYS = 100
STRANGERS = 100_000
KEYS = 10_000
CHECKING = 16  # connections that ask what is stored
OPEN, SHUT = "bench-open", "bench-shut"
"""Policies: one that admits whatever is asked in these runs, and one that admits a key once an hour."""


@dataclass
class Measured:
    """One workload's figures, and whether the run was right."""

    name: str
    connections: int
    result: Result
    right: bool

    def as_json(self) -> dict[str, Any]:
        """The figures as they are kept."""
        result = self.result
        return {
            "workload": self.name,
            "connections": self.connections,
            "per_second": round(result.per_second, 1),
            "p50_ms": round(result.percentile(0.5), 3),
            "p99_ms": round(result.percentile(0.99), 3),
            "answered": result.answered,
            "generator": round(result.busy, 3),
            "statuses": dict(result.statuses),
            "right": self.right,
        }


class Service:
    """The service under load.

    Args:
        url: where it is.
        seconds: of each closed loop.
        meter: reads the processor time that the servers have used, in seconds.
    """

    protocol = HttpConnection

    def __init__(self, url: str, seconds: float, meter: Callable[[], float] = float) -> None:
        self._meter = meter
        parts = urllib.parse.urlsplit(url)
        self.url = url.rstrip("/")
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.seconds = seconds

    def value(self, counter: str) -> int:
        """A counter's stored value."""
        with urllib.request.urlopen(f"{self.url}/api/v1/counters/{counter}", timeout=30) as answer:
            return int(json.load(answer)["value"])

    def total(self, counters: Iterable[str]) -> int:
        """What is stored in all of these. Raises OSError if one did not answer."""
        requests = iter([self.request("GET", f"/api/v1/counters/{name}") for name in counters])
        values: list[int] = []

        def note(status: int, body: bytes) -> None:
            if status == 200:
                values.append(self.stored(body))

        result = self.load(CHECKING, lambda: next(requests, None), note, seconds=60)
        if result.broken or len(values) != result.answered or next(requests, None) is not None:
            raise OSError(f"{self.url} did not say what is stored: {dict(result.statuses)}")
        return sum(values)

    def stored(self, body: bytes) -> int:
        """The value in the answer to a read."""
        return int(json.loads(body)["value"])

    def load(
        self,
        connections: int,
        request: Request,
        on_answer: Answer | None = None,
        seconds: float | None = None,
    ) -> Result:
        """Run one closed loop."""
        seconds = self.seconds if seconds is None else seconds
        before = self._meter()
        result = run_blocking(self.host, self.port, connections, seconds, request, on_answer, self.protocol)
        result.cost = self._meter() - before
        return result

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """One request's bytes."""
        return request_bytes(method, path, f"{self.host}:{self.port}", body)


def hot_counter(service: Service, connections: int) -> Measured:
    """All connections increment one counter."""
    request = service.request("POST", "/api/v1/counters/bench-hot/increment")
    before = service.value("bench-hot")
    result = service.load(connections, lambda: request)
    stored = service.value("bench-hot") - before
    right = result.broken == 0 and set(result.statuses) == {200} and stored == result.statuses[200]
    return Measured("hot counter, increment", connections, result, right)


def many_counters(service: Service, connections: int) -> Measured:
    """Increments of 1,000 counters, drawn at random."""
    return _spread(service, connections, MANY, "counters", f"{MANY} counters, increment")


def relays(service: Service, connections: int) -> Measured:
    """Increments of 100 counters, each asked for by another object of its own."""
    return _spread(service, connections, RELAYS, "relays", "object called from another")


def _spread(service: Service, connections: int, count: int, asked: str, title: str) -> Measured:
    names = [f"bench-{n}" for n in range(count)]
    requests = [service.request("POST", f"/api/v1/{asked}/{name}/increment") for name in names]
    for _ in range(2):  # each has its file and its log, and is awake
        awake = iter(requests)
        service.load(CHECKING, lambda awake=awake: next(awake, None), seconds=60)  # type: ignore[misc]
    before = service.total(names)
    result = service.load(connections, lambda: random.choice(requests))
    stored = service.total(names) - before
    right = result.broken == 0 and set(result.statuses) == {200} and stored == result.statuses[200]
    return Measured(title, connections, result, right)


def strangers(service: Service, connections: int) -> Measured:
    """Increments of 100,000 counters that nobody has asked for before, drawn at random: most are made, few are met again."""
    run = secrets.token_hex(4)
    asked: list[int] = []

    def request() -> bytes:
        asked.append(random.randrange(STRANGERS))
        return service.request("POST", f"/api/v1/counters/{run}-{asked[-1]}/increment")

    result = service.load(connections, request)
    stored = service.total(f"{run}-{number}" for number in set(asked))
    right = result.broken == 0 and set(result.statuses) == {200} and stored == result.statuses[200]
    return Measured(f"{STRANGERS:,} counters, increment", connections, result, right)


def reads(service: Service, connections: int) -> Measured:
    """Reads of one counter."""
    request = service.request("GET", "/api/v1/counters/bench-hot")
    result = service.load(connections, lambda: request)
    return Measured("counter, read", connections, result, set(result.statuses) == {200})


def limited(service: Service, connections: int) -> Measured:
    """Checks of one address against the demonstration's limit: at most 100 in a minute pass."""
    request = service.request("GET", "/demo/limited")
    result = service.load(connections, lambda: request)
    return Measured("limiter, one key", connections, result, result.statuses[200] <= 100)


def checks(service: Service, connections: int, policy: str, keys: int) -> Measured:
    """Checks of keys drawn at random: all of them admitted by OPEN, all but the first of each key refused by SHUT."""
    bodies = [b'{"key":"10.0.%d.%d"}' % divmod(n, 256) for n in range(keys)]
    requests = [service.request("POST", f"/api/v1/limiters/{policy}/check", body) for body in bodies]
    result = service.load(connections, lambda: random.choice(requests))
    admitted, refused = result.statuses[200], result.statuses[429]
    right = result.broken == 0 and admitted + refused == result.answered
    right = right and (refused == 0 if policy == OPEN else admitted <= keys)
    what = "admitted" if policy == OPEN else "refused"
    return Measured(f"limiter, {keys:,} {'key' if keys == 1 else 'keys'}, {what}", connections, result, right)
