"""What waking an object costs: claim, file, constructor, one read and the answer, as a client in another process sees it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

from durable.testing.local import local_objects

from .figures import Figure, percentile, tell
from .in_process import InProcess
from .plan import Plan
from .processes import busy_seconds
from .service import Service, service, spread
from .subjects.objects import Subject, Wakeful

AT_ONCE = 64
AIM_MS = 1.0


async def activations(plan: Plan) -> AsyncIterator[Figure]:
    """Existing objects woken by a read, one after another and many at once; new objects made by their first write."""
    async for figure in activations_in_process(plan):
        yield figure
    async with service() as running:
        stubs = [Wakeful.namespace.get_by_name(f"old-{n}") for n in range(plan.activations)]
        tell(f"making {len(stubs)} objects")
        await spread([lambda stub=stub: stub.add(7) for stub in stubs], 16)
        async for figure in _woken(running, stubs, plan):
            yield figure
        async for figure in _made(running, plan):
            yield figure


async def activations_in_process(plan: Plan) -> AsyncIterator[Figure]:
    """The same in the worker's own process: file, constructor, one read and the answer, without link and Redis."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with local_objects(Path(directory)) as objects:
            subjects = [
                InProcess(objects.host, Subject.namespace.get_by_name(f"old-{n}"))
                for n in range(plan.activations)
            ]
            for subject in subjects:
                await subject.ask("add")
            middles, ends = [], []
            right = True
            for _ in range(plan.rounds):
                for subject in subjects:
                    await subject.evict()
                latencies = []
                for subject in subjects:
                    begun = time.perf_counter()
                    right = await subject.ask("value") == 1 and right
                    latencies.append(time.perf_counter() - begun)
                middles.append(percentile(latencies, 0.5) * 1000)
                ends.append(percentile(latencies, 0.99) * 1000)
            yield Figure("activation in the process, p50", "ms", tuple(middles), aim=AIM_MS, right=right)
            yield Figure("activation in the process, p99", "ms", tuple(ends), right=right)


async def _put_to_sleep(running: Service, stubs: list[Any], *, released: bool = False) -> None:
    await spread([lambda stub=stub: running.evict(stub) for stub in stubs], 16)
    if released:
        await spread([lambda stub=stub: running.release(stub) for stub in stubs], 16)
    await running.wait_until_quiet()


async def _woken(running: Service, stubs: list[Any], plan: Plan) -> AsyncIterator[Figure]:
    for released, kind in ((False, "with a resting owner"), (True, "with a fresh claim")):
        tell(f"waking {len(stubs)} objects {kind}")
        (worker,) = running.processes.worker_pids()
        middles, ends, rates, costs = [], [], [], []
        right = True
        for _ in range(plan.rounds):
            await _put_to_sleep(running, stubs, released=released)
            latencies = []
            busy = busy_seconds(worker)
            for stub in stubs:
                begun = time.perf_counter()
                right = await stub.value() == 7 and right
                latencies.append(time.perf_counter() - begun)
            costs.append((busy_seconds(worker) - busy) / len(stubs) * 1000)
            middles.append(percentile(latencies, 0.5) * 1000)
            ends.append(percentile(latencies, 0.99) * 1000)
            await _put_to_sleep(running, stubs, released=released)
            values, took = await spread([stub.value for stub in stubs], AT_ONCE)
            right = right and values == [7] * len(stubs)
            rates.append(len(stubs) / took)
        aim = None if released else AIM_MS
        yield Figure(f"activation {kind}, p50", "ms", tuple(middles), aim=aim, right=right)
        yield Figure(f"activation {kind}, p99", "ms", tuple(ends), right=right)
        yield Figure(f"activation {kind}, worker's processor time", "ms", tuple(costs), right=right)
        yield Figure(f"activations {kind}, {AT_ONCE} at once", "per second", tuple(rates), right=right)


async def _made(running: Service, plan: Plan) -> AsyncIterator[Figure]:
    tell(f"making {plan.activations} new objects")
    (worker,) = running.processes.worker_pids()
    numbers = count()
    middles, ends, rates, costs = [], [], [], []
    right = True
    for _ in range(plan.rounds):
        latencies = []
        busy = busy_seconds(worker)
        for _ in range(plan.activations):
            stub = Subject.namespace.get_by_name(f"new-{next(numbers)}")
            begun = time.perf_counter()
            right = await stub.add(7) == 7 and right
            latencies.append(time.perf_counter() - begun)
        costs.append((busy_seconds(worker) - busy) / plan.activations * 1000)
        middles.append(percentile(latencies, 0.5) * 1000)
        ends.append(percentile(latencies, 0.99) * 1000)
        stubs = [Subject.namespace.get_by_name(f"new-{next(numbers)}") for _ in range(plan.activations)]
        values, took = await spread([lambda stub=stub: stub.add(7) for stub in stubs], AT_ONCE)
        right = right and values == [7] * len(stubs)
        rates.append(len(stubs) / took)
    yield Figure("new object with its first durable write, p50", "ms", tuple(middles), right=right)
    yield Figure("new object with its first durable write, p99", "ms", tuple(ends), right=right)
    yield Figure("new object, worker's processor time", "ms", tuple(costs), right=right)
    yield Figure(f"new objects, {AT_ONCE} at once", "per second", tuple(rates), right=right)
