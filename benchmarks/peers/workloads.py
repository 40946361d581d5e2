"""What each side is asked to do, and what came of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import uvloop

from benchmarks.chat import Crowd, Heard, most_live
from benchmarks.counters import (
    OPEN,
    SHUT,
    Measured,
    Service,
    checks,
    hot_counter,
    many_counters,
    reads,
    relays,
    strangers,
)
from benchmarks.load import Request, Result
from benchmarks.processes import Holding
from benchmarks.websocket import open_sockets

from .sides import MESSAGE_RATE, Side

STEP_SECONDS = 1.5  # of a chat at one rate
OBJECTS = 300
SOCKETS = 1000
COMEBACKS = 2000
AT_ONCE = 64
SLEEP_WITHIN = 120.0
STEADY_SECONDS = 4.0  # in which nothing changes once everything sleeps
AT_REST_SECONDS = (
    2.0  # after its last write an object that is awake has what it needs to be asked again, and no more
)
SOME_DESCRIPTORS = 12  # threads' own, links, connections: what comes and goes
COST = "µs of processor each"
BUSY = 0.9
"""Share of a processor from which the generator was the limit, not the server."""


@dataclass(frozen=True)
class Outcome:
    """What one run gave, by quantity; `why` says what was wrong, and is empty when all was right."""

    values: dict[str, float]
    generator: float
    why: str = ""


@dataclass(frozen=True)
class Workload:
    """A question put to both sides.

    Args:
        name: of it.
        run: asks a side, for so many seconds where it can be chosen.
        fresh: each run needs servers that have done nothing before: memory once used is used again.
    """

    name: str
    run: Callable[[Side, float], Outcome]
    fresh: bool = False


def _loop(name: str, connections: int, measure: Callable[[Service, int], Measured]) -> Workload:
    def run(side: Side, seconds: float) -> Outcome:
        measured = measure(side.service(seconds), connections)
        result = measured.result
        why = (
            ""
            if measured.right
            else f"answered {dict(result.statuses)}, {result.broken} broken, or not what is stored"
        )
        values = {
            "per second": result.per_second,
            "p50 ms": result.percentile(0.5),
            "p99 ms": result.percentile(0.99),
            COST: result.cost / max(1, result.answered) * 1e6,
        }
        return Outcome(values, result.busy, why)

    return Workload(f"{name}, {connections} conn.", run)


def _chat(rooms: int, members: int) -> Workload:
    def run(side: Side, _seconds: float) -> Outcome:
        names = side.rooms(rooms)

        def attempt(rate: float) -> Heard:
            crowd = Crowd("127.0.0.1", side.port, side.dialect, names, members, side.busy_seconds)
            return crowd.at(rate, STEP_SECONDS)

        best = most_live(attempt, lowest=10.0 * rooms**0.5, highest=MESSAGE_RATE * rooms * members)
        values = {
            "deliveries a second": best.per_second,
            "p99 ms": best.p99_ms,
            COST: best.cost / max(1, best.delivered) * 1e6,
        }
        late = "" if best.live else f"not live at the lowest rate: p99 {best.p99_ms:.0f} ms"
        return Outcome(values, best.busy, best.why or late)

    return Workload(f"chat, {rooms} x {members}", run)


def _objects(side: Side, _seconds: float) -> Outcome:
    """New objects, what they hold while awake, and waking them once they sleep."""
    service, run = side.service(60), secrets.token_hex(4)
    _once(service, "POST", [f"warm-{run}-{n}" for n in range(50)], AT_ONCE)
    before = _asleep(side)
    names = [f"new-{run}-{n}" for n in range(OBJECTS)]
    made = _once(service, "POST", names, AT_ONCE)
    again = _once(
        service, "POST", names, AT_ONCE
    )  # ours opens a file with its second write, and holds less before
    time.sleep(AT_REST_SECONDS)
    after = side.holding()
    _until_asleep(side, before)
    one_by_one = _once(service, "GET", names, 1)
    _until_asleep(side, before)
    at_once = _once(service, "GET", names, AT_ONCE)
    right = all(one.statuses == {200: OBJECTS} for one in (made, again, one_by_one, at_once))
    why = (
        ""
        if right and service.total(names) == 2 * OBJECTS
        else "an object was not answered for, or holds another value"
    )
    values = {
        "new a second": made.per_second,
        "KiB per active object": (after.kib - before.kib) / OBJECTS,
        "descriptors per active object": (after.descriptors - before.descriptors) / OBJECTS,
        "woken, p50 ms": one_by_one.percentile(0.5),
        "woken a second": at_once.per_second,
    }
    return Outcome(values, made.busy, why)


def _once(service: Service, method: str, names: Iterable[str], connections: int) -> Result:
    """Ask each counter once."""
    suffix = "/increment" if method == "POST" else ""
    requests = iter([service.request(method, f"/api/v1/counters/{name}{suffix}") for name in names])
    ask: Request = lambda: next(requests, None)  # noqa: E731
    return service.load(connections, ask)


def _asleep(side: Side) -> Holding:
    """What the side holds once it has closed every file that it will close by itself."""
    until, since, seen = time.monotonic() + SLEEP_WITHIN, time.monotonic(), side.holding()
    longest = 12.0  # an idle object's time, on both sides ten seconds, and something
    while time.monotonic() < until and time.monotonic() - since < longest:
        time.sleep(0.5)
        now = side.holding()
        if now.descriptors < seen.descriptors:
            since = time.monotonic()
        seen = now
    return seen


def _until_asleep(side: Side, before: Holding) -> None:
    """Return when every object has closed its files. Raises TimeoutError."""
    until = time.monotonic() + SLEEP_WITHIN
    while side.holding().descriptors > before.descriptors + SOME_DESCRIPTORS:
        if time.monotonic() > until:
            raise TimeoutError(f"{side.name}: the objects are still awake after {SLEEP_WITHIN:g} s")
        time.sleep(0.2)


def _sockets(side: Side, _seconds: float) -> Outcome:
    """Sockets of objects that sleep, two each."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_idle_sockets(side))


