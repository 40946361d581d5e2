"""How what an object costs grows with its file, how many alarms run when they are due at once, and how long a start takes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.running_service import RunningService

from .figures import Figure, percentile, tell
from .plan import Plan
from .service import SETTINGS, service, spread
from .subjects.objects import Subject, Wakeful

CHUNK = 64 * 1024
WRITES = 100
WAKES = 20
AHEAD_MS = 3000  # in which all alarms are set


async def growth(plan: Plan) -> AsyncIterator[Figure]:
    """A write to an object, and waking it, as its file grows."""
    async with service() as running:
        stub = Wakeful.namespace.get_by_name("growing")
        stored = 0
        for size in plan.file_sizes:
            tell(f"a file of {size / 1e6:g} MB")
            while stored < size:
                stored = await stub.fill(16, CHUNK)
            before = await stub.value()
            writes, wakes = [], []
            for _ in range(WRITES):
                begun = time.perf_counter()
                await stub.add()
                writes.append((time.perf_counter() - begun) * 1000)
            for _ in range(WAKES):
                await running.evict(stub)
                begun = time.perf_counter()
                right = await stub.value() == before + WRITES
                wakes.append((time.perf_counter() - begun) * 1000)
            what = f"a file of {size / 1e6:g} MB"
            yield Figure(f"{what}: a write, p50", "ms", (percentile(writes, 0.5),), right=right)
            yield Figure(f"{what}: waking, p50", "ms", (percentile(wakes, 0.5),), right=right)


async def alarms(plan: Plan) -> AsyncIterator[Figure]:
    """Many objects whose alarms are due at the same moment; each fires once, and writes that it has."""
    async with service() as running:
        rates, lates = [], []
        right = True
        for round_ in range(plan.rounds):
            stubs = [Subject.namespace.get_by_name(f"bell-{round_}-{n}") for n in range(plan.alarms)]
            tell(f"setting {len(stubs):,} alarms")
            await spread([lambda stub=stub: stub.add(1) for stub in stubs], 64)
            due = int(time.time() * 1000) + AHEAD_MS
            await spread([lambda stub=stub, due=due: stub.ring_at(due) for stub in stubs], 64)
            right = right and time.time() * 1000 < due  # all were set in time
            await asyncio.sleep(max(0.0, due / 1000 - time.time()))
            await running.wait_until_quiet()
            rung, _ = await spread([lambda stub=stub: stub.rung() for stub in stubs], 64)
            right = right and all(len(times) == 1 for times in rung)
            times = [one for some in rung for one in some] or [due]
            rates.append(len(times) / max(0.001, (max(times) - due) / 1000))
            lates.append(float(percentile(times, 0.99) - due))
        yield Figure(f"{plan.alarms:,} alarms due at once: fired", "per second", tuple(rates), right=right)
        yield Figure(f"{plan.alarms:,} alarms due at once: late, p99", "ms", tuple(lates), right=right)


async def start(plan: Plan) -> AsyncIterator[Figure]:
    """From `manage.py serve` to the first answer, with the default number of processes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        running = RunningService(Path(directory), DJANGO_SETTINGS_MODULE=SETTINGS)
        running.manage("migrate", "--noinput")
        starts = []
        for _ in range(plan.rounds):
            begun = time.perf_counter()
            running.start()
            starts.append(time.perf_counter() - begun)
            running.stop()
        yield Figure("start, until every process is ready", "s", tuple(starts))
