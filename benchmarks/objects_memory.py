"""What objects hold: memory and descriptors of each one that is awake, and of each one that sleeps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from .figures import Figure, tell
from .plan import Plan
from .processes import Holding, holding
from .service import Service, service, spread
from .subjects.objects import Hasty, Wakeful

AT_ONCE = 64
BURST_VALUES, BURST_BYTES = 64, 16 * 1024
ACTIVE_AIM_KIB = 120.0  # half of what the reference system's workerd holds: 247 kB
ACTIVE_AIM_DESCRIPTORS = 3.0
SLEEPING_AIM_KIB = 0.1  # nothing; this much is what the rest of the worker grows and shrinks by meanwhile
SOME_DESCRIPTORS = 8  # links, threads' own: what comes and goes
STEP = 5000


async def awake(plan: Plan) -> AsyncIterator[Figure]:
    """Idle objects in memory: after their first write, after a burst each, and when they were only read."""
    async with service() as running:
        (pid,) = running.processes.worker_pids()
        stubs = [Wakeful.namespace.get_by_name(f"awake-{n}") for n in range(plan.residents)]
        warm = [Wakeful.namespace.get_by_name(f"warm-{n}") for n in range(min(200, plan.residents))]
        await spread([lambda stub=stub: stub.add(1) for stub in warm], AT_ONCE)
        await running.wait_until_active(len(warm))
        empty = holding(pid)
        tell(f"holding {len(stubs)} objects")
        values, _ = await spread([lambda stub=stub: stub.add(1) for stub in stubs], AT_ONCE)
        await running.wait_until_active(len(warm) + len(stubs))
        for figure in _per_object("after a write", empty, holding(pid), stubs, values == [1] * len(stubs)):
            yield figure
        tell("a burst in each")
        read, _ = await spread(
            [lambda stub=stub: stub.burst(BURST_VALUES, BURST_BYTES) for stub in stubs], AT_ONCE
        )
        right = read == [BURST_VALUES * BURST_BYTES] * len(stubs)
        await running.wait_until_active(len(warm) + len(stubs))
        for figure in _per_object("after a burst of 1 MiB", empty, holding(pid), stubs, right):
            yield figure
        await spread([lambda stub=stub: running.evict(stub) for stub in stubs], AT_ONCE)
        await running.wait_until_active(len(warm))
        yield _evicted(running, pid, empty, len(stubs))
        values, _ = await spread([stub.value for stub in stubs], AT_ONCE)
        await running.wait_until_active(len(warm) + len(stubs))
        for figure in _per_object("after a read", empty, holding(pid), stubs, values == [1] * len(stubs)):
            yield figure


def _evicted(running: Service, pid: int, empty: Holding, count: int) -> Figure:
    left = holding(pid)
    return Figure(
        "memory that the worker keeps of each when all are evicted",
        "KiB",
        ((left.kib - empty.kib) / count,),
        right=left.descriptors <= empty.descriptors + SOME_DESCRIPTORS
        and running.processes.worker_pids() == [pid],
    )


def _per_object(
    when: str, before: Holding, after: Holding, stubs: list[Wakeful], right: bool
) -> tuple[Figure, Figure]:
    return (
        Figure(
            f"memory of an idle object {when}",
            "KiB",
            ((after.kib - before.kib) / len(stubs),),
            aim=ACTIVE_AIM_KIB,
            right=right,
        ),
        Figure(
            f"descriptors of an idle object {when}",
            "",
            ((after.descriptors - before.descriptors) / len(stubs),),
            aim=ACTIVE_AIM_DESCRIPTORS,
            right=right,
        ),
    )


async def asleep(plan: Plan) -> AsyncIterator[Figure]:
    """Objects with files that sleep: whether a worker keeps anything of them."""
    async with service() as running:
        (pid,) = running.processes.worker_pids()
        until = time.monotonic() + plan.making_seconds
        some, right = await _made(0, plan.sleepers // 4, until)
        await running.wait_until_active(0)
        before = holding(pid)
        count, all_right = await _made(some, plan.sleepers, until)
        await running.wait_until_active(0)
        after = holding(pid)
        right = right and all_right and _files(running) == count
        yield Figure(
            f"worker's memory with {count:,} objects asleep", "MiB", (after.kib / 1024,), right=right
        )
        if count > some:
            yield Figure(
                f"memory of each sleeping object (from {some:,} to {count:,})",
                "KiB",
                ((after.kib - before.kib) / (count - some),),
                aim=SLEEPING_AIM_KIB,
                right=right,
            )
        yield Figure(
            f"worker's descriptors with {count:,} objects asleep",
            "",
            (after.descriptors,),
            right=abs(after.descriptors - before.descriptors) <= SOME_DESCRIPTORS,
        )


async def _made(start: int, stop: int, until: float) -> tuple[int, bool]:
    """Make objects from number `start` to `stop`, or until it is late: how far it got, and whether all were right."""
    right = True
    while start < stop and time.monotonic() < until:
        numbers = range(start, min(stop, start + STEP))
        stubs = [Hasty.namespace.get_by_name(f"asleep-{n}") for n in numbers]
        values, took = await spread([lambda stub=stub: stub.add(1) for stub in stubs], AT_ONCE)
        right = right and values == [1] * len(stubs)
        start = numbers.stop
        tell(f"made {start:,} objects ({len(stubs) / took:,.0f} a second)")
    return start, right


def _files(running: Service) -> int:
    folder = running.processes.data_dir / "objects" / Hasty.key
    return sum(1 for _ in folder.glob("*/*.sqlite3"))
