"""How many durable increments, reads and limiter checks a second the running service answers over HTTP.

Each run checks itself: what was acknowledged must be what is stored, and every request must have been answered.
"""

from __future__ import annotations

import json
import random
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .load import Result, request_bytes, run_blocking

MANY = 1000


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
            "statuses": dict(result.statuses),
            "right": self.right,
        }


class Service:
    """The service under load."""

    def __init__(self, url: str, seconds: float) -> None:
        parts = urllib.parse.urlsplit(url)
        self.url = url.rstrip("/")
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.seconds = seconds

    def value(self, counter: str) -> int:
        """A counter's stored value."""
        with urllib.request.urlopen(f"{self.url}/api/v1/counters/{counter}", timeout=30) as answer:
            return int(json.load(answer)["value"])

    def load(self, connections: int, request: Callable[[], bytes]) -> Result:
        """Run one closed loop."""
        return run_blocking(self.host, self.port, connections, self.seconds, request)

    def request(self, method: str, path: str) -> bytes:
        """One request's bytes."""
        return request_bytes(method, path, f"{self.host}:{self.port}")


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
    requests = [service.request("POST", f"/api/v1/counters/bench-{n}/increment") for n in range(MANY)]
    before = sum(service.value(f"bench-{n}") for n in range(MANY))
    result = service.load(connections, lambda: random.choice(requests))
    stored = sum(service.value(f"bench-{n}") for n in range(MANY)) - before
    right = result.broken == 0 and set(result.statuses) == {200} and stored == result.statuses[200]
    return Measured(f"{MANY} counters, increment", connections, result, right)


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