async def _idle_sockets(side: Side) -> Outcome:
    run = secrets.token_hex(4)
    warm = await open_sockets(
        "127.0.0.1", side.port, [f"/ws/subject/warm-{run}-{n % 20}" for n in range(100)]
    )
    before = await _steady(side)
    busy, started = time.process_time(), time.perf_counter()
    clients = await open_sockets(
        "127.0.0.1", side.port, [f"/ws/subject/{run}-{n // 2}" for n in range(SOCKETS)]
    )
    took = time.perf_counter() - started
    busy = (time.process_time() - busy) / took
    after = await _steady(side)
    ended = sum(client.ended for client in clients)
    for client in [*clients, *warm]:
        client.close()
    why = f"{ended} sockets were closed" if ended else ""
    values = {"KiB per idle socket": (after.kib - before.kib) / SOCKETS, "opened a second": SOCKETS / took}
    return Outcome(values, busy, why)


def _reconnect(side: Side, _seconds: float) -> Outcome:
    """Two thousand clients of two hundred objects lose their connections at once, and all come back at once."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_come_back(side))


async def _come_back(side: Side) -> Outcome:
    run = secrets.token_hex(4)
    paths = [f"/ws/subject/{run}-{n % (COMEBACKS // 10)}" for n in range(COMEBACKS)]
    clients = await open_sockets("127.0.0.1", side.port, paths)
    for client in clients:
        client.close()
    cost, busy, started = side.busy_seconds(), time.process_time(), time.perf_counter()
    back = await open_sockets("127.0.0.1", side.port, paths)
    took = time.perf_counter() - started
    values = {"all back after s": took, COST: (side.busy_seconds() - cost) / COMEBACKS * 1e6}
    ended = sum(client.ended for client in back)
    for client in back:
        client.close()
    return Outcome(
        values, (time.process_time() - busy) / took, f"{ended} sockets were closed" if ended else ""
    )


async def _steady(side: Side) -> Holding:
    """What the side holds when that has stopped changing, at the earliest when idle objects are asleep."""
    await asyncio.sleep(
        12.0
    )  # idle objects sleep after ten seconds on one side, earlier on the other: nothing tells of it
    until, since, least = time.monotonic() + SLEEP_WITHIN, time.monotonic(), side.holding()
    while time.monotonic() < until and time.monotonic() - since < STEADY_SECONDS:
        await asyncio.sleep(0.5)
        now = side.holding()
        if now.kib < least.kib * 0.998:
            least, since = now, time.monotonic()
    return least


COUNTERS = (
    *(_loop("hot counter", connections, hot_counter) for connections in (1, 16, 64)),
    _loop("1,000 counters", 64, many_counters),
    _loop("counter read", 64, reads),
)
BETWEEN = tuple(_loop("one object calls another", connections, relays) for connections in (1, 64))
STRANGERS = (_loop("100,000 counters", 64, strangers),)
LIMITER = (
    _loop("limiter, one key", 64, lambda service, conn: checks(service, conn, OPEN, 1)),
    _loop("limiter, 10,000 keys", 64, lambda service, conn: checks(service, conn, OPEN, 10_000)),
    _loop("limiter, refused", 64, lambda service, conn: checks(service, conn, SHUT, 1)),
)
CHAT = (_chat(1, 50), _chat(20, 10))
CROWD = (_chat(1, 1000), Workload("2,000 reconnect", _reconnect))
LIVES = (Workload("300 objects", _objects, fresh=True), Workload("1,000 idle sockets", _sockets, fresh=True))
