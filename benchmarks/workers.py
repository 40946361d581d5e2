"""What a second worker brings where objects compute: many of them, with a handler that keeps a processor for 2 ms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from .figures import Figure, tell
from .plan import Plan
from .service import service, spread
from .subjects.objects import Subject

COMPUTES_SECONDS = 0.002  # of processor time, in each call
OBJECTS = 1000  # so many that each worker gets half of them, up to a few; of 64 one may get 38
AT_ONCE = 32
AIM = 1 / 1.6  # of the time that one worker takes, on two processors


async def workers(plan: Plan) -> AsyncIterator[Figure]:
    """The same calls to one worker and to two, in turns."""
    took: dict[int, list[float]] = {1: [], 2: []}
    calls = max(OBJECTS, round(plan.seconds / COMPUTES_SECONDS))
    right = True
    for _ in range(plan.rounds):
        for count, times in took.items():
            tell(f"{calls} calls of {COMPUTES_SECONDS * 1000:g} ms, {count} workers")
            async with service(workers=count):
                stubs = [Subject.namespace.get_by_name(f"busy-{number}") for number in range(OBJECTS)]
                await spread([stub.value for stub in stubs], AT_ONCE)  # they have to be opened before
                work = [partial(stubs[number % OBJECTS].compute, COMPUTES_SECONDS) for number in range(calls)]
                computed, seconds = await spread(work, AT_ONCE)
                right = right and len(computed) == calls and min(computed) >= COMPUTES_SECONDS
                times.append(seconds)
    for count, times in took.items():
        rates = tuple(calls / seconds for seconds in times)
        yield Figure(f"calls that compute 2 ms, workers: {count}", "per second", rates, right=right)
    ratios = tuple(two / one for one, two in zip(took[1], took[2], strict=True))
    yield Figure("the time that two workers take, to that of one", "ratio", ratios, aim=AIM, right=right)
