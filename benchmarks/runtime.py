"""What the runtime itself costs, measured on services of the benchmark's own: time of calls and activations, memory at rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable

import django
import uvloop

from .figures import Figure, tell
from .plan import Plan

Part = Callable[[Plan], AsyncIterator[Figure]]


def measure(plan: Plan, parts: Iterable[str], show: Callable[[Figure], None]) -> list[Figure]:
    """Measure the named parts, one after another; `show` sees each figure as it comes."""
    known = _parts()
    figures: list[Figure] = []

    async def run(part: str) -> None:
        async for figure in known[part](plan):
            figures.append(figure)
            show(figure)

    for part in parts:
        tell(part)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(part))
    return figures


def _parts() -> dict[str, Part]:
    """What can be measured. The classes that it needs belong to an app, so Django has to be ready first."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.subjects.settings"
    django.setup()

    from .activations import activations
    from .calls import in_process, over_the_link
    from .growth import alarms, growth, start
    from .objects_memory import asleep, awake
    from .rooms import rooms
    from .sockets_memory import idle_sockets
    from .workers import workers

    return {
        "calls": in_process,
        "link": over_the_link,
        "activations": activations,
        "awake": awake,
        "asleep": asleep,
        "sockets": idle_sockets,
        "rooms": rooms,
        "growth": growth,
        "alarms": alarms,
        "start": start,
        "workers": workers,
    }
