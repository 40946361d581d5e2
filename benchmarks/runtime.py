"""What the runtime itself costs, measured on services of the benchmark's own: time of calls and activations, memory at rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable

import uvloop

from .plan import Plan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.subjects.settings")

import django

django.setup()  # the classes that are measured belong to an app of Django's

from .activations import activations
from .calls import in_process, over_the_link
from .figures import Figure, tell
from .objects_memory import asleep, awake
from .sockets_memory import idle_sockets

PARTS: dict[str, Callable[[Plan], AsyncIterator[Figure]]] = {
    "calls": in_process,
    "link": over_the_link,
    "activations": activations,
    "awake": awake,
    "asleep": asleep,
    "sockets": idle_sockets,
}


def measure(plan: Plan, parts: Iterable[str], show: Callable[[Figure], None]) -> list[Figure]:
    """Measure the named parts, one after another; `show` sees each figure as it comes."""
    figures: list[Figure] = []

    async def run(part: str) -> None:
        async for figure in PARTS[part](plan):
            figures.append(figure)
            show(figure)

    for part in parts:
        tell(part)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(part))
    return figures
