"""One run: the service, its clients, the faults in their order, and the records of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .faults import FAULTS, Fault, Site
from .history import History, Injection, Record
from .probe.inside import ORDERS_NAME, Orders
from .schedule import Schedule, Step
from .service import Service, ServiceFailedError, until
from .volume import SmallDisk, small_disk
from .workloads.alarms import Alarms
from .workloads.counters import Counters
from .workloads.limiter import Limiter
from .workloads.rooms import Rooms
from .workloads.workload import Stage, Workload

RECOVERED_WITHIN = 45.0
CALM_SECONDS = 1.0
BREATH_SECONDS = 0.3
SETTLED_WITHIN = 90.0
LAG_STEP = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to run.

    Args:
        schedule: the faults in their order.
        seed: decides what clients do.
        data_dir: an empty directory for the service.
        history: where the records go.
        crowd: clients that come back at once.
        hurry: the next fault comes as soon as the last is over, not at its time.
    """

    schedule: Schedule
    seed: int
    data_dir: Path
    history: Path
    gateways: int = 2
    workers: int = 2
    crowd: int = 2000
    hurry: bool = False


@dataclass(slots=True)
class Outcome:
    """What a run leaves: the records, and what went wrong beyond single faults."""

    records: list[Record]
    seconds: float
    own_lag: list[tuple[float, float]]
    """(when, seconds) that this process itself was late: pauses of that length are its own, or the machine's."""
    broken: list[str] = field(default_factory=list)


async def run(options: Options, say: Say) -> Outcome:
    """Run it. Raises ServiceFailedError when the service cannot even be started."""
    with small_disk(options.data_dir / "disk.image", options.data_dir / "objects") as disk:
        return await _run_on(disk, options, say)


async def _run_on(disk: SmallDisk | None, options: Options, say: Say) -> Outcome:
    history = History(options.history)
    service = Service(options.data_dir, gateways=options.gateways, workers=options.workers)
    stage = Stage(service, history, options.seed)
    rooms = Rooms(stage)
    workloads: list[Workload] = [Counters(stage), rooms, Limiter(stage), Alarms(stage)]
    outcome = Outcome(history.records, 0.0, [])
    lagging = asyncio.create_task(_measure_lag(history, outcome))
    try:
        say("starting the service")
        await service.prepare()
        await service.start()
        for workload in workloads:
            await workload.prepare()
        stage.objects = [name for workload in workloads for name in workload.objects]
        clients = [asyncio.create_task(client) for workload in workloads for client in workload.drive()]
        await until(lambda: all(map(history.last_ok, stage.objects)), 30.0, "every client begins")
        begun = history.clock()
        site = Site(stage, Orders(options.data_dir / ORDERS_NAME), rooms.objects, disk, crowd=options.crowd)
        for step in options.schedule.steps:
            wait = begun + step.at - history.clock()
            await asyncio.sleep(BREATH_SECONDS if options.hurry else max(0.0, wait))
            say(f"{history.clock() - begun:6.1f} s  {step.fault}: {FAULTS[step.fault].about}")
            await _strike(site, step, say)
        await asyncio.sleep(CALM_SECONDS)
        say("the load ends")
        outcome.seconds = history.clock() - begun
        stage.over.set()
        outcome.broken += await _settle(clients)
        say("reading what is stored")
        for workload in workloads:
            await workload.collect()
        await service.stop()
    finally:
        lagging.cancel()
        await service.end()
        history.close()
    return outcome


async def _strike(site: Site, step: Step, say: Say) -> None:
    """One fault, from its injection until every object has made progress again."""
    clock = site.history.clock
    fault = FAULTS[step.fault](site, random.Random(step.seed))
    begun = healed = clock()
    try:
        await fault.inject()
        await asyncio.sleep(fault.hold)
        await fault.heal()
    except ServiceFailedError as error:
        fault.broken.append(str(error))
        await _revive(site.service, fault)
    healed = clock()
    recovered: float | None = None
    try:
        objects = site.stage.objects
        await until(
            lambda: all(site.history.last_ok(name) > healed for name in objects), RECOVERED_WITHIN, "progress"
        )
        recovered = clock()
    except ServiceFailedError:
        still = [name for name in site.stage.objects if site.history.last_ok(name) <= healed]
        fault.broken.append(f"no progress within {RECOVERED_WITHIN:g} s: {', '.join(still)}")
    for problem in fault.broken:
        say(f"         broken: {problem}")
    site.history.note(
        Injection(fault.name, begun, healed, recovered, dict(fault.figures), tuple(fault.broken))
    )


async def _revive(service: Service, fault: Fault) -> None:
    """A fault went wrong half-way: go on with a service that runs."""
    try:
        service.record()
    except ServiceFailedError:
        try:
            await service.start()
        except ServiceFailedError as error:
            fault.broken.append(f"the service does not start again: {error}")


async def _settle(clients: list[asyncio.Task[None]]) -> list[str]:
    """Let every client finish; what went wrong with those that do not."""
    done, late = await asyncio.wait(clients, timeout=SETTLED_WITHIN)
    for client in late:
        client.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    broken = [f"a client failed: {error!r}" for client in done if (error := client.exception()) is not None]
    return broken + ([f"{len(late)} clients did not settle within {SETTLED_WITHIN:g} s"] if late else [])


async def _measure_lag(history: History, outcome: Outcome) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_STEP)
            late = time.monotonic() - before - LAG_STEP
            if late > LAG_STEP:
                outcome.own_lag.append((history.clock(), late))
