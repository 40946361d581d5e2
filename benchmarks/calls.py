"""What one call costs: inside the worker's process, and over the link from another process."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from durable.testing.local import local_objects

from .figures import Figure, percentile
from .in_process import InProcess
from .plan import Plan
from .processes import busy_seconds
from .service import service
from .subjects.objects import Subject, Wakeful

AT_ONCE = 64
Ask = Callable[[], Awaitable[int]]


async def _timed(ask: Ask, at_once: int, seconds: float) -> tuple[list[float], float]:
    """A closed loop of callers: each call's seconds, and how long all took."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    async def caller() -> None:
        while (begun := time.perf_counter()) < until:
            await ask()
            latencies.append(time.perf_counter() - begun)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return latencies, time.perf_counter() - started


async def _figures(
    name: str, value: Ask, add: Ask, at_once: int, plan: Plan, process: int
) -> AsyncIterator[Figure]:
    for what, ask in (("read", value), ("durable write", add)):
        await _timed(ask, at_once, plan.seconds / 5)  # warm up
        middles, ends, rates, costs = [], [], [], []
        right = True
        for _ in range(plan.rounds):
            before, busy = await value(), busy_seconds(process)
            latencies, took = await _timed(ask, at_once, plan.seconds)
            costs.append((busy_seconds(process) - busy) / len(latencies) * 1e6)
            grown = await value() - before
            right = right and grown == (len(latencies) if ask is add else 0)
            middles.append(percentile(latencies, 0.5) * 1000)
            ends.append(percentile(latencies, 0.99) * 1000)
            rates.append(len(latencies) / took)
        title = f"{name}, {what}"
        yield Figure(f"{title}, p50", "ms", tuple(middles), right=right)
        if at_once == 1:
            yield Figure(f"{title}, p99", "ms", tuple(ends), right=right)
        else:
            yield Figure(f"{title}, rate", "per second", tuple(rates), right=right)
        yield Figure(f"{title}, processor time", "µs", tuple(costs), right=right)


async def in_process(plan: Plan) -> AsyncIterator[Figure]:
    """A call from dispatch to reply, in the process of the object."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with local_objects(Path(directory)) as objects:
            calls = InProcess(objects.host, Subject.namespace.get_by_name("hot"))
            for at_once in (1, AT_ONCE):
                name = "call in the process" if at_once == 1 else f"call in the process, {at_once} at once"
                read, write = partial(calls.ask, "value"), partial(calls.ask, "add")
                async for figure in _figures(name, read, write, at_once, plan, os.getpid()):
                    yield figure


async def over_the_link(plan: Plan) -> AsyncIterator[Figure]:
    """A stub's call from another process: client, Unix socket, worker."""
    async with service() as running:
        (worker,) = running.processes.worker_pids()
        stub = Wakeful.namespace.get_by_name("hot")
        for at_once in (1, AT_ONCE):
            name = "call over the link" if at_once == 1 else f"call over the link, {at_once} at once"
            async for figure in _figures(name, stub.value, stub.add, at_once, plan, worker):
                yield figure
