"""How many objects a worker may hold, by count, descriptors and memory: near a bound idle ones go, at it new ones wait or are refused.

Invariants:
- No more files are open than descriptors allow: an object takes a place in `files` before it opens its file, and gives it
  back when that is closed.
- A new object is refused only while all others are busy. A worker without objects takes one, whatever its memory is.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from durable.errors import OverloadedError

from . import memory
from .leaving import Leave

if TYPE_CHECKING:
    from .activation import Activation

DESCRIPTORS_PER_OBJECT = 4  # SQLite's two, that of the sync, and that of a file which is new
OTHER_DESCRIPTORS = 128  # links, Redis, Django's database, directories that are being synced
LOOK_EVERY = 64  # activations, between two looks at the memory
TIGHT = 7 / 8  # of the memory: from here on idle objects are evicted
EVICTED_SHARE = 20  # one of so many idle objects goes at once
MIB = 1024 * 1024


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


class Capacity:
    """The bounds of one worker.

    Args:
        objects: how many it may hold.
        memory_bytes: how much memory it may have before it refuses new ones.
        descriptors: how many it may have open.
        resident: tells how much memory it has.

    Attributes:
        files: a place for each object whose file may be open.
        tight: whether its memory is near the bound; as of the last look.
    """

    def __init__(
        self,
        objects: int,
        memory_bytes: int,
        *,
        descriptors: int | None = None,
        resident: Callable[[], int] = memory.resident,
    ) -> None:
        descriptors = descriptor_limit() if descriptors is None else descriptors
        by_descriptors = max(1, (descriptors - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_OBJECT)
        self._objects = min(objects, by_descriptors)
        self._bound = "max_active" if objects <= by_descriptors else f"{descriptors} descriptors"
        self._memory = memory_bytes
        self._resident = resident
        self._used = 0
        self._since_look = 0
        self.files = asyncio.Semaphore(self._objects)
        self.look()

    def look(self) -> None:
        """See how much memory there is. Now and then, and by itself after some activations."""
        self._used = self._resident()
        self._since_look = 0

    def for_alarms(self, most: int) -> int:
        """How many alarms may run at once, of `most`: they, and as many that wait, leave half of a worker of four objects or more to calls."""
        return max(1, min(most, self._objects // 4))

    @property
    def tight(self) -> bool:
        """Whether the memory is near its bound."""
        return self._used >= self._memory * TIGHT

    def make_room(self, active: Collection[Activation], now: float) -> None:
        """Before another object: evict idle ones where that is needed; raises OverloadedError when all are busy."""
        self._since_look += 1
        if self._since_look >= LOOK_EVERY:
            self.look()
        if len(active) < self._objects and self._used < self._memory:
            return
        staying = sum(not activation.leaving for activation in active)
        if staying >= self._objects:
            problem = f"this worker has all of the {self._objects} objects it may hold ({self._bound})"
        elif self._used >= self._memory and staying:
            problem = (
                f"this worker uses {self._used // MIB} MiB of the {self._memory // MIB} MiB of memory it may have "
                "(worker_memory)"
            )
        else:
            return
        if not self.evict(active, now):
            raise OverloadedError(f"{problem}, and all of them are busy")

    def evict(self, active: Collection[Activation], now: float) -> int:
        """Put the idle objects that were used least recently to sleep, a part of them; how many."""
        idle = [a for a in active if a.is_idle(now + a.idle_seconds)]
        idle.sort(key=lambda activation: activation.last_active)
        chosen = idle[: -(-len(idle) // EVICTED_SHARE)]
        for activation in chosen:
            activation.leave(Leave.IDLE)
        return len(chosen)
